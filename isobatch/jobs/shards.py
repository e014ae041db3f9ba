"""From what a user names as inputs and output to jobs: one for all, or one for each file.

It knows names and no rows. Invariant: every input is in exactly one job, and no two jobs share an
output.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from isobatch.errors import JobError, OptionError
from isobatch.jobs.options import AnswerOptions
from isobatch.jobs.prepare import FileJob
from isobatch.tables import Compression, Dialect, Format, TableFile, recognise, stem

ENDINGS: dict[Compression, str] = {"none": "", "gzip": ".gz", "zstd": ".zst"}


def plan_jobs(
    inputs: Sequence[TableFile],
    output: str,
    options: AnswerOptions,
    output_format: Format | None = None,
) -> list[FileJob]:
    """One job that joins all inputs in `output`, or one for each where `output` is a folder.

    A folder is what ends with / or is one; its files have the inputs' names, and it is made when
    the first is written. OptionError for two inputs of one name, JobError if what the output is to
    lie in is not there.
    """
    path = Path(output)
    if not path.parent.is_dir():
        raise JobError(f"{output}: there is no folder {path.parent}; make it first")
    if output.endswith("/") or path.is_dir():
        jobs = [_shard(each, path, options, output_format) for each in inputs]
        _refuse_same_names(jobs)
        return jobs
    format, compression = recognise(path.name, output_format)
    dialect = Dialect(quotes=inputs[0].dialect.quotes)
    return [FileJob(tuple(inputs), TableFile(path, format, compression, dialect), options)]


def plan_stream(
    inputs: Sequence[TableFile], options: AnswerOptions, output_format: Format | None = None
) -> FileJob:
    """The job that joins all inputs in a stream. OptionError for Parquet, which is no stream."""
    format = output_format or _format_of_answers(inputs[0].format)
    if format == "parquet":
        raise OptionError(
            "Parquet cannot be written to stdout, as its index comes last; name a file, or say "
            "--output-format jsonl"
        )
    dialect = Dialect(quotes=inputs[0].dialect.quotes)
    return FileJob(tuple(inputs), TableFile(Path("stdout"), format, "none", dialect), options)


def _format_of_answers(format: Format) -> Format:
    """Plain lines cannot hold answers: they become JSON lines."""
    return "jsonl" if format == "lines" else format


def _shard(
    table: TableFile, folder: Path, options: AnswerOptions, output_format: Format | None
) -> FileJob:
    """The job of one input, whose name the output has."""
    format = output_format or _format_of_answers(table.format)
    compression = "none" if format == "parquet" else table.compression
    name = f"{stem(table.path.name)}.{format}{ENDINGS[compression]}"
    if format == table.format and stem(table.path.name) != table.path.name:
        name = table.path.name
    dialect = replace(table.dialect, header=True)
    return FileJob((table,), TableFile(folder / name, format, compression, dialect), options)


def _refuse_same_names(jobs: Sequence[FileJob]) -> None:
    for path, times in Counter(job.output.path for job in jobs).items():
        if times > 1:
            given = ", ".join(str(j.inputs[0].path) for j in jobs if j.output.path == path)
            raise OptionError(f"{path}: would be the output of {given}; rename one of them")
