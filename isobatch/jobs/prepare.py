"""Preparation of a job: scans its inputs, chooses columns and makes the manifest.

The inputs are read through once, so that a malformed line is found before hours of work, and hashed
in the same pass. Invariant: chunks, predictions and output bytes of a prepared job depend on its
manifest alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from isobatch.batching.cache import OutputCache
from isobatch.errors import InputError, JobError, OptionError, TableError
from isobatch.jobs.job import FileJob
from isobatch.jobs.manifest import Manifest, Provenance, make_manifest, run_record
from isobatch.scoring import (
    OutputColumns,
    RowCounts,
    RowScorer,
    ScoredRows,
    column_values,
    count_rows,
    cut_chunks,
    score_rows,
)
from isobatch.scoring.columns import plan_columns
from isobatch.tables import (
    DELIMITERS,
    Table,
    TableChunk,
    TableFile,
    TableWriter,
    make_writer,
    open_table,
    scan_tables,
)
from isobatch.tasks import RowFormat
from isobatch.types import Truncation

DEFAULT_TRUNCATIONS: dict[str, Truncation] = {"token-classification": "window"}
"""Of tasks that do not cut a text to the length of the model by default."""


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job that is ready to run, made by `prepare_job`.

    `record` describes this run and its machine; `stamps` are the inputs' sizes and modification
    times, to notice changes during the run.
    """

    job: FileJob
    tables: tuple[Table, ...]
    num_rows: int
    columns: OutputColumns
    row_format: RowFormat[Any]
    writer: TableWriter
    manifest: Manifest
    record: Manifest
    stamps: tuple[tuple[int, int], ...]

    def chunks(self) -> Iterator[TableChunk]:
        """Yield all rows, in chunks that are the same in every run."""
        return cut_chunks(self.tables, self.columns.read)

    @property
    def truncation(self) -> Truncation:
        """The treatment of texts that are too long for the model."""
        return self.job.options.truncation or "cut"

    @property
    def _stops_at_errors(self) -> bool:
        default = "stop" if self.job.output.format == "npy" else "row"
        return (self.job.options.on_error or default) == "stop"

    def score(
        self, chunk: TableChunk, scorer: RowScorer, cache: OutputCache
    ) -> tuple[ScoredRows, RowCounts]:
        """Predict each row and count the results; InputError where the job stops at errors."""
        options, hits = self.job.options, cache.hits
        read = self.columns.read
        scored = score_rows(chunk, read, scorer, self.truncation, cache, options.on_empty)
        if self._stops_at_errors:
            for index, result in enumerate(scored.results):
                if isinstance(result, InputError):
                    raise InputError(f"{read.place(chunk, index)}: {result.reason}")
        return scored, count_rows(scored, cache.hits - hits, scorer.labels_of)

    def encode(self, chunk: TableChunk, scored: ScoredRows) -> bytes:
        """Encode the chunk in the format of the output."""
        return self.writer.encode(chunk, self.added_values(scored))

    def added_values(self, scored: ScoredRows) -> list[list[object]]:
        """Return the values of each added column, as they are written."""
        values = column_values(scored, self.columns, self.row_format)
        if delimiter := _unquoted_delimiter(self.job.output):
            values[-1] = [_unquoted_reason(each, delimiter) for each in values[-1]]
        return values

    def refuse_changed_input(self) -> None:
        """Raise a JobError if an input was modified since it was scanned."""
        for table, stamp in zip(self.job.inputs, self.stamps, strict=True):
            if _stamp(table) != stamp:
                raise JobError(
                    f"{table.path}: changed while it was read. Start over with --restart once no "
                    "other process writes to it"
                )

    def refuse_saved_errors(self, saved: RowCounts) -> None:
        """Raise an InputError if saved rows have an error, and the job stops at errors."""
        if self._stops_at_errors and saved.errors:
            raise InputError(
                f"{self.job.output.path}: {saved.errors} of the {saved.rows} saved rows have an "
                "error, at which the earlier run did not stop. Start over with --restart"
            )


def prepare_job(job: FileJob, row_format: RowFormat[Any], provenance: Provenance) -> PreparedJob:
    """Scan the inputs, choose the columns and make the manifest.

    TableError for a file that cannot be read, OptionError for columns that do not fit.
    """
    if job.options.truncation is None:
        default = DEFAULT_TRUNCATIONS.get(str(provenance.task.get("name")), "cut")
        job = replace(job, options=replace(job.options, truncation=default))
    stamps = tuple(_stamp(table) for table in job.inputs)
    tables = tuple(open_table(each) for each in job.inputs)
    format = job.output.format
    scan = scan_tables(tables, format == "parquet", as_texts=format in DELIMITERS)
    columns = plan_columns(scan.columns, row_format, job.options, format)
    for name in columns.kept:
        if (error := scan.undecodable.get(name)) is not None:
            raise error
    _refuse_unquoted(job.output, columns)
    for table, text in product(tables, columns.read.texts):
        table.check_text(text)
    inputs = list(zip(job.inputs, scan.digests, strict=True))
    output = job.output
    writer = make_writer(
        output.format, output.compression, output.dialect, columns.kept, columns.added, scan.schema
    )
    return PreparedJob(
        job=job,
        tables=tables,
        num_rows=scan.num_rows,
        columns=columns,
        row_format=row_format,
        writer=writer,
        manifest=make_manifest(inputs, output, columns, job.options, provenance),
        record=run_record(job.inputs, output, provenance),
        stamps=stamps,
    )


def _unquoted_delimiter(output: TableFile) -> str | None:
    """Return the delimiter that no cell of the output may hold, or None if cells can be quoted."""
    is_unquoted = output.format in DELIMITERS and not output.dialect.quotes
    return output.delimiter if is_unquoted else None


def _refuse_unquoted(output: TableFile, columns: OutputColumns) -> None:
    """Raise an OptionError before any work for added cells that will hold the delimiter."""
    delimiter = _unquoted_delimiter(output)
    if delimiter is None:
        return
    names = (field.name for field in columns.added)
    lists = [field for field in columns.added if field.is_json]
    held = [repr(each) for each in (*names, *columns.labels) if delimiter in each]
    if delimiter == ",":
        held += ["--logits" if each.kind == "numbers" else repr(each.name) for each in lists]
    if held:
        raise OptionError(
            f"{output.path}: {held[0]} needs quotes, as it has the delimiter {delimiter!r}, but "
            "the output has none, like its input (--no-quotes). Use --output-format jsonl"
        )


def _unquoted_reason(reason: object, delimiter: str) -> object:
    """Replace what would need quotes in the reason of an error, as "has 9 tokens, the maximum"."""
    if not isinstance(reason, str):
        return reason
    return " ".join(reason.replace(delimiter, ";" if delimiter == "," else " ").splitlines())


def _stamp(table: TableFile) -> tuple[int, int]:
    try:
        status = table.path.stat()
    except OSError as error:
        raise TableError(f"{table.path}: can no longer be read: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns
