"""`isobatch run`: scores files into files, and resumes an interrupted run."""

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import input_files, options
from isobatch.cli.scoring_progress import ProgressDisplay, shown_progress, summarize
from isobatch.cli.stop_signals import Stopped
from isobatch.cli.writing import check_writable, write_file
from isobatch.drawing.display_text import counted
from isobatch.errors import JobError, OptionError
from isobatch.tables import Format

if TYPE_CHECKING:
    from isobatch.jobs import JobReport, ModelOptions, RayOptions, ScoringOptions
    from isobatch.tables import TableFile

STDOUT = "-"

Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="Output file; a folder (ending with /) for one per input; - stdout."
    ),
]
OutputFormat = Annotated[
    Format | None,
    typer.Option(help="Format of the output. Default: by the file name; stdout: the input's."),
]

Columns = Annotated[
    str | None, typer.Option(help="Input columns to keep, separated by commas. Default: all.")
]
Logits = Annotated[bool, typer.Option("--logits", help="Add the logits, as one column.")]
Scores = Annotated[bool, typer.Option("--scores", help="Add one column for each class's score.")]
Prefix = Annotated[str, typer.Option(help="Prefix of the names of the added columns.")]
OnError = Annotated[
    Literal["row", "stop"],
    typer.Option(help="Rows without a prediction: write the reason (row), or stop there (stop)."),
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Discard saved work and replace the output.")
]
Report = Annotated[
    Path | None, typer.Option(help="Path to write counts, speed and provenance to, as JSON.")
]
Expect = Annotated[
    str | None,
    typer.Option(
        metavar="DIGEST",
        help="Digest that the output must have, as a run prints it at its end: SHA-256 of the "
        "decompressed content; of several outputs, of their list. Exit code 9 for another one.",
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Where to compute: in this process, or on Ray with one file per worker."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="ISOBATCH_RAY_ADDRESS",
        help="Address of a Ray cluster; auto: the one of this machine. Default: a local Ray.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(min=1, help="Number of Ray workers, each with one model and --threads CPUs (1)."),
]
RayWait = Annotated[
    float, typer.Option(min=1.0, help="Maximum seconds to wait for room for all Ray workers.")
]


def run(
    names: input_files.Inputs,
    output: Output,
    input_format: input_files.InputFormat = None,
    output_format: OutputFormat = None,
    text_column: input_files.TextColumn = None,
    pair_column: input_files.PairColumn = None,
    id_column: input_files.IdColumn = None,
    columns: Columns = None,
    logits: Logits = False,
    scores: Scores = False,
    prefix: Prefix = "",
    no_header: input_files.NoHeader = False,
    no_quotes: input_files.NoQuotes = False,
    delimiter: input_files.Delimiter = None,
    encoding: input_files.Encoding = None,
    compression: input_files.CompressionOption = None,
    truncation: input_files.RowTruncation = "cut",
    on_empty: input_files.OnEmptyOption = "score",
    on_error: OnError = "row",
    restart: Restart = False,
    report: Report = None,
    expect: Expect = None,
    quiet: input_files.Quiet = False,
    engine: Engine = "local",
    workers: Workers = 2,
    ray_address: RayAddress = None,
    ray_wait: RayWait = 60.0,
    model: options.ModelOption = None,
    revision: options.RevisionOption = None,
    precision: options.PrecisionOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS,
) -> None:
    """Classify the rows of files: each output row is the input row, with label and score added.

    CSV, TSV, JSONL, Parquet and lines, also .gz and .zst. Progress is saved in .isobatch/ next to
    the output: run an interrupted command again to resume it, with the same bytes as the result.
    """
    from isobatch.jobs import ModelOptions, RayOptions, ScoringOptions, check_digest

    expected = None if expect is None else check_digest(expect)
    kept = _column_names(columns)
    names_read = text_column, pair_column, id_column
    added = logits, scores, prefix
    scoring = ScoringOptions(*names_read, kept, *added, truncation, on_empty, on_error)
    reading = input_files.InputOptions(
        input_format, no_header, no_quotes, delimiter, encoding, compression, "run"
    )
    _check_report(report, names, output)
    loading = ModelOptions(model, precision, device, threads, max_batch_tokens, revision)
    ray = RayOptions(ray_address, workers, threads or 1, ray_wait) if engine == "ray" else None
    with (
        input_files.input_tables(names, reading, output) as tables,
        shown_progress(quiet=quiet) as display,
        _interruptible(display, resumable=output != STDOUT, quiet=quiet),
    ):
        done = _run_jobs(tables, output, output_format, scoring, loading, ray, restart, display)
    _conclude(done, report, expected, quiet=quiet)


def _run_jobs(
    tables: "Sequence[TableFile]",
    output: str,
    output_format: Format | None,
    scoring: "ScoringOptions",
    loading: "ModelOptions",
    ray: "RayOptions | None",
    restart: bool,
    display: ProgressDisplay,
) -> "JobReport":
    from isobatch.jobs import plan_jobs, plan_stream, run_files, run_on_ray, run_stream

    if output == STDOUT:
        if ray:
            raise OptionError("--engine ray writes files: name a folder (-o FOLDER/), not stdout")
        job = plan_stream(tables, scoring, output_format)
        return run_stream(job, loading, sys.stdout.buffer, on_progress=display.show)
    jobs = plan_jobs(tables, output, scoring, output_format)
    if ray:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports its use
        return run_on_ray(jobs, loading, ray, restart=restart, on_progress=display.show)
    return run_files(jobs, loading, restart=restart, on_progress=display.show)


def _column_names(given: str | None) -> tuple[str, ...] | None:
    """Split names at commas, as in a line of CSV; a name with a comma is quoted."""
    return None if given is None else tuple(next(csv.reader([given], skipinitialspace=True), ()))


def _check_report(report: Path | None, names: Sequence[str], output: str) -> None:
    """Raise a JobError before any work if the report cannot be written, or would replace a file."""
    if report is None:
        return
    if str(report) == STDOUT:
        raise JobError("--report - : the report is written to a file. Name one: --report FILE.json")
    check_writable(report, JobError)
    if any(Path(name).resolve() == report.resolve() for name in (*names, output)):
        raise JobError(f"{report}: is an input or the output as well. Name another report")


@contextmanager
def _interruptible(display: ProgressDisplay, *, resumable: bool, quiet: bool) -> Iterator[None]:
    """Report the saved rows when a signal ends the run."""
    try:
        yield
    except Stopped as stopped:
        if resumable and (last := display.last):
            display.say(
                f"stopped: {last.total.rows:,} of {counted(last.num_rows, 'row is', 'rows are')} "
                "saved. Run the same command again to resume"
            )
            stopped.announced = not quiet
        raise


def _conclude(done: "JobReport", report: Path | None, expected: str | None, *, quiet: bool) -> None:
    """Write the report and the summary, also where the digest is not the expected one."""
    from isobatch.jobs import refuse_other_digest

    if report:
        content = json.dumps(done.as_dict(), ensure_ascii=False, indent=2) + "\n"
        write_file(report, content, "report", JobError)
    if not quiet:
        typer.echo(summarize(done.progress, done.max_tokens, done.digest), err=True)
    if expected is not None:
        refuse_other_digest(done.outputs, done.digest, expected)
