"""Verdict: whether logits kept their bits; and the bits themselves, as text.

It knows no model. Invariant: "same bits" compares the four bytes of each number, and never rounds.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of logits against the same sentence alone, and the same in a plain line.

    moved: the largest change of a logit; steps: the same, counted in neighbouring float32 numbers.
    """

    same_bits: bool
    moved: float
    steps: int
    flipped: bool
    text: str


def compare(logits: Sequence[float], alone: Sequence[float]) -> Verdict:
    """The verdict on one row; both hold float32 numbers."""
    pairs = list(zip(logits, alone, strict=True))
    same_bits = all(float_bits(one) == float_bits(other) for one, other in pairs)
    moved = max(abs(one - other) for one, other in pairs)
    steps = max(abs(_rank(one) - _rank(other)) for one, other in pairs)
    flipped = _best(logits) != _best(alone)
    return Verdict(same_bits, moved, steps, flipped, _in_words(same_bits, moved, steps, flipped))


def float_bits(value: float) -> str:
    """The four bytes of a float32 as eight hexadecimal digits, the sign first."""
    return struct.pack(">f", value).hex()


def steps_between(one: float, other: float) -> int:
    """How many float32 numbers lie from `one` to `other`; neighbours are one step apart."""
    return _rank(one) - _rank(other)


def _rank(value: float) -> int:
    """The place of a float32 among all of them in order; both zeros have the same."""
    (pattern,) = struct.unpack(">i", struct.pack(">f", value))
    return int(pattern) if pattern >= 0 else -(int(pattern) & 0x7FFFFFFF)


def _best(logits: Sequence[float]) -> int:
    return max(range(len(logits)), key=logits.__getitem__)


def _in_words(same_bits: bool, moved: float, steps: int, flipped: bool) -> str:
    if same_bits:
        return "same bits as alone"
    counted = "1 step" if steps == 1 else f"{steps:,} steps"
    flip = ", and the label flipped" if flipped else ""
    return f"moved by {plain_number(moved)} ({counted} of float32){flip}"


def plain_number(value: float) -> str:
    """Two significant digits of a number that is not negative, without an exponent: 0.00000024."""
    if value == 0 or value >= 1e-4:
        return f"{value:.2g}"
    leading_zeros = -int(f"{value:e}".partition("e")[2]) - 1
    return f"{value:.{leading_zeros + 2}f}"
