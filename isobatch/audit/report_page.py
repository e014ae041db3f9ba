"""A report as one HTML file that needs no network and no script, with pictures of the movements.

Each probe has a strip that shows how far which share of results moved. Invariant: everything from
outside (texts, labels, names, facts, errors) is escaped, the same report gives the same bytes, and
a result that kept every bit is drawn apart from one that moved, by however little.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isobatch.audit.report_data import AuditReport, Finding, ProbeResult
from isobatch.audit.report_view import (
    MEANINGS,
    SYMBOLS,
    change,
    counts,
    evidence,
    figures,
    headline,
    meaning,
    num_left_out,
    number_rows,
    power_of_ten,
    texts,
)
from isobatch.drawing.display_text import one_line
from isobatch.drawing.html_page import render_html
from isobatch.drawing.svg import draw_svg
from isobatch.extras import needs_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {
    "isobatch": "a checkpoint, run by Isobatch",
    "transformers": "a checkpoint, run by Hugging Face Transformers",
    "onnx": "a model file, run by ONNX Runtime",
    "http": "a server, over HTTP",
    "python": "a Python function",
    "training step": "a training step, a Python function",
}

INK, QUIET, LINE, SAME, MOVED = "#101010", "#606060", "#d0d0d0", "#0072b2", "#b34700"
THEME = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    SAME: "var(--accent)",
    MOVED: "var(--moved)",
}
"""The page's own color for each color that is drawn."""

WIDTH, STRIP_HEIGHT, AXIS_HEIGHT = 3.8, 0.56, 0.35
"""Inches; as wide as a phone, so that words stay legible there."""

BINS_PER_DECADE = 3
TALLEST, LEAST = 0.5, 0.06
"""Height of a strip's tallest bar, and of the least one that is visible; strips are 1 apart."""

MAX_NAME = 34


def render_page(report: AuditReport) -> str:
    """Return the report as an HTML page; OptionError where the extra `audit` is missing."""
    values = {
        "report": report,
        "headline": headline(report),
        "meaning": meaning(report),
        "counts": counts(report),
        "figures": list(figures(report)),
        "kind": KINDS.get(report.kind, report.kind),
        "symbols": SYMBOLS,
        "meanings": MEANINGS,
        "evidence": evidence,
        "texts": texts,
        "number_rows": number_rows,
        "num_left_out": num_left_out,
    }
    with needs_extra("audit", "the page of an audit"):
        return render_html(
            "isobatch.audit",
            "report.html",
            pictures=dict(_pictures(report)),
            filters={},
            values=values,
        )


@dataclass(frozen=True, slots=True)
class MovementStrip:
    """One probe's results: each of `points` is how far one moved, in the unit of the scale."""

    name: str
    points: tuple[float, ...]

    @property
    def num_unmoved(self) -> int:
        """Number of results that kept every bit."""
        return sum(point == 0 for point in self.points)


@dataclass(frozen=True, slots=True)
class Scale:
    """Powers of ten from `low` to `high`; `broken`: with room for points that are not finite."""

    low: int
    high: int
    broken: bool

    @classmethod
    def over(cls, points: Iterable[float]) -> "Scale":
        """Cover 10⁻⁸ to 1, so that reports can be compared; more where `points` need it.

        Points below 10⁻¹⁶, as a change from 0.0 to -0.0, are in the lowest bar.
        """
        given = list(points)
        powers = [math.log10(point) for point in given if point and math.isfinite(point)]
        low = max(-16, min([-8, *map(math.floor, powers)]))
        high = max([0, *map(math.ceil, powers)])
        return cls(low, high, not all(map(math.isfinite, given)))

    @property
    def zero(self) -> float:
        """Position on the axis of the results that did not move."""
        return self.low - 1.2

    @property
    def not_finite(self) -> float:
        """Position of those that are NaN or infinite."""
        return self.high + 1.2

    def bar_of(self, point: float) -> float:
        """Return the middle of the bar in which a point is counted."""
        if point == 0:
            return self.zero
        if not math.isfinite(point):
            return self.not_finite
        last = BINS_PER_DECADE * (self.high - self.low) - 1
        index = math.floor(BINS_PER_DECADE * (math.log10(point) - self.low))
        return self.low + (min(max(index, 0), last) + 0.5) / BINS_PER_DECADE


def _pictures(report: AuditReport) -> Iterator[tuple[str, str]]:
    """Draw all probes, by the name "probes", and each finding, as "finding-1" and so on."""
    movements = [each.movement for each in report.probes if each.movement]
    has_logits = any(each.max_logit is not None for each in movements)
    movements += [each.movement for each in report.findings if each.movement]
    scale = Scale.over(point for each in movements for point in each.points)
    unit = f"largest change of a {'logit' if has_logits else 'score'} of one result"
    named = {f"finding-{n}": _strips_of(each, report) for n, each in enumerate(report.findings, 1)}
    named["probes"] = _strips(report.probes)
    for name, strips in named.items():
        if strips:
            yield name, _draw_strips(strips, scale, name, unit)


def _strips_of(finding: Finding, report: AuditReport) -> list[MovementStrip]:
    """Make a strip for each of its probes; of its own movement where they have none."""
    strips = _strips(each for each in report.probes if each.probe in finding.probes)
    if not strips and finding.movement and finding.movement.points:
        return [MovementStrip(finding.name, finding.movement.points)]
    return strips


def _strips(results: Iterable[ProbeResult]) -> list[MovementStrip]:
    return [
        MovementStrip(f"{each.probe} ({each.status})", each.movement.points)
        for each in results
        if each.movement and each.movement.points
    ]


def _draw_strips(strips: Sequence[MovementStrip], scale: Scale, name: str, unit: str) -> str:
    """Draw the strips, one below the other, on one axis; `unit` is its label."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        for index, strip in enumerate(strips):
            _draw_strip(axes, strip, scale, -float(index))
        _draw_axis(axes, scale, len(strips), unit)

    size = (WIDTH, STRIP_HEIGHT * len(strips) + AXIS_HEIGHT)
    return draw_svg(size, draw, name, describe_strips(strips), THEME)


def describe_strips(strips: Sequence[MovementStrip]) -> str:
    """Return the picture in words, for screen readers."""
    return " ".join(["How far results moved.", *map(_describe, strips)])


def _describe(strip: MovementStrip) -> str:
    moved = [point for point in strip.points if point and math.isfinite(point)]
    broken = sum(not math.isfinite(point) for point in strip.points)
    parts = [f"{strip.num_unmoved:,} of {len(strip.points):,} kept every bit"]
    if moved:
        parts.append(f"{len(moved):,} moved by {change(min(moved))} to {change(max(moved))}")
    if broken:
        parts.append(f"{broken:,} became NaN or infinite")
    return f"{strip.name}: {', '.join(parts)}."


def _draw_strip(axes: "Axes", strip: MovementStrip, scale: Scale, floor: float) -> None:
    counts = Counter(map(scale.bar_of, strip.points))
    tallest = max(counts.values(), default=1)
    for place, count in sorted(counts.items()):
        apart = place in (scale.zero, scale.not_finite)
        axes.bar(
            place,
            max(TALLEST * count / tallest, LEAST),
            width=0.8 if apart else 0.8 / BINS_PER_DECADE,
            bottom=floor,
            color=SAME if place == scale.zero else MOVED,
        )
    left, right = scale.low - 1.7, scale.high + (1.7 if scale.broken else 0.1)
    axes.plot([left, right], [floor, floor], color=QUIET, linewidth=0.6)
    above = floor + TALLEST + 0.1
    text: dict[str, Any] = {"parse_math": False, "fontsize": 8.5, "va": "bottom"}
    axes.text(left, above, one_line(strip.name, MAX_NAME), color=INK, ha="left", **text)
    kept = f"{strip.num_unmoved:,} of {len(strip.points):,} exact"
    axes.text(right, above, kept, color=QUIET, ha="right", **text)


def _draw_axis(axes: "Axes", scale: Scale, num_strips: int, unit: str) -> None:
    powers = range(scale.low, scale.high + 1)
    step = math.ceil(len(powers) / 8)
    for power in powers:
        axes.axvline(power, color=LINE, linewidth=0.5, zorder=0)
    ticks = {scale.zero: "0"}
    for power in powers[::-step]:
        ticks[float(power)] = f"{10.0**power:g}" if -3 <= power <= 3 else power_of_ten(power)
    if scale.broken:
        ticks[scale.not_finite] = "NaN"
    axes.set_xticks(list(ticks), list(ticks.values()), parse_math=False, fontsize=8.5, color=INK)
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set_xlabel(unit, color=QUIET, fontsize=8.5, parse_math=False)
    axes.set_xlim(scale.low - 1.8, scale.high + (1.8 if scale.broken else 0.2))
    axes.set_ylim(-num_strips + 0.95, 0.95)
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
