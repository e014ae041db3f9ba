"""Runs jobs in this process: chunk by chunk into the job's folder, then into the output.

Invariant: row n of the output is row n of the inputs, and the output's bytes depend neither on the
number of interruptions nor on threads nor on batches.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import BinaryIO

from isobatch.ambient import default_float_environment
from isobatch.batching.cache import OutputCache
from isobatch.errors import JobError
from isobatch.jobs.folder import JobFolder, SavedChunk
from isobatch.jobs.job import FileJob, ModelOptions
from isobatch.jobs.manifest import Provenance, describe_provenance
from isobatch.jobs.output_digest import combine_digests, output_digest
from isobatch.jobs.prepare import PreparedJob, prepare_job
from isobatch.scoring import ProgressCallback, RowCounts, RowScorer, ScoredRows, ScoringProgress
from isobatch.tables import TableChunk


@dataclass(frozen=True, slots=True)
class JobReport:
    """Outputs and final progress of some jobs, and everything that the outputs depend on.

    digests: SHA-256 of the content of each output.
    """

    outputs: tuple[str, ...]
    progress: ScoringProgress
    provenance: Provenance
    max_tokens: int
    digests: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The digest of all outputs, as `--expect` takes it; see `output_digest`."""
        return combine_digests(self.outputs, self.digests)

    def as_dict(self) -> dict[str, object]:
        """Return counts, speed and provenance as plain values, for JSON."""
        return {
            "outputs": list(self.outputs),
            "digest": self.digest,
            "digests": list(self.digests),
            **self.progress.as_dict(),
            "max_tokens": self.max_tokens,
            **asdict(self.provenance),
        }


@default_float_environment()  # also for the threads that are started here
def run_files(
    jobs: Sequence[FileJob],
    model: ModelOptions,
    *,
    restart: bool = False,
    on_progress: ProgressCallback = lambda progress: None,
) -> JobReport:
    """Load the model once, scan all inputs, and run the jobs one after the other.

    They share a cache; the reported progress is that of all. Errors as in `prepare_job` and
    `run_job`.
    """
    scorer = model.load(jobs[0].options if jobs else None)
    provenance = describe_provenance(scorer, model.model, model.revision)
    prepared = [prepare_job(job, scorer.row_format, provenance) for job in jobs]
    cache = OutputCache()
    num_rows = sum(each.num_rows for each in prepared)
    overall = ScoringProgress(num_rows, RowCounts(), RowCounts(), 0.0)
    for each in prepared:

        def report(progress: ScoringProgress, before: ScoringProgress = overall) -> None:
            on_progress(before.followed_by(progress))

        progress = run_job(each, scorer, restart=restart, cache=cache, on_progress=report)
        overall = overall.followed_by(progress)
    outputs = tuple(str(job.output.path) for job in jobs)
    digests = tuple(output_digest(job.output) for job in jobs)
    return JobReport(outputs, overall, provenance, scorer.pipeline.max_tokens, digests)


@default_float_environment()
def run_stream(
    job: FileJob,
    model: ModelOptions,
    stream: BinaryIO,
    *,
    on_progress: ProgressCallback = lambda progress: None,
) -> JobReport:
    """Write the job's output into a stream, without saved progress to resume from."""
    scorer = model.load(job.options)
    provenance = describe_provenance(scorer, model.model, model.revision)
    prepared = prepare_job(job, scorer.row_format, provenance)
    digest = hashlib.sha256()

    def write(content: bytes) -> None:
        digest.update(content)
        stream.write(content)

    write(prepared.writer.head())
    chunks = _score_chunks(
        prepared,
        scorer,
        OutputCache(),
        prepared.chunks(),
        save=lambda content, counts: write(content),
    )
    progress = _track_progress(prepared, RowCounts(), chunks, on_progress)
    stream.flush()
    prepared.refuse_changed_input()
    digests = (digest.hexdigest(),)
    return JobReport(("-",), progress, provenance, scorer.pipeline.max_tokens, digests)


def run_job(
    prepared: PreparedJob,
    scorer: RowScorer,
    *,
    restart: bool = False,
    cache: OutputCache | None = None,
    on_progress: ProgressCallback = lambda progress: None,
) -> ScoringProgress:
    """Process the remaining chunks and write the output. Calls `on_progress` after each chunk.

    `restart` discards saved work. JobError if the saved work belongs to another job or cannot be
    written; InputError for a row under on_error="stop". After an error or an interrupt, the same
    call resumes from the last saved chunk.
    """
    folder = JobFolder(prepared.job.output.path)
    with folder.locked():
        if restart:
            folder.discard()
        chunks = folder.open(prepared.manifest)
        saved = reduce(add, (chunk.counts for chunk in chunks), RowCounts())
        prepared.refuse_saved_errors(saved)
        if folder.is_finished():
            return _track_progress(prepared, saved, (), on_progress)
        folder.record_run(prepared.record)
        done = _score_chunks(
            prepared,
            scorer,
            OutputCache() if cache is None else cache,
            _remaining(prepared, chunks),
            folder.commit,
        )
        progress = _track_progress(prepared, saved, done, on_progress)
        prepared.refuse_changed_input()
        folder.finish(lambda file: prepared.writer.assemble(folder.chunk_paths(), file))
        return progress


def _remaining(prepared: PreparedJob, saved: Sequence[SavedChunk]) -> Iterator[TableChunk]:
    """Yield the chunks after the saved ones; JobError if those have other numbers of rows."""
    chunks = prepared.chunks()
    for number, each in enumerate(saved):
        found = len(next(chunks, ()))
        if found != each.counts.rows:
            raise JobError(
                f"{prepared.job.output.path}: chunk {number} was saved with {each.counts.rows} "
                f"rows, and has {found} now. Start over with --restart"
            )
    yield from chunks


def _track_progress(
    prepared: PreparedJob,
    saved: RowCounts,
    chunks: Iterable[RowCounts],
    on_progress: ProgressCallback,
) -> ScoringProgress:
    """Consume `chunks`, reporting progress after each; return the final progress."""
    start, done = time.monotonic(), RowCounts()
    progress = ScoringProgress(prepared.num_rows, saved, done, 0.0)
    on_progress(progress)
    for counts in chunks:
        done += counts
        progress = ScoringProgress(prepared.num_rows, saved, done, time.monotonic() - start)
        on_progress(progress)
    return progress


def _score_chunks(
    prepared: PreparedJob,
    scorer: RowScorer,
    cache: OutputCache,
    chunks: Iterator[TableChunk],
    save: Callable[[bytes, RowCounts], object],
) -> Iterator[RowCounts]:
    """Predict and save each chunk; yields its counts once it is saved.

    While one chunk is computed, a thread prefetches the next and another saves the last. A chunk
    of an input that was modified meanwhile is not saved: if the input were restored, no later run
    could detect it.
    """

    def write(chunk: TableChunk, scored: ScoredRows, counts: RowCounts) -> RowCounts:
        content = prepared.encode(chunk, scored)
        prepared.refuse_changed_input()
        save(content, counts)
        return counts

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        prefetched: Future[TableChunk | None] = reader.submit(next, chunks, None)
        pending: Future[RowCounts] | None = None
        try:
            while (chunk := prefetched.result()) is not None:
                prefetched = reader.submit(next, chunks, None)
                scored, counts = prepared.score(chunk, scorer, cache)
                if pending:
                    saved, pending = pending.result(), None
                    yield saved
                pending = writer.submit(write, chunk, scored, counts)
        except BaseException:
            # The chunk that is being written will be saved all the same, so it is reported.
            if pending:
                yield pending.result()
            raise
        if pending:
            yield pending.result()
