"""The words and numbers of a report, as the terminal, the page and JUnit show them.

Invariant: a probe that could not run is never said to be exact, no change is rounded to none, and
numbers that differ are never shown alike.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest

from isobatch.audit.report_data import AuditReport, AuditVerdict, Movement, Reproduction, Status
from isobatch.drawing.display_text import counted, percent, shortened

MEANINGS: dict[Status, str] = {
    "error": "the audit ended early, before the other probes ran",
    "bug": "results change by more than rounding can explain, or break",
    "configuration": "a text fails both alone and in a batch, or a setting is wrong",
    "drift": "results change by rounding, in the float format in use",
    "exact": "every result kept every bit",
    "note": "worth knowing, but not a fault as the system is used",
    "not tested": "this target does not support the probe, so its result is unknown",
}
"""The meaning of each status, the worst first."""

SYMBOLS: dict[Status, str] = {
    "error": "!",
    "bug": "✕",
    "configuration": "⚙",
    "drift": "≈",
    "exact": "=",
    "note": "i",
    "not tested": "–",
}

TRAINING_STEP = "training step"
"""The kind of a report on gradients."""

STEP_HEADLINES: dict[AuditVerdict, str] = {
    "bug": "Your gradient depends on the batch: {bugs}",
    "drift": "Only the last digits of the gradient move",
    "exact": "Exact: the gradient of every batch is the mean of its texts' gradients",
}
STEP_MEANINGS: dict[AuditVerdict, str] = {
    "bug": "The gradient of a batch is not the mean of the gradients of its texts, so what is "
    "learned from a text depends on how it was batched. The cause and fix of each bug are "
    "below.",
    "drift": "The gradient of every batch is the mean of the gradients of its texts, in any order "
    "and split that was tested, except for rounding.",
    "exact": "No order and no split that was tested changed a bit of the gradient.",
}

VISIBLE = 1e-3
"""A change of a score that shows in a percentage with one digit after the point."""

MAX_NUMBERS = 6
"""Numbers of one output that are shown; of more, those that moved furthest."""

FEWEST_DIGITS, MOST_DIGITS = 6, 17
"""17 digits distinguish any two floats."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Figure:
    """A headline number of a report: where it is worst, with a note on what it counts."""

    title: str
    value: str
    note: str
    of: str = ""
    probe: str = ""


@dataclass(frozen=True, slots=True)
class ShownNumber:
    """One number: the digits that both outputs have, and the rest; whether it is the highest."""

    alike: str
    other: str
    highest: bool

    def __str__(self) -> str:
        return self.alike + self.other


@dataclass(frozen=True, slots=True)
class NumberRow:
    """One label's number in both outputs."""

    label: str
    before: ShownNumber
    after: ShownNumber


def badge(status: Status) -> str:
    """Return a status with its symbol."""
    return f"{SYMBOLS[status]} {status}"


def headline(report: AuditReport) -> str:
    """Return the verdict."""
    if report.error:
        return "The audit could not be completed"
    number = sum(finding.severity == "bug" for finding in report.findings)
    if report.kind == TRAINING_STEP:
        return STEP_HEADLINES[report.verdict].format(bugs=counted(number, "bug"))
    if report.verdict == "bug":
        return f"Your answers depend on the batch: {counted(number, 'bug')}"
    if report.verdict == "configuration":
        number = sum(finding.severity == "configuration" for finding in report.findings)
        return f"The system fails on a text alone: {counted(number, 'configuration fault')}"
    if report.verdict == "drift":
        has_labels = all(movement.has_labels for _, movement in _movements(report))
        if _largest_score(report) < VISIBLE or not has_labels:
            return "Only the last digits move"
        return "Scores move with the batch, by no more than the rounding of this float format"
    if report.with_status("exact"):
        return "Exact: no answer moved by a single bit"
    return "Nothing was tested"


def meaning(report: AuditReport) -> str:
    """Return what the verdict means, for readers who know neither batches nor floats."""
    if report.error:
        return report.error
    if report.kind == TRAINING_STEP:
        return STEP_MEANINGS[report.verdict]
    if report.verdict == "configuration":
        return (
            "It is not a fault of the batch: a text also fails when it is sent alone, or a "
            "setting is wrong. The cause and fix are below; the other probes say whether the "
            "batch matters."
        )
    if report.verdict == "bug":
        return (
            "The same text gets a different result when only the other texts of its batch, or the "
            f"way of sending it, change{_flips(report, ': ')}. The cause and fix of each bug are "
            "below."
        )
    if report.verdict == "drift":
        has_labels = all(movement.has_labels for _, movement in _movements(report))
        flips = _flips(report, "; even so, ") or ("; no label changed" if has_labels else "")
        size = _largest_score(report) if has_labels else 0.0
        points = f"; a score moved by up to {100 * size:.1f} percentage points"
        return (
            "The same text gets slightly different numbers in a different batch, because of "
            "rounding"
            f"{flips}. It is not a bug, but only the same batch reproduces a result to the last "
            "digit"
            f"{points if size >= VISIBLE else ''}."
        )
    exact, missing = len(report.with_status("exact")), len(report.with_status("not tested"))
    if not exact:
        return "No probe that this target supports shows whether the batch changes a result."
    left = f" {counted(missing, 'more probe')} could not run." if missing else ""
    return (
        "Next to any other texts in its batch, a text's result stayed the same to the last bit, "
        f"in {counted(exact, 'probe')}.{left}"
    )


def counts(report: AuditReport) -> str:
    """Count the probes by status: "3 probes: 2 exact, 1 not tested"."""
    numbers = {status: len(report.with_status(status)) for status in MEANINGS}
    listed = ", ".join(f"{number} {status}" for status, number in numbers.items() if number)
    return f"{counted(len(report.probes), 'probe')}: {listed}"


def change(size: float | None) -> str:
    """Write how far a number moved: "0.0123", "2.4 × 10⁻⁷", or a dash where it is unknown."""
    if size is None:
        return "–"
    if not math.isfinite(size):
        return "not finite"
    if size == 0 or size >= 1e-4:
        return f"{size:.3g}" if size < 1e4 else f"{size:,.0f}"
    digits, exponent = f"{size:.1e}".split("e")
    return f"{digits} × {power_of_ten(int(exponent))}".replace(" ", "\N{NO-BREAK SPACE}")


def power_of_ten(exponent: int) -> str:
    """Write it as "10⁻⁷"."""
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def per_10000(rate: float) -> str:
    """Write a number of flips per 10,000."""
    return f"{rate:,.0f}" if rate >= 10 or rate == int(rate) else f"{rate:.2g}"


def evidence(movement: Movement | None) -> list[tuple[str, str]]:
    """Return the numbers of a movement, each with its name."""
    if movement is None:
        return []
    rows, share = f"{movement.rows:,}", percent(movement.share_moved)
    flips = per_10000(movement.flips_per_10000)
    lines = [("results that moved", f"{movement.moved_rows:,} of {rows} ({share})")]
    if movement.has_labels:
        lines.append(("labels that flipped", f"{movement.flips:,} of {rows} ({flips} of 10,000)"))
    if movement.max_logit is not None:
        lines.append(("largest change of a logit", change(movement.max_logit)))
    kind = "score" if movement.has_labels else "number"
    lines.append((f"largest change of a {kind}", change(movement.max_score)))
    if movement.broken_rows:
        lines.append(("results that broke", f"{movement.broken_rows:,} of {rows}"))
    return lines


def texts(reproduction: Reproduction | None) -> list[tuple[str, str]]:
    """Return the texts of a reproduction, each with its role."""
    if reproduction is None:
        return []
    parts = [("text", shortened(reproduction.text) or "(an empty text)")]
    if reproduction.other_text:
        parts.append(("other text", shortened(reproduction.other_text)))
    return parts


def figures(report: AuditReport) -> Iterator[Figure]:
    """Yield the headline numbers, each from where it is worst; none if no probe has numbers."""
    if not (known := _movements(report)):
        return
    where, worst = max(known, key=lambda each: each[1].share_moved)
    note = f"{worst.moved_rows:,} of {worst.rows:,},"
    yield Figure("Results that moved", percent(worst.share_moved), note, probe=where)
    if not worst.has_labels:
        where, worst = max(known, key=lambda each: each[1].max_score)
        yield Figure("Largest change of a number", change(worst.max_score), "", probe=where)
        return
    where, worst = max(known, key=lambda each: each[1].flips_per_10000)
    note = f"as {per_10000(worst.flips_per_10000)} of 10,000;"
    yield Figure("Labels that flipped", f"{worst.flips:,}", note, f"{worst.rows:,}", where)
    where, worst = max(known, key=lambda each: each[1].max_score)
    note = "scores are from 0 to 1;"
    yield Figure("Largest change of a score", change(worst.max_score), note, probe=where)
    with_logits = [each for each in known if each[1].max_logit is not None]
    if not with_logits:
        yield Figure("Largest change of a logit", "–", "this system returns scores only")
        return
    where, worst = max(with_logits, key=lambda each: each[1].largest)
    yield Figure("Largest change of a logit", change(worst.largest), "before softmax;", probe=where)


def _movements(report: AuditReport) -> list[tuple[str, Movement]]:
    """Return everything that counts for the verdict and has numbers, by name."""
    # Findings come last: a probe of the same numbers is the better name.
    probes = [(each.probe, each.movement) for each in report.probes if each.status != "note"]
    findings = [(each.name, each.movement) for each in report.findings]
    return [(name, movement) for name, movement in probes + findings if movement and movement.rows]


def _largest_score(report: AuditReport) -> float:
    return max((movement.max_score for _, movement in _movements(report)), default=0.0)


def _flips(report: AuditReport, before: str) -> str:
    """Write how many labels flipped at most, after the words `before`; nothing if none did."""
    movements = [movement for _, movement in _movements(report)]
    worst = max(movements, key=lambda each: each.flips_per_10000, default=None)
    if worst is None or not worst.flips:
        return ""
    labels = counted(worst.flips, "label")
    return f"{before}{labels} of {worst.rows:,} flipped in the worst probe"


def number_rows(reproduction: Reproduction, labels: Sequence[str] | None) -> tuple[NumberRow, ...]:
    """Return the numbers of both outputs, in the order of the labels, at most MAX_NUMBERS."""
    before, after = reproduction.before, reproduction.after
    pairs = list(zip_longest(before, after))
    ranked = sorted(range(len(pairs)), key=lambda index: -_distance(*pairs[index]))
    tops = _top(before), _top(after)
    rows = []
    for index in sorted(ranked[:MAX_NUMBERS]):
        first, second = _written(*pairs[index])
        same = takewhile(lambda digits: digits[0] == digits[1], zip(first, second, strict=False))
        cut = sum(1 for _ in same)
        label = labels[index] if labels and index < len(labels) else f"number {index + 1}"
        numbers = (
            ShownNumber(written[:cut], written[cut:], index == top)
            for written, top in zip((first, second), tops, strict=True)
        )
        rows.append(NumberRow(label, *numbers))
    return tuple(rows)


def num_left_out(reproduction: Reproduction) -> int:
    """Return how many numbers are not shown."""
    return max(0, max(len(reproduction.before), len(reproduction.after)) - MAX_NUMBERS)


def _written(first: float | None, second: float | None) -> tuple[str, str]:
    """Write both with the fewest digits that distinguish them."""
    written = [
        (_number(first, digits), _number(second, digits))
        for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1)
    ]
    return next((pair for pair in written if pair[0] != pair[1]), written[0])


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "no value"
    return "NaN" if math.isnan(value) else f"{value:#.{digits}g}"


def _top(output: Sequence[float]) -> int | None:
    """Return the index of the highest of several numbers."""
    if len(output) < 2 or not all(map(math.isfinite, output)):
        return None
    return max(range(len(output)), key=lambda index: output[index])


def _distance(first: float | None, second: float | None) -> float:
    if first is None or second is None or math.isnan(first - second):
        return math.inf
    return abs(first - second)
