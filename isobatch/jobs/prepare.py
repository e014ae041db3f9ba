"""Preparation of a job: scans its inputs, chooses columns and makes the manifest.

The inputs are read through once, so that a malformed line is found before hours of work, and hashed
in the same pass. Invariant: chunks, predictions and output bytes of a prepared job depend on its
manifest alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from isobatch.batching.cache import OutputCache
from isobatch.errors import InputError, JobError, TableError
from isobatch.jobs.job import FileJob
from isobatch.jobs.manifest import Manifest, Provenance, make_manifest
from isobatch.scoring import (
    OutputColumns,
    RowCounts,
    RowPrediction,
    column_values,
    count_rows,
    cut_chunks,
    empty_rows,
    score_rows,
)
from isobatch.scoring.columns import plan_columns
from isobatch.tables import (
    Table,
    TableChunk,
    TableFile,
    TableWriter,
    make_writer,
    open_table,
    scan_tables,
)
from isobatch.tasks import Classifier, Prediction, RowFormat


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job that is ready to run, made by `prepare_job`.

    `stamps` are the inputs' sizes and modification times, to notice changes during the run.
    """

    job: FileJob
    tables: tuple[Table, ...]
    num_rows: int
    columns: OutputColumns
    row_format: RowFormat[Prediction]
    writer: TableWriter
    manifest: Manifest
    stamps: tuple[tuple[int, int], ...]

    def chunks(self) -> Iterator[TableChunk]:
        """Yield all rows, in chunks that are the same in every run."""
        return cut_chunks(self.tables, self.columns.read)

    def score(
        self, chunk: TableChunk, classifier: Classifier, cache: OutputCache
    ) -> tuple[list[RowPrediction], RowCounts]:
        """Predict each row and count the results; InputError under on_error="stop"."""
        options, hits = self.job.options, cache.hits
        read = self.columns.read
        results = score_rows(chunk, read, classifier, options.truncation, cache, options.on_empty)
        if options.on_error == "stop":
            for index, result in enumerate(results):
                if isinstance(result, InputError):
                    raise InputError(f"{read.place(chunk, index)}: {result.reason}")
        return results, count_rows(results, cache.hits - hits, empty_rows(chunk, read))

    def encode(self, chunk: TableChunk, results: Sequence[RowPrediction]) -> bytes:
        """Encode the chunk in the format of the output."""
        empty = empty_rows(chunk, self.columns.read)
        values = column_values(results, empty, self.columns, self.row_format)
        return self.writer.encode(chunk, values)

    def refuse_changed_input(self) -> None:
        """Raise a JobError if an input was modified since it was scanned."""
        for table, stamp in zip(self.job.inputs, self.stamps, strict=True):
            if _stamp(table) != stamp:
                raise JobError(
                    f"{table.path}: changed while it was read. Start over with --restart once no "
                    "other process writes it"
                )

    def refuse_saved_errors(self, saved: RowCounts) -> None:
        """Raise an InputError under on_error="stop" if saved rows have an error."""
        if self.job.options.on_error == "stop" and saved.errors:
            raise InputError(
                f"{self.job.output.path}: {saved.errors} of the {saved.rows} saved rows have an "
                "error, at which the earlier run did not stop. Start over with --restart"
            )


def prepare_job(
    job: FileJob, row_format: RowFormat[Prediction], provenance: Provenance
) -> PreparedJob:
    """Scan the inputs, choose the columns and make the manifest.

    TableError for a file that cannot be read, OptionError for columns that do not fit.
    """
    stamps = tuple(_stamp(table) for table in job.inputs)
    tables = tuple(open_table(each) for each in job.inputs)
    scan = scan_tables(tables, with_schema=job.output.format == "parquet")
    columns = plan_columns(scan.columns, row_format, job.options)
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
        stamps=stamps,
    )


def _stamp(table: TableFile) -> tuple[int, int]:
    try:
        status = table.path.stat()
    except OSError as error:
        raise TableError(f"{table.path}: can no longer be read: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns
