"""`isobatch audit`: does a system's answer to a text depend on the batch? A table, JSON, a page.

Nothing heavy is imported before it is needed, so that `--help` answers at once. Text from outside
is shown without its control characters.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from isobatch.cli import input_files, options, options_of_tasks
from isobatch.cli.audit_comparison import (
    check_paths,
    conclusion,
    print_comparison,
    read_answers,
    write_answers,
)
from isobatch.cli.audit_watch import AuditWatch
from isobatch.cli.display import open_display
from isobatch.cli.standard_streams import printing
from isobatch.cli.terminal_layout import facts_table, fitted_table, open_console, say
from isobatch.cli.writing import write_file
from isobatch.drawing.display_text import counted
from isobatch.errors import EXIT_CODES, NotReproducedError, OptionError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from isobatch.audit import SavedAnswers
    from isobatch.audit.report_data import AuditReport, Finding, Status

FAULT_FOUND = 1
"""Exit code; a test that fails has the same."""

WRONG_CONFIGURATION = 8
"""Exit code, as for a system that cannot be audited: a text fails alone, or a setting is wrong."""

COLORS: dict["Status", str] = {
    "error": "bold red",
    "configuration": "bold yellow",
    "bug": "bold red",
    "drift": "yellow",
    "exact": "green",
    "note": "cyan",
    "not tested": "dim",
}
"""In addition to the word, never instead of it."""

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="[TARGET]",
        envvar="ISOBATCH_MODEL",
        help="System to audit: a checkpoint folder or hub id, run by Isobatch; "
        "transformers:PATH_OR_ID, run by Hugging Face; onnx:FILE, by ONNX Runtime; http://..., a "
        "server; python:module:function, from a list of texts to a row of logits or scores for "
        "each. Default: the bundled model.",
    ),
]
Texts = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="File with one text per line ('-' for stdin); blank lines are skipped. Default: "
        "built-in texts.",
    ),
]
TokenizerPath = Annotated[
    str | None,
    typer.Option(
        metavar="PATH_OR_ID",
        help="Tokenizer of an onnx: or transformers: target. Default: the one in its folder.",
    ),
]
AuditPrecision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        envvar="ISOBATCH_PRECISION",
        help="Precision: fp32 or bf16; also int8 and auto for a checkpoint run by Isobatch, fp16 "
        "for transformers:. Default: the checkpoint's own.",
    ),
]
DialectName = Annotated[
    str | None,
    typer.Option(
        help="API of a server: tei, vllm, hf; or inputs, texts, instances for a service that takes "
        "a list of texts under that key. Default: chosen by its path, or by trying each."
    ),
]
SentApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="ISOBATCH_API_KEY",
        show_envvar=True,
        help="API key to send to a server (Authorization: Bearer KEY). Other users of the machine "
        "can read command lines, but not the environment variable.",
    ),
]
IsTrainingStep = Annotated[
    bool,
    typer.Option(
        "--training-step",
        help="The target is a training step, python:module:function, from texts and labels to the "
        "gradient: check that the gradient of a batch is the mean of its texts' gradients.",
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="Run a faster, less thorough audit.")]
FailOn = Annotated[
    Literal["bug", "drift"],
    typer.Option(help="Least severe finding that ends the command with exit code 1."),
]
Html = Annotated[
    Path | None,
    typer.Option(help="Path to write a self-contained HTML report with charts to."),
]
Junit = Annotated[
    Path | None,
    typer.Option(help="Path of a JUnit XML file to write, with a test case for each probe."),
]
Save = Annotated[
    Path | None,
    typer.Option(help="Path to write the answers to, for --compare on another machine."),
]
Compare = Annotated[
    Path | None,
    typer.Option(
        help="File of --save: compare the answers with those, bit for bit, and explain what "
        "differs. Its texts are the default. Exit code 9 for an unexplained difference, or one "
        "beyond rounding."
    ),
]
ListProbes = Annotated[
    bool, typer.Option("--list", help="List all probes, what each changes and proves, and exit.")
]


def audit(
    context: typer.Context,
    target: Target = None,
    texts: Texts = None,
    encoding: input_files.Encoding = None,
    tokenizer: TokenizerPath = None,
    precision: AuditPrecision = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    revision: options.RevisionOption = None,
    pooling: options_of_tasks.Pooling = None,
    dialect: DialectName = None,
    api_key: SentApiKey = None,
    training_step: IsTrainingStep = False,
    quick: Quick = False,
    fail_on: FailOn = "bug",
    html: Html = None,
    junit: Junit = None,
    save: Save = None,
    compare: Compare = None,
    list_probes: ListProbes = False,
    quiet: input_files.Quiet = False,
    as_json: options.JsonOption = False,
) -> None:
    """Find out whether a system's answer to a text depends on the batch that the text is in.

    The same texts are sent in different ways that must not change any result. A change is diagnosed
    as a bug, with its cause and fix, or as drift, which is rounding. Exit code 1 means that a bug
    was found; 8 that the system cannot be audited, or that it fails on a text alone, without any
    batch.
    """
    shown_as_json = as_json or not sys.stdout.isatty()
    if list_probes:
        _list_probes(training_step, as_json=shown_as_json)
        return
    if encoding is not None and texts is None:
        raise OptionError("--encoding is for the file of --texts. Leave it out")
    written = {"--html": html, "--junit": junit, "--save": save}
    check_paths(written, {"--texts": texts, "--compare": compare}, training_step=training_step)
    opening: dict[str, Any] = {"tokenizer": tokenizer, "revision": revision, "pooling": pooling}
    opening |= {"precision": precision, "device": device, "threads": threads}
    opening |= {"dialect": dialect, "api_key": _key_for(target, api_key, context)}
    how: dict[str, Any] = {"compare_with": read_answers(compare), "quick": quick, "quiet": quiet}
    how["training_step"] = training_step
    watch = AuditWatch()
    try:
        report = _audit(target, texts, opening, watch, encoding=encoding, **how)
    except BaseException as error:  # report the probes so far
        failed = watch.failed_report(target, error)
        if shown_as_json:
            with printing():
                sys.stdout.write(json.dumps(failed.as_dict(), ensure_ascii=False) + "\n")
        _write_files(failed, html, junit, fail_on)
        raise
    with ExitStack() as each:  # every file is written, also if another or stdout cannot be
        each.callback(write_answers, save, report)
        each.callback(_write_files, report, html, junit, fail_on)
        with printing():
            _print(report, as_json=shown_as_json, quiet=quiet)
    raise typer.Exit(_exit_code(report, fail_on))


def _exit_code(report: "AuditReport", fail_on: FailOn) -> int:
    """Return the code of the worst result: a bug, else other answers than the saved ones."""
    severities = {finding.severity for finding in report.findings}
    if severities & {"bug", fail_on}:
        return FAULT_FOUND
    if report.comparison and report.comparison.status in ("bug", fail_on):
        return EXIT_CODES[NotReproducedError]
    return WRONG_CONFIGURATION if "configuration" in severities else 0


def _audit(
    target: str | None,
    texts: str | None,
    opening: Mapping[str, Any],
    watch: AuditWatch,
    *,
    encoding: str | None,
    quick: bool,
    quiet: bool,
    training_step: bool,
    compare_with: "SavedAnswers | None",
) -> "AuditReport":
    import isobatch.audit as room

    # Output printed by a system under audit must not be mixed with the report.
    with (
        redirect_stdout(sys.stderr),
        open_display(quiet=quiet, beginning="opening") as watch.display,
    ):
        chosen = None if texts is None else _read_texts(texts, encoding)
        if training_step:
            step = room.open_training_step(target, **opening)
            return room.audit_training_step(step, chosen, quick=quick, on_progress=watch.show)
        subject = room.open_subject(target, **opening)
        more: dict[str, Any] = {"compare_with": compare_with} if compare_with else {}
        return room.audit(subject, chosen, quick=quick, on_progress=watch.show, **more)


def _key_for(target: str | None, api_key: str | None, context: typer.Context) -> str | None:
    """Drop a key of the environment for targets that are not servers: it is not meant for them."""
    source = context.get_parameter_source("api_key")
    is_server = (target or "").startswith(("http://", "https://"))
    return api_key if is_server or (source and source.name == "COMMANDLINE") else None


def _read_texts(name: str, encoding: str | None) -> list[str]:
    """Read the lines of a file that are not blank."""
    from isobatch.tables import open_table

    lines: list[str] = []
    reading = input_files.InputOptions("lines", encoding=encoding)
    with input_files.input_tables([name], reading) as tables:
        for table in map(open_table, tables):
            for rows in table.rows(max_rows=10_000, max_characters=1 << 24):
                lines += rows.texts("text")
    return [line for line in lines if line.strip()]


def _print(report: "AuditReport", *, as_json: bool, quiet: bool) -> None:
    """Print the report; next to JSON, the verdict and findings in a few lines on stderr."""
    from isobatch.audit.report_view import headline

    if not as_json:
        print_report(report)
        return
    sys.stdout.write(json.dumps(report.as_dict(), ensure_ascii=False) + "\n")
    if not quiet:
        say(f"isobatch: {headline(report)}", err=True)
        for finding in report.findings:
            line = f"isobatch: {finding.severity}: {finding.title} ({finding.name})"
            say(line, err=True)
        if report.comparison:
            say(f"isobatch: {conclusion(report.comparison)}", err=True)


def _write_files(
    report: "AuditReport", html: Path | None, junit: Path | None, fail_on: FailOn
) -> None:
    """Write the page and the test report, the second also if the first cannot be written."""
    try:
        if html:
            from isobatch.audit.report_page import render_page

            write_file(html, render_page(report), "page")
    finally:
        if junit:
            from isobatch.audit.report_junit import junit_xml

            write_file(junit, junit_xml(report, fail_on), "test report")


def _list_probes(training_step: bool, *, as_json: bool) -> None:
    from isobatch.audit import GRADIENT_PROBES, PROBES

    listed = GRADIENT_PROBES if training_step else PROBES
    probes = [{"name": p.name, "changes": p.changes, "proves": p.proves} for p in listed]
    if as_json:
        sys.stdout.write(json.dumps(probes, ensure_ascii=False) + "\n")
        return
    console = open_console()
    rows = [[*map(_plain, each.values())] for each in probes]
    header = ("probe", "changes", "proves")
    console.print(fitted_table(header, rows, console.width, show_lines=True))


def print_report(report: "AuditReport") -> None:
    """Print the verdict, the findings and all probes."""
    from rich.text import Text

    from isobatch.audit.report_view import SYMBOLS, badge, counts, headline, meaning

    console = open_console()
    verdict = f"{SYMBOLS[report.verdict]} {headline(report)}"
    console.print(Text(verdict, style=f"bold {COLORS[report.verdict]}"))
    console.print(meaning(report))
    size = counted(report.num_texts, "text")
    console.print(_plain(f"{report.target}: {size}, {report.seconds:.1f} s"))
    for finding in report.findings:
        marked = badge(finding.severity), COLORS[finding.severity]
        console.print()
        console.print(Text.assemble(marked, " ", _plain(finding.title)))
        console.print(_finding_table(finding, report.labels, console.width))
    console.print()
    console.print(_probe_table(report, console.width))
    console.print(counts(report))
    if report.comparison:
        console.print()
        print_comparison(console, report.comparison)


def _finding_table(finding: "Finding", labels: Sequence[str] | None, width: int) -> "Table":
    from isobatch.audit.report_view import evidence, number_rows, texts

    facts: list[tuple[str | Text, str | Text]] = [
        ("cause", _plain(finding.cause)),
        ("fix", _plain(finding.fix)),
        *evidence(finding.movement),
        ("shown by", _plain(", ".join(finding.probes))),
    ]
    facts += [(role, _plain(text)) for role, text in texts(finding.reproduction)]
    if shown := finding.reproduction:
        rows = number_rows(shown, labels)
        for index, how in enumerate(shown.how):
            numbers = (f"{row.label} {(row.before, row.after)[index]}" for row in rows)
            facts.append((_plain(how), _plain(", ".join(numbers))))
    return facts_table(facts, width, style="dim")


def _probe_table(report: "AuditReport", width: int) -> "RenderableType":
    from rich.text import Text

    from isobatch.audit.report_view import badge

    rows = [
        (
            _plain(each.probe),
            Text(badge(each.status), style=COLORS[each.status]),
            _plain(each.summary),
        )
        for each in report.probes
    ]
    return fitted_table(("probe", "status", "result"), rows, width)


def _plain(text: str) -> "Text":
    """Return text without sequences that a terminal would execute."""
    from rich.text import Text

    from isobatch.drawing.display_text import printable

    return Text(printable(text))
