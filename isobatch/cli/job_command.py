"""Running file jobs for a command: plan, run, and report, also when a signal ends the run."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from isobatch.cli import input_files, options
from isobatch.cli.job_options import OF_RAY, JobCommand
from isobatch.cli.scoring_progress import ProgressDisplay, shown_progress, summarize
from isobatch.cli.stop_signals import Stopped
from isobatch.cli.terminal_layout import say
from isobatch.cli.writing import check_writable, is_same_file, write_file
from isobatch.drawing.display_text import counted
from isobatch.errors import JobError, OptionError
from isobatch.tables import Format

if TYPE_CHECKING:
    from isobatch.jobs import (
        FileJob,
        JobReport,
        ModelOptions,
        RayOptions,
        ScoringOptions,
        TaskOptions,
    )
    from isobatch.tables import TableFile
    from isobatch.types import Truncation

STDOUT = "-"


def run_jobs(
    context: typer.Context,
    command: JobCommand,
    name: str,
    scoring: "ScoringOptions",
    task: "TaskOptions",
    output_format: Format | None,
) -> "JobReport":
    """Run the jobs of the command with that `name`, write the report and print the summary.

    NotReproducedError at the end for another digest than the expected one.
    """
    from isobatch.jobs import ModelOptions, RayOptions, check_digest

    if command.engine != "ray":
        options.refuse_given(context, OF_RAY, "without --engine ray")
    expected = None if command.expect is None else check_digest(command.expect)
    reading = input_files.InputOptions(
        command.input_format,
        command.no_header,
        command.no_quotes,
        command.delimiter,
        command.encoding,
        command.compression,
        name,
    )
    _check_report(command.report)
    loading = ModelOptions(
        command.model,
        command.precision,
        command.device,
        command.threads,
        command.max_batch_tokens,
        command.revision,
        task,
        command.model_engine,
    )
    ray = None
    if command.engine == "ray":
        cpus = command.threads or 1
        ray = RayOptions(command.ray_address, command.workers, cpus, command.ray_wait)
    with (
        input_files.input_tables(command.names, reading, command.output) as tables,
        shown_progress(quiet=command.quiet) as display,
        interruptible(display, resumable=command.output != STDOUT, quiet=command.quiet),
    ):
        jobs = _plan(command, tables, output_format, scoring)
        _refuse_replaced(command.report, jobs)
        done = _run(command, jobs, loading, ray, display)
    holds_arrays = any(job.output.format == "npy" for job in jobs)
    _conclude(done, command.report, expected, holds_arrays=holds_arrays, quiet=command.quiet)
    return done


def _plan(
    command: JobCommand,
    tables: "Sequence[TableFile]",
    output_format: Format | None,
    scoring: "ScoringOptions",
) -> "list[FileJob]":
    from isobatch.jobs import plan_jobs, plan_stream

    if command.output != STDOUT:
        return plan_jobs(tables, command.output, scoring, output_format)
    if command.engine == "ray":
        raise OptionError("--engine ray writes files: specify a folder (-o FOLDER/), not stdout")
    return [plan_stream(tables, scoring, output_format)]


def _run(
    command: JobCommand,
    jobs: "Sequence[FileJob]",
    loading: "ModelOptions",
    ray: "RayOptions | None",
    display: ProgressDisplay,
) -> "JobReport":
    from isobatch.jobs import run_files, run_on_ray, run_stream

    if command.output == STDOUT:
        return run_stream(jobs[0], loading, sys.stdout.buffer, on_progress=display.show)
    restart = command.restart
    if ray:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports its use
        return run_on_ray(jobs, loading, ray, restart=restart, on_progress=display.show)
    return run_files(jobs, loading, restart=restart, on_progress=display.show)


def truncation_of(command: JobCommand) -> "Truncation | None":
    """Return how texts longer than the model are read; None for the default of the task."""
    return options.truncation_of(command.truncation, command.stride, command.window_pooling)


def kept_columns(command: JobCommand) -> tuple[str, ...] | None:
    """Return the names of --columns; None for all."""
    return None if command.columns is None else options.names_of("--columns", command.columns)


def _check_report(report: Path | None) -> None:
    """Raise a JobError before any work if the report cannot be written."""
    if report is None:
        return
    if str(report) == STDOUT:
        raise JobError(
            "--report - : the report is written to a file. Specify one: --report FILE.json"
        )
    check_writable(report, JobError)


def _refuse_replaced(report: Path | None, jobs: "Sequence[FileJob]") -> None:
    """Raise a JobError before any work if the report would replace an input or an output."""
    if report is None:
        return
    for job in jobs:
        outputs = () if job.is_stream else (job.output,)
        if any(is_same_file(report, each.path) for each in (*job.inputs, *outputs)):
            raise JobError(f"{report}: is an input or an output as well. Use another report")


@contextmanager
def interruptible(display: ProgressDisplay, *, resumable: bool, quiet: bool) -> Iterator[None]:
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


def _conclude(
    done: "JobReport",
    report: Path | None,
    expected: str | None,
    *,
    holds_arrays: bool,
    quiet: bool,
) -> None:
    """Write the report and the summary, also where the digest is not the expected one."""
    from isobatch.jobs import refuse_other_digest

    if report:
        content = json.dumps(done.as_dict(), ensure_ascii=False, indent=2) + "\n"
        write_file(report, content, "report", JobError)
    if not quiet:
        task = str(done.provenance.task.get("name", "text-classification"))
        say(summarize(done.progress, done.max_tokens, done.digest, task), err=True)
        if holds_arrays and done.progress.total.errors:
            say("rows with an error are NaN: numpy.isnan(vectors).all(axis=1)", err=True)
    if expected is not None:
        refuse_other_digest(done.outputs, done.digest, expected)
