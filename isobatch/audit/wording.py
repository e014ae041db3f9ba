"""What an audit found in words: for its page, for terminals and for machines that build.

It knows no page and no terminal. Invariant: what was not tested is never said to be exact, and no
change is rounded to none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from isobatch.audit.result import AuditReport, Movement, Reproduction, Status
from isobatch.drawing.display_text import percent, shortened

MEANINGS: dict[Status, str] = {
    "bug": "answers change by more than rounding can, or break",
    "drift": "answers change by what rounding does, in the format that is computed in",
    "exact": "every answer kept every bit",
    "note": "worth knowing, but no fault as the system is used",
    "not tested": "the system could not be asked this, so nothing is known of it",
}
"""What each status means, the worst first."""

SYMBOLS: dict[Status, str] = {
    "bug": "✕",
    "drift": "≈",
    "exact": "=",
    "note": "i",
    "not tested": "–",
}

TELLING = 1e-3
"""A change of a score that shows in a percentage with one digit after the point."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def headline(report: AuditReport) -> str:
    """The verdict."""
    if report.verdict == "bug":
        number = sum(finding.severity == "bug" for finding in report.findings)
        return f"Your answers depend on the batch: {counted(number, 'bug')}"
    if report.verdict == "drift":
        return _drift_headline(report)
    return (
        "Exact: no answer moved by a single bit"
        if report.with_status("exact")
        else "Nothing was tested"
    )


def meaning(report: AuditReport) -> str:
    """What the verdict means, for readers who know neither batches nor floats."""
    if report.verdict == "bug":
        return (
            "The same text gets another answer when only what is asked beside it, or how, is "
            f"changed{_flips(report, ': ')}. The cause and the cure of each bug are below."
        )
    if report.verdict == "drift":
        flips = _flips(report, "; even so, ") or "; no label changed"
        return (
            "The same text gets slightly other numbers in another batch, as rounding makes them"
            f"{flips}. It is no bug, but only the same batch repeats a result to the last digit"
            f"{_points(report)}."
        )
    asked, missing = len(report.with_status("exact")), len(report.with_status("not tested"))
    if not asked:
        return "No probe that this system could be asked tells whether the batch changes an answer."
    left = f" {counted(missing, 'more probe')} could not be asked." if missing else ""
    return (
        f"Whatever was asked beside a text, its answer stayed the same to the last bit, in "
        f"{counted(asked, 'probe')}.{left}"
    )


def _drift_headline(report: AuditReport) -> str:
    if _largest_score(report) < TELLING:
        return "Only the last digits move"
    return "Scores move with the batch, by as much as this format of numbers rounds"


def _largest_score(report: AuditReport) -> float:
    found = worst(report, lambda movement: movement.max_score)
    return found.movement.max_score if found else 0.0


def _points(report: AuditReport) -> str:
    """How far a score moved, where a reader would see it in a percentage."""
    size = _largest_score(report)
    if size < TELLING:
        return ""
    return f"; a score moved by up to {100 * size:.1f} percentage points"


def count_statuses(report: AuditReport) -> str:
    """How many probes had which outcome: "2 bug, 9 exact, 1 not tested"."""
    numbers = {status: len(report.with_status(status)) for status in MEANINGS}
    return ", ".join(f"{number} {status}" for status, number in numbers.items() if number)


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 bug", "3 bugs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def change(size: float | None) -> str:
    """How far a number moved: "0.0123", "2.4 × 10⁻⁷", or a dash where nobody knows."""
    if size is None:
        return "–"
    if size != size or size == float("inf"):
        return "no number"
    if size == 0 or size >= 1e-4:
        return f"{size:.3g}" if size < 1e4 else f"{size:,.0f}"
    digits, exponent = f"{size:.1e}".split("e")
    return f"{digits} × {power_of_ten(int(exponent))}".replace(" ", "\N{NO-BREAK SPACE}")


def power_of_ten(exponent: int) -> str:
    """As people write it: "10⁻⁷"."""
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def per_10000(rate: float) -> str:
    """A number of flips of 10,000."""
    return f"{rate:,.0f}" if rate >= 10 or rate == int(rate) else f"{rate:.2g}"


def evidence(movement: Movement) -> list[tuple[str, str]]:
    """The numbers of a movement, each with its name."""
    rows = f"{movement.rows:,}"
    lines = [
        ("answers that moved", f"{movement.moved_rows:,} of {rows} ({_share(movement)})"),
        (
            "labels that flipped",
            f"{movement.flips:,} of {rows} ({per_10000(movement.flips_per_10000)} of 10,000)",
        ),
    ]
    if movement.max_logit is not None:
        lines.append(("largest change of a logit", change(movement.max_logit)))
    lines.append(("largest change of a score", change(movement.max_score)))
    if movement.broken_rows:
        lines.append(("answers that broke", f"{movement.broken_rows:,} of {rows}"))
    return lines


@dataclass(frozen=True, slots=True)
class Worst:
    """The probe, or finding, in which one number was worst, and how far answers moved there."""

    where: str
    movement: Movement


def worst(report: AuditReport, number: Callable[[Movement], float | None]) -> Worst | None:
    """Where `number` is highest, of everything that counts for the verdict; None for no numbers."""
    known = [each for each in _movements(report) if number(each.movement) is not None]
    return max(known, key=lambda each: number(each.movement) or 0.0, default=None)


def story(reproduction: Reproduction) -> list[tuple[str, str]]:
    """The texts of a reproduction, each with what it is."""
    parts = [("text", shortened(reproduction.text) or "(an empty text)")]
    if reproduction.company:
        parts.append(("other text", shortened(reproduction.company)))
    return parts


def _movements(report: AuditReport) -> Iterator[Worst]:
    """Those of findings come last: a probe of the same numbers is the better name."""
    probes = ((each.probe, each.movement) for each in report.probes if each.status != "note")
    findings = ((each.name, each.movement) for each in report.findings)
    for where, movement in chain(probes, findings):
        if movement is not None and movement.rows:
            yield Worst(where, movement)


def _flips(report: AuditReport, before: str) -> str:
    """How many labels flipped where most did, after the words `before`; nothing if none did."""
    found = worst(report, lambda movement: movement.flips_per_10000)
    if found is None or not found.movement.flips:
        return ""
    flips, rows = found.movement.flips, found.movement.rows
    return f"{before}{counted(flips, 'label')} of {rows:,} flipped in the worst probe"


def _share(movement: Movement) -> str:
    return percent(movement.share_moved)
