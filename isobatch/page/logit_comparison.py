"""Comparison of float32 logits: equality of bits, distance in ULPs, and a summary."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogitComparison:
    """Logits of a sentence in a batch against those of the same sentence alone.

    `same_bits` compares the four bytes of each number. max_difference: largest change of a logit;
    max_ulps: the largest change in units in the last place.
    """

    same_bits: bool
    max_difference: float
    max_ulps: int
    label_flipped: bool
    summary: str


def compare_logits(logits: Sequence[float], alone: Sequence[float]) -> LogitComparison:
    """Compare one row of float32 logits with those of the sentence alone."""
    pairs = list(zip(logits, alone, strict=True))
    same_bits = all(float_bits(one) == float_bits(other) for one, other in pairs)
    difference = max(abs(one - other) for one, other in pairs)
    ulps = max(abs(ulps_between(one, other)) for one, other in pairs)
    flipped = _argmax(logits) != _argmax(alone)
    summary = "same bits as alone"
    if not same_bits:
        counted = "1 ULP" if ulps == 1 else f"{ulps:,} ULPs"
        flip = ", and the label flipped" if flipped else ""
        summary = f"moved by {plain_number(difference)} ({counted}){flip}"
    return LogitComparison(same_bits, difference, ulps, flipped, summary)


def float_bits(value: float) -> str:
    """Format the four bytes of a float32 as eight hexadecimal digits, sign first."""
    return struct.pack(">f", value).hex()


def ulps_between(one: float, other: float) -> int:
    """Count the float32 steps from `other` up to `one`; 0.0 and -0.0 are the same place."""
    return _rank(one) - _rank(other)


def plain_number(value: float) -> str:
    """Format a non-negative number with two significant digits, no exponent: 0.00000024."""
    if value == 0 or value >= 1e-4:
        return f"{value:.2g}"
    leading_zeros = -int(f"{value:e}".partition("e")[2]) - 1
    return f"{value:.{leading_zeros + 2}f}"


def _rank(value: float) -> int:
    """Index of a float32 in the order of all float32 numbers."""
    (pattern,) = struct.unpack(">i", struct.pack(">f", value))
    return int(pattern) if pattern >= 0 else -(int(pattern) & 0x7FFFFFFF)


def _argmax(logits: Sequence[float]) -> int:
    return max(range(len(logits)), key=logits.__getitem__)
