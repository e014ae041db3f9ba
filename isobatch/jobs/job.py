"""File jobs as the user names them: inputs, one output, and options.

Invariant: every input is in exactly one job, and no two jobs share an output. Jobs and options can
be pickled and sent to another machine.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.errors import OptionError
from isobatch.jobs.output_checks import check_output, check_output_folder
from isobatch.scoring import RowScorer, ScoringOptions, TaskOptions, load_scorer
from isobatch.tables import (
    DELIMITERS,
    Compression,
    CsvDialect,
    Format,
    TableFile,
    detect_format,
    stem,
)
from isobatch.types import EngineName, Precision

ENDINGS: dict[Compression, str] = {"none": "", "gzip": ".gz", "zstd": ".zst"}

BY_FILE: dict[Format, str] = {"parquet": "Parquet", "npy": "A NumPy array"}
"""Formats that are neither written to a stream nor compressed as a whole."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The checkpoint to load, as `Pipeline.from_pretrained` takes it, and what it computes."""

    model: str | None = None
    precision: Precision | Literal["auto"] | None = None
    device: str = "cpu"
    threads: int | None = None
    max_batch_tokens: int = MAX_BATCH_TOKENS
    revision: str | None = None
    task: TaskOptions = field(default_factory=TaskOptions)
    engine: EngineName = "native"

    def load(self, scoring: ScoringOptions | None = None) -> RowScorer:
        """Load the pipeline of the task; errors as in `load_scorer`.

        scoring: of the job; OptionError, before a row is read, where the task does not have its
        truncation, or reads no pairs of texts.
        """
        stated: dict[str, Any] = {}
        if scoring is not None:
            stated["pair_column"] = scoring.pair_column
            if scoring.truncation is not None:
                stated["truncation"] = scoring.truncation
        return load_scorer(
            self.model,
            self.revision,
            self.task,
            precision=self.precision,
            device=self.device,
            threads=self.threads,
            max_batch_tokens=self.max_batch_tokens,
            engine=self.engine,
            **stated,
        )


@dataclass(frozen=True, slots=True)
class FileJob:
    """The rows of `inputs`, one file after the other, scored into `output`.

    is_stream: the path of the output is only its name in messages, and no file.
    """

    inputs: tuple[TableFile, ...]
    output: TableFile
    options: ScoringOptions
    is_stream: bool = False

    def __post_init__(self) -> None:
        formats = sorted({table.format for table in self.inputs})
        if len(formats) != 1:
            raise OptionError(
                f"one output needs inputs of one format, got {', '.join(formats)}. Specify a "
                "folder as output (ending with /) to write one file per input"
            )
        for table in () if self.is_stream else self.inputs:
            if table.path.resolve() == self.output.path.resolve():
                raise OptionError(
                    f"{table.path}: is an input and would be overwritten. Use another output"
                )

    def with_absolute_paths(self) -> "FileJob":
        """Resolve all paths, so that a process in another folder can run the job."""
        inputs = tuple(replace(each, path=each.path.resolve()) for each in self.inputs)
        output = replace(self.output, path=self.output.path.resolve())
        return replace(self, inputs=inputs, output=output)


def plan_jobs(
    inputs: Sequence[TableFile],
    output: str,
    options: ScoringOptions,
    output_format: Format | None = None,
) -> list[FileJob]:
    """Plan one job that joins all inputs, or one per input where `output` is a folder.

    A name that ends with / is a folder; its files are named like the inputs, and it is created when
    the first of them is written. The output of a symbolic link is the file that it names.
    OptionError for two inputs of the same name, JobError for an output that cannot be written.
    """
    path = Path(output)
    if output.endswith("/") or path.is_dir():
        check_output_folder(path)
        jobs = [_plan_shard(each, path, options, output_format) for each in inputs]
        _refuse_same_names(jobs)
        return [_with_target(job) for job in jobs] if path.is_dir() else jobs
    format, compression = detect_format(path.name, output_format, "--output-format")
    target = check_output(path)
    table = TableFile(target, format, compression, _output_dialect(inputs[0], format))
    return [FileJob(tuple(inputs), table, options)]


def _with_target(job: FileJob) -> FileJob:
    """Write the file that the output names as a symbolic link, and check that it can be."""
    return replace(job, output=replace(job.output, path=check_output(job.output.path)))


def _output_dialect(table: TableFile, format: Format) -> CsvDialect:
    """Keep unquoted cells unquoted, but not if they may hold the delimiter of the output."""
    same = table.format in DELIMITERS and table.delimiter == DELIMITERS.get(format)
    return CsvDialect(quotes=table.dialect.quotes or not same)


def plan_stream(
    inputs: Sequence[TableFile], options: ScoringOptions, output_format: Format | None = None
) -> FileJob:
    """Plan the job that joins all inputs in a stream; OptionError for Parquet."""
    format = output_format or _default_output_format(inputs[0])
    if format in BY_FILE:
        reason = "its index comes last" if format == "parquet" else "its number of rows comes first"
        raise OptionError(
            f"{BY_FILE[format]} cannot be written to stdout, because {reason}. Specify a file, or "
            "use --output-format jsonl"
        )
    table = TableFile(Path("stdout"), format, "none", _output_dialect(inputs[0], format))
    return FileJob(tuple(inputs), table, options, is_stream=True)


def _default_output_format(table: TableFile) -> Format:
    """Return the input's format; plain lines, which have no columns, become JSON lines."""
    return "jsonl" if table.format == "lines" else table.format


def _plan_shard(
    table: TableFile, folder: Path, options: ScoringOptions, output_format: Format | None
) -> FileJob:
    format = output_format or _default_output_format(table)
    compression: Compression = "none" if format in BY_FILE else table.compression
    name = f"{stem(table.path.name)}.{format}{ENDINGS[compression]}"
    if format == table.format and stem(table.path.name) != table.path.name:
        name = table.path.name
    output = TableFile(folder / name, format, compression, _output_dialect(table, format))
    return FileJob((table,), output, options)


def _refuse_same_names(jobs: Sequence[FileJob]) -> None:
    for path, times in Counter(job.output.path for job in jobs).items():
        if times > 1:
            given = ", ".join(str(j.inputs[0].path) for j in jobs if j.output.path == path)
            raise OptionError(f"{path}: would be the output of {given}. Rename one of the inputs")
