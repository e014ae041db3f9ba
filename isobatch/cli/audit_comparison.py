"""`isobatch audit --save` and `--compare`: the answers of two machines, as files and in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isobatch.cli.terminal_layout import fitted_table, wrapped
from isobatch.cli.writing import check_writable, refuse_replacing, write_file
from isobatch.drawing.display_text import counted, printable, shortened
from isobatch.errors import OptionError, TableError

if TYPE_CHECKING:
    from rich.console import Console

    from isobatch.audit import AuditReport, MachineComparison, SavedAnswers

MAX_TEXTS = 10
"""Different texts that are shown on a terminal; JSON has all of them."""


def check_paths(
    written: Mapping[str, Path | None],
    read: Mapping[str, Path | str | None],
    *,
    training_step: bool,
) -> None:
    """Raise an error before long work if a file cannot be written, or replaces another one.

    written, read: the files of options. OptionError for both faults, and for --save and --compare
    of a training step, which has no answers.
    """
    for path in written.values():
        check_writable(path)
    refuse_replacing(written, read)
    answers = {"--save": written["--save"], "--compare": read["--compare"]}
    if training_step and (name := next((name for name in answers if answers[name]), None)):
        raise OptionError(f"{name}: is for answers, and a training step has none. Leave it out")


def read_answers(path: Path | None) -> "SavedAnswers | None":
    """Read the file of --compare; TableError if it is unreadable, AuditError for other content."""
    if path is None:
        return None
    from isobatch.audit import SavedAnswers

    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(
            f"{path}: cannot be read: {error.strerror}. Specify a file of isobatch audit --save"
        ) from error
    return SavedAnswers.from_json(content, str(path))


def write_answers(path: Path | None, report: "AuditReport") -> None:
    """Write the file of --save, if it was requested."""
    if path is not None:
        from isobatch.audit import SavedAnswers

        write_file(path, SavedAnswers.of(report).to_json(), "file of answers")


def conclusion(found: "MachineComparison") -> str:
    """Say in a line what the comparison found."""
    explanation = f"; {found.explanation}" if found.explanation else ""
    return printable(f"compared with {found.target}: {found.summary}{explanation}")


def print_comparison(console: "Console", found: "MachineComparison") -> None:
    """Print what differs: texts with both answers, probes, and facts."""
    console.print(wrapped(conclusion(found), console.width))
    if found.texts:
        rows = [
            (
                shortened(printable(each.text)),
                _numbers(each.there),
                _numbers(each.here) or "no answer",
                f"{each.largest:.2g}",
            )
            for each in found.texts[:MAX_TEXTS]
        ]
        header = ("text", "saved", "here", "largest change")
        console.print(fitted_table(header, rows, console.width))
        if len(found.texts) > MAX_TEXTS:
            more = len(found.texts) - MAX_TEXTS
            console.print(f"and {counted(more, 'text')} more (--json lists all)")
    for title, changed in (
        ("probe", [(each.probe, *each.summary) for each in found.probes]),
        ("fact", [(each.name, each.there, each.here) for each in found.facts]),
    ):
        if changed:
            shown = [[*map(printable, row)] for row in changed]
            console.print(fitted_table((title, "saved", "here"), shown, console.width))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.9g}" for value in values)
