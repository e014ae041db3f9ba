"""`isobatch run`: files of rows in, the same rows with answers out; stopped, it goes on."""

import csv
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import inputs, options, run_options
from isobatch.cli.progress import ProgressDisplay, shown_progress, summarise
from isobatch.cli.writing import write_file
from isobatch.errors import JobError, OptionError

if TYPE_CHECKING:
    from isobatch.jobs import AnswerOptions, ModelOptions, Outcome, RayOptions
    from isobatch.tables import Format, TableFile

STDOUT = "-"
TERMINATED = 128 + signal.SIGTERM


def run(
    names: run_options.Inputs,
    output: run_options.Output,
    input_format: inputs.InputFormat = None,
    output_format: run_options.OutputFormat = None,
    text_column: inputs.TextColumn = None,
    pair_column: inputs.PairColumn = None,
    id_column: inputs.IdColumn = None,
    columns: run_options.Columns = None,
    logits: run_options.Logits = False,
    scores: run_options.Scores = False,
    prefix: run_options.Prefix = "",
    no_header: inputs.NoHeader = False,
    no_quotes: inputs.NoQuotes = False,
    truncation: run_options.RowTruncation = "cut",
    on_error: run_options.OnError = "row",
    restart: run_options.Restart = False,
    report: run_options.Report = None,
    quiet: run_options.Quiet = False,
    engine: run_options.Engine = "local",
    workers: run_options.Workers = 2,
    ray_address: run_options.RayAddress = None,
    ray_wait: run_options.RayWait = 60.0,
    model: options.ModelOption = None,
    precision: options.PrecisionOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS,
) -> None:
    """Classify files: row n in, row n out, with label, score, truncated and error added.

    CSV, TSV, JSONL, Parquet and lines, also .gz and .zst. What is done is kept in .isobatch/ beside
    the output: stopped, the same command goes on, and ends in the same bytes.
    """
    from isobatch.jobs import AnswerOptions, ModelOptions, RayOptions

    answers = AnswerOptions(
        text_column=text_column,
        pair_column=pair_column,
        id_column=id_column,
        columns=_column_names(columns),
        logits=logits,
        scores=scores,
        prefix=prefix,
        truncation=truncation,
        on_error=on_error,
    )
    request = _Request(
        output=output,
        output_format=output_format,
        answers=answers,
        model=ModelOptions(model, precision, device, threads, max_batch_tokens),
        ray=RayOptions(ray_address, workers, threads or 1, ray_wait) if engine == "ray" else None,
        restart=restart,
    )
    dialect = inputs.dialect_of(no_header=no_header, no_quotes=no_quotes)
    named = inputs.named_tables(names, input_format, dialect, output)
    with named as tables, shown_progress(quiet=quiet) as display, _interruptible(request, display):
        outcome = _compute(tables, request, display)
    _conclude(outcome, report, quiet=quiet)


@dataclass(frozen=True, slots=True)
class _Request:
    """Everything that was asked for, but the inputs."""

    output: str
    output_format: "Format | None"
    answers: "AnswerOptions"
    model: "ModelOptions"
    ray: "RayOptions | None"
    restart: bool


def _compute(
    tables: "Sequence[TableFile]", request: _Request, display: ProgressDisplay
) -> "Outcome":
    from isobatch.jobs import plan_jobs, plan_stream, run_files, run_on_ray, run_stream

    answers, output_format = request.answers, request.output_format
    if request.output == STDOUT:
        if request.ray:
            raise OptionError("--engine ray writes files: name a folder (-o FOLDER/), not stdout")
        job = plan_stream(tables, answers, output_format)
        return run_stream(job, request.model, sys.stdout.buffer, on_progress=display.show)
    jobs = plan_jobs(tables, request.output, answers, output_format)
    if request.ray:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of its use
        return run_on_ray(
            jobs, request.model, request.ray, restart=request.restart, on_progress=display.show
        )
    return run_files(jobs, request.model, restart=request.restart, on_progress=display.show)


def _column_names(given: str | None) -> tuple[str, ...] | None:
    """Names with commas between them, as in a line of CSV; a name with a comma is quoted."""
    return None if given is None else tuple(next(csv.reader([given], skipinitialspace=True), ()))


@contextmanager
def _interruptible(request: _Request, display: ProgressDisplay) -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does, and say what is kept."""

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if request.output != STDOUT and (last := display.last):
            display.say(
                f"stopped: {last.total.rows:,} of {last.num_rows:,} rows are kept; the same "
                "command goes on from there"
            )
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _conclude(outcome: "Outcome", report: Path | None, *, quiet: bool) -> None:
    if report:
        content = json.dumps(outcome.as_dict(), ensure_ascii=False, indent=2) + "\n"
        write_file(report, content, "report", JobError)
    if not quiet:
        typer.echo(summarise(outcome.progress, outcome.max_tokens), err=True)
