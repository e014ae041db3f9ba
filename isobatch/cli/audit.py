"""`isobatch audit`: does a system's answer to a text depend on the batch? A table, JSON, a page."""

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import typer

from isobatch.cli import audit_options, input_files, options, serve_options
from isobatch.cli.audit_tables import print_probes, print_report
from isobatch.cli.display import open_display
from isobatch.cli.writing import check_writable, write_file

if TYPE_CHECKING:
    from pathlib import Path

    from isobatch.audit.progress import Progress
    from isobatch.audit.result import AuditReport
    from isobatch.cli.display import Display

FAULT_FOUND = 1
"""Exit code; a test that fails has the same."""


def audit(
    context: typer.Context,
    target: audit_options.Target = None,
    texts: audit_options.Texts = None,
    tokenizer: audit_options.Tokenizer = None,
    precision: audit_options.AuditPrecision = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    revision: serve_options.Revision = None,
    dialect: audit_options.Dialect = None,
    api_key: audit_options.SentApiKey = None,
    quick: audit_options.Quick = False,
    fail_on: audit_options.FailOn = "bug",
    html: audit_options.Html = None,
    junit: audit_options.Junit = None,
    list_probes: audit_options.ListProbes = False,
    quiet: input_files.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Find out whether a system's answer to a text depends on the batch that the text is in.

    The same texts are asked in ways that must change no answer. What moves is named: a bug, with
    its cause and its cure, or drift, which is rounding. Exit code 1 says that a bug was found.
    """
    shown_as_json = as_json or not sys.stdout.isatty()
    if list_probes:
        _list_probes(as_json=shown_as_json)
        return
    import isobatch.audit as room

    for path in (html, junit):
        check_writable(path)
    chosen = None if texts is None else _read_texts(texts)
    # What a system under audit prints would be taken for the answer.
    with (
        redirect_stdout(sys.stderr),
        open_display(quiet=quiet, beginning="opening") as display,
    ):
        subject = room.open_subject(
            target,
            tokenizer=tokenizer,
            precision=precision,
            device=device,
            threads=threads,
            revision=revision,
            api_key=_key_for(target, api_key, context),
            dialect=dialect,
        )
        report = room.audit(
            subject, chosen, quick=quick, on_progress=lambda now: _show(display, now)
        )
    if shown_as_json:
        sys.stdout.write(json.dumps(report.as_dict(), ensure_ascii=False) + "\n")
        if not quiet:
            _tell(report)
    else:
        print_report(report)
    _write_files(report, html, junit, fail_on)
    if report.verdict == "bug" or report.verdict == fail_on:
        raise typer.Exit(FAULT_FOUND)


def _key_for(target: str | None, api_key: str | None, context: typer.Context) -> str | None:
    """A key of the environment is meant for servers, and in the way of other targets."""
    source = context.get_parameter_source("api_key")
    is_server = (target or "").startswith(("http://", "https://"))
    return api_key if is_server or (source and source.name == "COMMANDLINE") else None


def _read_texts(name: str) -> list[str]:
    """The lines of a file; blank ones ask nothing."""
    from isobatch.tables import open_table

    lines: list[str] = []
    with input_files.input_tables([name], "lines") as tables:
        for table in map(open_table, tables):
            for rows in table.rows(max_rows=10_000, max_characters=1 << 24):
                lines += rows.texts("text")
    return [line for line in lines if line.strip()]


def _show(display: "Display", progress: "Progress") -> None:
    place = f"{progress.done} of {progress.total} probes"
    words = f"{place} · {progress.probe}" if progress.probe else f"{place} · looking for causes"
    display.draw(progress.done, progress.total, words)


def _tell(report: "AuditReport") -> None:
    """The verdict in a few lines, for whoever reads a log beside the JSON."""
    from isobatch.audit.wording import headline

    typer.echo(f"isobatch: {headline(report)}", err=True)
    for finding in report.findings:
        typer.echo(f"isobatch: {finding.severity}: {finding.title} ({finding.name})", err=True)


def _write_files(
    report: "AuditReport",
    html: "Path | None",
    junit: "Path | None",
    fail_on: audit_options.FailOn,
) -> None:
    """After the answer is out: a file that cannot be written loses nothing else."""
    try:
        if html:
            from isobatch.audit.report import render_page

            write_file(html, render_page(report), "page")
    finally:
        if junit:
            from isobatch.audit.junit import junit_xml

            write_file(junit, junit_xml(report, fail_on), "test report")


def _list_probes(*, as_json: bool) -> None:
    from isobatch.audit import PROBES

    if as_json:
        probes = [{"name": p.name, "changes": p.changes, "proves": p.proves} for p in PROBES]
        sys.stdout.write(json.dumps(probes, ensure_ascii=False) + "\n")
    else:
        print_probes(PROBES)
