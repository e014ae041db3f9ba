"""Running a prepared job: chunk by chunk into its folder, then into the output; or into a stream.

It knows no formats and no columns. Invariant: row n of the output is row n of the inputs, and the
output's bytes do not depend on how often the run was broken off, on threads or on batches.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import islice
from operator import add
from typing import BinaryIO

from isobatch.batching.cache import OutputCache
from isobatch.jobs.answers import Answer
from isobatch.jobs.chunks import Chunk
from isobatch.jobs.folder import JobFolder
from isobatch.jobs.manifest import Provenance, describe_provenance
from isobatch.jobs.options import ModelOptions
from isobatch.jobs.prepare import FileJob, PreparedJob, prepare_job
from isobatch.jobs.summary import Counts, Progress
from isobatch.tasks import Classifier

OnProgress = Callable[[Progress], None]
Keep = Callable[[int, bytes, Counts], object]
"""What is done with a finished chunk: its index, its bytes, its counts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of some jobs, and all that it depends on."""

    outputs: tuple[str, ...]
    progress: Progress
    provenance: Provenance
    max_tokens: int

    def as_dict(self) -> dict[str, object]:
        """The report: counts, speed, provenance; as plain values, for JSON."""
        return {
            "outputs": list(self.outputs),
            **self.progress.as_dict(),
            "max_tokens": self.max_tokens,
            **asdict(self.provenance),
        }


def run_files(
    jobs: Sequence[FileJob],
    model: ModelOptions,
    *,
    restart: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Outcome:
    """Load the classifier once, read all inputs through, and run the jobs one after the other.

    They share a cache; the progress that is told of is that of all. Errors as in `prepare_job` and
    `run_job`.
    """
    classifier = model.load()
    provenance = describe_provenance(classifier)
    prepared = [prepare_job(job, classifier.labels, provenance) for job in jobs]
    cache = OutputCache()
    everything = Progress(sum(each.num_rows for each in prepared), Counts(), Counts(), 0.0)
    for each in prepared:

        def tell(progress: Progress, before: Progress = everything) -> None:
            on_progress(before.followed_by(progress))

        progress = run_job(each, classifier, restart=restart, cache=cache, on_progress=tell)
        everything = everything.followed_by(progress)
    outputs = tuple(str(job.output.path) for job in jobs)
    return Outcome(outputs, everything, provenance, classifier.max_tokens)


def run_stream(
    job: FileJob,
    model: ModelOptions,
    stream: BinaryIO,
    *,
    on_progress: OnProgress = lambda progress: None,
) -> Outcome:
    """Write the bytes of the job's output into a stream; nothing is kept for another run."""
    classifier = model.load()
    provenance = describe_provenance(classifier)
    prepared = prepare_job(job, classifier.labels, provenance)
    stream.write(prepared.writer.head())
    steps = _answer_chunks(
        prepared,
        classifier,
        OutputCache(),
        prepared.chunks(),
        lambda index, content, counts: stream.write(content),
    )
    progress = _follow(prepared, Counts(), steps, on_progress)
    stream.flush()
    prepared.refuse_changed_input()
    return Outcome(("-",), progress, provenance, classifier.max_tokens)


def run_job(
    prepared: PreparedJob,
    classifier: Classifier,
    *,
    restart: bool = False,
    cache: OutputCache | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> Progress:
    """Do what is not done yet, and write the output; `on_progress` is told of every chunk.

    `restart` forgets what was done before. JobError if what is there is of another job or cannot be
    written; InputError for a row under on_error="stop". After an error or an interrupt, the same
    call goes on from the last chunk that was kept.
    """
    folder = JobFolder(prepared.job.output.path)
    cache = OutputCache() if cache is None else cache
    with folder.locked():
        if restart:
            folder.forget()
        kept = folder.open(prepared.manifest)
        before = reduce(add, (chunk.counts for chunk in kept), Counts())
        prepared.refuse_kept_errors(before)
        if folder.is_finished():
            return _follow(prepared, before, (), on_progress)
        chunks = islice(prepared.chunks(), len(kept), None)
        steps = _answer_chunks(prepared, classifier, cache, chunks, folder.commit)
        progress = _follow(prepared, before, steps, on_progress)
        prepared.refuse_changed_input()
        folder.finish(lambda file: prepared.writer.assemble(folder.chunk_paths(), file))
        return progress


def _follow(
    prepared: PreparedJob, before: Counts, steps: Iterable[Counts], on_progress: OnProgress
) -> Progress:
    """Take the steps, and tell of each; returns where they led."""
    began, done = time.monotonic(), Counts()
    progress = Progress(prepared.num_rows, before, done, 0.0)
    on_progress(progress)
    for counts in steps:
        done += counts
        progress = Progress(prepared.num_rows, before, done, time.monotonic() - began)
        on_progress(progress)
    return progress


def _answer_chunks(
    prepared: PreparedJob,
    classifier: Classifier,
    cache: OutputCache,
    chunks: Iterator[Chunk],
    keep: Keep,
) -> Iterator[Counts]:
    """Answer and keep each chunk; yields its counts when it is kept.

    While one chunk is computed, the next is read and the last is written, each by a thread. A chunk
    of an input that was written to in between is not kept: were the input put back, no later run
    could tell.
    """

    def write(chunk: Chunk, answers: Sequence[Answer], counts: Counts) -> Counts:
        content = prepared.encode(chunk, answers)
        prepared.refuse_changed_input()
        keep(chunk.index, content, counts)
        return counts

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead: Future[Chunk | None] = reader.submit(next, chunks, None)
        behind: Future[Counts] | None = None
        try:
            while chunk := ahead.result():
                ahead = reader.submit(next, chunks, None)
                answers, counts = prepared.answer(chunk, classifier, cache)
                if behind:
                    kept, behind = behind.result(), None
                    yield kept
                behind = writer.submit(write, chunk, answers, counts)
        except BaseException:
            # What is being written will be kept all the same, so it is told of.
            if behind:
                yield behind.result()
            raise
        if behind:
            yield behind.result()
