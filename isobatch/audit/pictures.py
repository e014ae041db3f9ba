"""The picture of an audit: for each probe a strip that shows how far which share of answers moved.

It knows no page; its colours are the page's own. Invariant: strips drawn on one scale can be
compared, and an answer that kept every bit stands apart from one that moved by however little.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isobatch.audit.wording import change, power_of_ten
from isobatch.drawing.display_text import one_line
from isobatch.drawing.svg import draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE, SAME, MOVED = "#101010", "#606060", "#d0d0d0", "#0072b2", "#b34700"
THEME = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    SAME: "var(--accent)",
    MOVED: "var(--moved)",
}
"""Which of the page's colours stands for which that is drawn."""

WIDTH, STRIP_HEIGHT, AXIS_HEIGHT = 3.8, 0.56, 0.35
"""Inches; as wide as a telephone, so that words stay legible there."""

BINS_A_DECADE = 3
TALLEST, LEAST = 0.5, 0.06
"""Height of a strip's tallest bar, and of the least one that can be seen; strips are 1 apart."""

MAX_NAME = 34


@dataclass(frozen=True, slots=True)
class Strip:
    """One probe's answers: each `points` how far it moved, in the unit that the scale names."""

    name: str
    points: tuple[float, ...]

    @property
    def num_unmoved(self) -> int:
        """How many kept every bit."""
        return sum(point == 0 for point in self.points)


@dataclass(frozen=True, slots=True)
class Scale:
    """Powers of ten from `low` to `high`; `broken`: beside them is room for what is no number."""

    low: int
    high: int
    broken: bool

    @classmethod
    def over(cls, points: Iterable[float]) -> "Scale":
        """From 10⁻⁸ to 1, so that reports can be compared; wider where `points` need it."""
        given = list(points)
        powers = [math.log10(point) for point in given if point and math.isfinite(point)]
        low = min([-8, *map(math.floor, powers)])
        high = max([0, *map(math.ceil, powers)])
        return cls(low, high, not all(map(math.isfinite, given)))

    @property
    def zero(self) -> float:
        """Where on the axis the answers stand that did not move."""
        return self.low - 1.2

    @property
    def no_number(self) -> float:
        """Where those stand that became no number."""
        return self.high + 1.2


def strips_picture(strips: Sequence[Strip], scale: Scale, name: str, unit: str) -> str:
    """The strips, one below the other, on one axis; `unit`: what it is that moved."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        for index, strip in enumerate(strips):
            _draw_strip(axes, strip, scale, -float(index))
        _draw_axis(axes, scale, len(strips), unit)

    size = (WIDTH, STRIP_HEIGHT * len(strips) + AXIS_HEIGHT)
    return draw_svg(size, draw, name, describe_strips(strips), THEME)


def describe_strips(strips: Sequence[Strip]) -> str:
    """The picture in words, for who cannot see it."""
    return " ".join(["How far answers moved.", *map(_describe, strips)])


def _describe(strip: Strip) -> str:
    moved = [point for point in strip.points if point and math.isfinite(point)]
    broken = sum(not math.isfinite(point) for point in strip.points)
    parts = [f"{strip.num_unmoved:,} of {len(strip.points):,} kept every bit"]
    if moved:
        parts.append(f"{len(moved):,} moved by {change(min(moved))} to {change(max(moved))}")
    if broken:
        parts.append(f"{broken:,} became no number")
    return f"{strip.name}: {', '.join(parts)}."


def _draw_strip(axes: "Axes", strip: Strip, scale: Scale, floor: float) -> None:
    counts: dict[float, int] = {}
    for point in strip.points:
        place = _place(point, scale)
        counts[place] = counts.get(place, 0) + 1
    tallest = max(counts.values(), default=1)
    for place, count in sorted(counts.items()):
        height = max(TALLEST * count / tallest, LEAST)
        apart = place in (scale.zero, scale.no_number)
        axes.bar(
            place,
            height,
            width=0.8 if apart else 0.8 / BINS_A_DECADE,
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


def _place(point: float, scale: Scale) -> float:
    """The middle of the bar in which a point is counted."""
    if point == 0:
        return scale.zero
    if not math.isfinite(point):
        return scale.no_number
    last = BINS_A_DECADE * (scale.high - scale.low) - 1
    index = math.floor(BINS_A_DECADE * (math.log10(point) - scale.low))
    return scale.low + (min(max(index, 0), last) + 0.5) / BINS_A_DECADE


def _draw_axis(axes: "Axes", scale: Scale, num_strips: int, unit: str) -> None:
    powers = range(scale.low, scale.high + 1)
    step = math.ceil(len(powers) / 8)
    for power in powers:
        axes.axvline(power, color=LINE, linewidth=0.5, zorder=0)
    ticks = {scale.zero: "0", **{float(power): _power(power) for power in powers[::-step]}}
    if scale.broken:
        ticks[scale.no_number] = "NaN"
    axes.set_xticks(list(ticks), list(ticks.values()), parse_math=False, fontsize=8.5, color=INK)
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set_xlabel(unit, color=QUIET, fontsize=8.5, parse_math=False)
    axes.set_xlim(scale.low - 1.8, scale.high + (1.8 if scale.broken else 0.2))
    axes.set_ylim(-num_strips + 0.95, 0.95)
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)


def _power(power: int) -> str:
    if -3 <= power <= 3:
        return f"{10.0**power:g}"
    return power_of_ten(power)
