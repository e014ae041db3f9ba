"""A job, and what is settled about it before the first row is asked.

Its inputs are read through once, so that a broken line is found before hours of work; the columns
are chosen, and the manifest is made. It writes no file. Invariant: what a prepared job cuts,
answers and encodes depends on its manifest alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from isobatch.batching.cache import OutputCache
from isobatch.errors import InputError, JobError, OptionError, TableError
from isobatch.jobs.answers import Answer, added_values, answer_rows, count_answers
from isobatch.jobs.chunks import Chunk, cut_chunks
from isobatch.jobs.durable import measure
from isobatch.jobs.layout import Layout, lay_out
from isobatch.jobs.manifest import Manifest, Provenance, write_manifest
from isobatch.jobs.options import AnswerOptions
from isobatch.jobs.summary import Counts
from isobatch.tables import (
    Scan,
    Table,
    TableFile,
    TableWriter,
    make_writer,
    open_table,
    scan_all,
)
from isobatch.tasks import Classifier


@dataclass(frozen=True, slots=True)
class FileJob:
    """What to do: the rows of `inputs`, one file after the other, into `output`."""

    inputs: tuple[TableFile, ...]
    output: TableFile
    options: AnswerOptions

    def __post_init__(self) -> None:
        formats = sorted({table.format for table in self.inputs})
        if len(formats) != 1:
            raise OptionError(
                f"one output takes inputs of one format, got {', '.join(formats)}; give a folder "
                "as output (it ends with /), which gets a file for each"
            )
        own = [each.path for each in self.inputs if each.path.resolve() == self._target]
        if own:
            raise OptionError(f"{own[0]}: is an input, and would be overwritten; name another file")

    @property
    def _target(self) -> Path:
        return self.output.path.resolve()

    def with_absolute_paths(self) -> "FileJob":
        """The same job, as another process in another folder can run it."""
        inputs = tuple(replace(each, path=each.path.resolve()) for each in self.inputs)
        return replace(self, inputs=inputs, output=replace(self.output, path=self._target))


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job that can be run. Make it by `prepare_job`.

    `stamps` are the inputs' sizes and times, to notice what changes under way.
    """

    job: FileJob
    tables: tuple[Table, ...]
    num_rows: int
    layout: Layout
    writer: TableWriter
    manifest: Manifest
    stamps: tuple[tuple[int, int], ...]

    def chunks(self) -> Iterator[Chunk]:
        """All rows, in chunks that are the same in every run."""
        return cut_chunks(self.tables, self.layout.read)

    def answer(
        self, chunk: Chunk, classifier: Classifier, cache: OutputCache
    ) -> tuple[list[Answer], Counts]:
        """An answer for each row, and the counts of all. InputError under on_error="stop"."""
        options, hits = self.job.options, cache.hits
        answers = answer_rows(chunk.rows, self.layout.read, classifier, options.truncation, cache)
        if options.on_error == "stop":
            self._refuse_errors(chunk, answers)
        return answers, count_answers(answers, cache.hits - hits)

    def encode(self, chunk: Chunk, answers: Sequence[Answer]) -> bytes:
        """The chunk as it stands in the output."""
        return self.writer.encode(chunk.rows, added_values(answers, self.layout))

    def refuse_changed_input(self) -> None:
        """JobError if an input was written to since it was read through."""
        for table, stamp in zip(self.job.inputs, self.stamps, strict=True):
            if _stamp(table) != stamp:
                raise JobError(
                    f"{table.path}: changed while it was read; begin anew with --restart when "
                    "nobody writes to it"
                )

    def refuse_kept_errors(self, kept: Counts) -> None:
        """InputError under on_error="stop" if rows that are kept already have an error."""
        if self.job.options.on_error == "stop" and kept.errors:
            raise InputError(
                f"{self.job.output.path}: {kept.errors} of the {kept.rows} rows that are kept have "
                "an error, which the run before did not stop at; begin anew with --restart"
            )

    def _refuse_errors(self, chunk: Chunk, answers: Sequence[Answer]) -> None:
        for index, answer in enumerate(answers):
            if isinstance(answer, InputError):
                place = self.layout.read.place(chunk.rows, index)
                raise InputError(f"{place}: {answer.reason}")


def prepare_job(job: FileJob, labels: tuple[str, ...], provenance: Provenance) -> PreparedJob:
    """Read the inputs through, and settle the columns.

    TableError for a file that cannot be read, OptionError for columns that do not fit.
    """
    stamps = tuple(_stamp(table) for table in job.inputs)
    tables = tuple(open_table(each) for each in job.inputs)
    with_schema = job.output.format == "parquet"
    scanned = scan_all(tables, with_schema)
    layout = lay_out(scanned.columns, labels, job.options)
    inputs = [(each, measure(each.path)) for each in job.inputs]
    return PreparedJob(
        job=job,
        tables=tables,
        num_rows=scanned.num_rows,
        layout=layout,
        writer=_writer(job.output, layout, scanned),
        manifest=write_manifest(inputs, job.output, layout, job.options.truncation, provenance),
        stamps=stamps,
    )


def _writer(output: TableFile, layout: Layout, scanned: Scan) -> TableWriter:
    return make_writer(
        output.format,
        output.compression,
        output.dialect,
        layout.kept,
        layout.added,
        scanned.schema,
    )


def _stamp(table: TableFile) -> tuple[int, int]:
    try:
        status = table.path.stat()
    except OSError as error:
        raise TableError(f"{table.path}: cannot be read any more: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns
