"""Two answers to one text, side by side, with the digits in which they differ told apart.

It knows no page. Invariant: numbers that differ are never shown alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest

from isobatch.audit.result import Reproduction

MAX_NUMBERS = 6
"""Numbers of one answer that are shown; of more, those that moved furthest."""

FEWEST_DIGITS, MOST_DIGITS = 6, 17
"""17 digits tell any two floats apart."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One number: the digits that both answers have, and the rest; whether it is the highest."""

    alike: str
    other: str
    highest: bool

    def __str__(self) -> str:
        return self.alike + self.other


@dataclass(frozen=True, slots=True)
class NumberRow:
    """One label's number in both answers."""

    label: str
    before: Shown
    after: Shown


def number_rows(reproduction: Reproduction, labels: Sequence[str] | None) -> tuple[NumberRow, ...]:
    """The numbers of both answers, in the order of the labels, at most MAX_NUMBERS."""
    before, after = reproduction.before, reproduction.after
    pairs = list(zip_longest(before, after))
    ranked = sorted(range(len(pairs)), key=lambda index: -_distance(*pairs[index]))
    return tuple(
        _row(_label(index, labels), pairs[index], (index == _top(before), index == _top(after)))
        for index in sorted(ranked[:MAX_NUMBERS])
    )


def num_left_out(reproduction: Reproduction) -> int:
    """How many numbers are not shown."""
    return max(0, max(len(reproduction.before), len(reproduction.after)) - MAX_NUMBERS)


def _row(
    label: str, pair: tuple[float | None, float | None], highest: tuple[bool, bool]
) -> NumberRow:
    first, second = _written(*pair)
    cut = sum(
        1
        for _ in takewhile(lambda digits: digits[0] == digits[1], zip(first, second, strict=False))
    )
    alike = first[:cut]
    return NumberRow(
        label, Shown(alike, first[cut:], highest[0]), Shown(alike, second[cut:], highest[1])
    )


def _written(first: float | None, second: float | None) -> tuple[str, str]:
    """Both with the fewest digits that tell them apart."""
    written = (
        (_number(first, digits), _number(second, digits))
        for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1)
    )
    fewest = next(written)
    return fewest if fewest[0] != fewest[1] else next((w for w in written if w[0] != w[1]), fewest)


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "no answer"
    return "NaN" if math.isnan(value) else f"{value:#.{digits}g}"


def _label(index: int, labels: Sequence[str] | None) -> str:
    return labels[index] if labels and index < len(labels) else f"number {index + 1}"


def _top(answer: Sequence[float]) -> int | None:
    """Index of the highest of several numbers."""
    if len(answer) < 2 or not all(map(math.isfinite, answer)):
        return None
    return max(range(len(answer)), key=lambda index: answer[index])


def _distance(first: float | None, second: float | None) -> float:
    if first is None or second is None:
        return math.inf
    distance = abs(first - second)
    return math.inf if math.isnan(distance) else distance
