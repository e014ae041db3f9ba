"""An audit on a terminal: its verdict, what was found, and every probe.

It knows no subject. Invariant: what comes from outside is shown as it stands, without its control
characters.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from isobatch.audit.probing import Probe
    from isobatch.audit.result import AuditReport, Finding, Reproduction, Status

COLOURS: dict["Status", str] = {
    "bug": "bold red",
    "drift": "yellow",
    "exact": "green",
    "note": "cyan",
    "not tested": "dim",
}
"""Beside the word, never in its place."""


def print_report(report: "AuditReport") -> None:
    """Verdict, findings, probes."""
    from rich.console import Console
    from rich.text import Text

    from isobatch.audit.wording import SYMBOLS, count_statuses, counted, headline, meaning

    console = Console(markup=False, highlight=False)
    verdict = f"{SYMBOLS[report.verdict]} {headline(report)}"
    console.print(Text(verdict, style=f"bold {COLOURS[report.verdict]}"))
    console.print(meaning(report))
    console.print(_plain(f"{report.target}: {report.num_texts} texts, {report.seconds:.1f} s"))
    for finding in report.findings:
        console.print()
        console.print(_title(finding))
        console.print(_finding(finding, report.labels))
    console.print()
    console.print(_probes(report))
    console.print(f"{counted(len(report.probes), 'probe')}: {count_statuses(report)}")


def print_probes(probes: "Iterable[Probe]") -> None:
    """What each changes and proves."""
    from rich.console import Console
    from rich.table import Table

    table = Table("probe", "changes", "proves", show_lines=True)
    table.columns[0].no_wrap = True
    for probe in probes:
        table.add_row(*map(_plain, (probe.name, probe.changes, probe.proves)))
    Console(markup=False, highlight=False).print(table)


def _title(finding: "Finding") -> "Text":
    from rich.text import Text

    from isobatch.audit.wording import SYMBOLS

    badge = f"{SYMBOLS[finding.severity]} {finding.severity}"
    return Text.assemble((badge, COLOURS[finding.severity]), " ", _plain(finding.title))


def _finding(finding: "Finding", labels: tuple[str, ...] | None) -> "Table":
    from rich.table import Table

    from isobatch.audit.wording import evidence

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_row("cause", _plain(finding.cause))
    table.add_row("cure", _plain(finding.cure))
    for name, value in evidence(finding.movement) if finding.movement else ():
        table.add_row(name, value)
    table.add_row("shown by", _plain(", ".join(finding.probes)))
    if finding.reproduction:
        _add_reproduction(table, finding.reproduction, labels)
    return table


def _add_reproduction(
    table: "Table", reproduction: "Reproduction", labels: tuple[str, ...] | None
) -> None:
    from isobatch.audit.side_by_side import number_rows
    from isobatch.audit.wording import story

    for what, text in story(reproduction):
        table.add_row(what, _plain(text))
    rows = number_rows(reproduction, labels)
    for how, numbers in zip(
        reproduction.how,
        ([str(row.before) for row in rows], [str(row.after) for row in rows]),
        strict=True,
    ):
        shown = (f"{row.label} {number}" for row, number in zip(rows, numbers, strict=True))
        table.add_row(_plain(how), _plain(", ".join(shown)))


def _probes(report: "AuditReport") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from isobatch.audit.wording import SYMBOLS

    table = Table("probe", "status", "what came of it")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for each in report.probes:
        status = Text(f"{SYMBOLS[each.status]} {each.status}", style=COLOURS[each.status])
        table.add_row(_plain(each.probe), status, _plain(each.summary))
    return table


def _plain(text: str) -> "Text":
    """Text that no terminal takes for a command."""
    from rich.text import Text

    from isobatch.drawing.display_text import printable

    return Text(printable(text))
