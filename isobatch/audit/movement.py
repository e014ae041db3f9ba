"""Movement of outputs between two ways of asking for them, and the part that rounding may have.

How coarse the numbers are (16 bits, scores of 16-bit logits, rounded decimals) is read from the
numbers themselves; unless they plainly show a coarse format they count as float32. Invariant: equal
means equal in every bit; a tolerance only tells drift from bug, and never hides a movement.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.output_rows import aligned, lengths, numbers_of
from isobatch.audit.report_data import AuditVerdict, Movement
from isobatch.audit.shifts import ENTITY_SIZE
from isobatch.audit.subject import FloatFormat, OutputKind, Outputs

FLOAT32: float = FloatFormat.FLOAT32.value
FLOAT16: float = FloatFormat.FLOAT16.value
BFLOAT16: float = FloatFormat.BFLOAT16.value

LEAST_TOLERANCE = 1e-4
"""Of the outputs' size: kernels for other shapes move float32 logits by 1e-7 to 1e-5 of it."""

ROUNDINGS = 16
"""Units in the last place that may add up on the way through a network."""

NOISE_MARGIN = 10.0
"""Multiple of the observed rounding above which a movement is more than rounding."""

MOST_TOLERANCE = 0.1
"""Of the outputs' size; a larger movement is never attributed to rounding."""

MOST_NOISE = 0.02
"""Of the outputs' size: if copies of one text move by more, it is not by rounding."""

LEAST_SIZE = 0.05
"""Outputs that are all smaller are judged as if they were of this size."""

STEPS = 1.5
"""Of a decimal place: a number that is rounded moves by one step or none."""

FEW_BITS = 4
"""Numbers of at most this many bits, as 0, 0.5 and 1, are the same in every format."""

LEAST_LOGITS = 6
"""Fewer differences of logits may be on a grid by chance."""

LEAST_DECIMALS = 4
"""Fewer different numbers do not show that they were rounded."""

SIGN_OF_ZERO: float = np.finfo(np.float64).smallest_subnormal.item()
"""The least change that there is."""

_OFF_GRID = 0.02
_ON_GRID_SHARE = 0.6
"""Small logits have finer steps than the rest."""

_FINEST_GRID = 14
"""Its step is 2 to the power of minus this: that of float16 near 1/16."""

_BETWEEN_FORMATS = 2.0**-10.5
"""Steps of bfloat16 are above this share of the logits, those of float16 below."""


def compare(
    before: Outputs,
    after: Outputs,
    *,
    gives_scores: bool,
    reads: OutputKind = "classes",
    token_size: int = 0,
) -> Movement:
    """Compare `after` with `before`, both [rows, numbers], row by row."""
    before, after = aligned(before, after)
    finite = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
    gaps = largest_gaps(before, after)
    resized = lengths(before) != lengths(after)
    if reads == "classes" and token_size:
        gives_scores, flips = True, _tokens_flipped(before, after, token_size)
        score_gaps = gaps[finite]
    elif reads == "classes":
        first, second = (each if gives_scores else scores_of(each) for each in (before, after))
        score_gaps = largest_gaps(first, second)[finite]
        flips = _labels_of(before, gives_scores) != _labels_of(after, gives_scores)
    else:
        gives_scores, flips = True, np.zeros(len(before), dtype=bool)
        score_gaps = gaps[finite]
        if reads == "entities":
            gaps = np.where(_entities_changed(before, after), np.maximum(gaps, 1.0), gaps)
    return Movement(
        rows=len(before),
        moved_rows=int((gaps > 0).sum()),
        flips=int((flips & finite).sum()),
        max_logit=None if gives_scores else float(gaps[finite].max(initial=0.0)),
        max_score=float(score_gaps.max(initial=0.0)),
        points=tuple(gaps.tolist()),
        broken_rows=int((~finite).sum()),
        has_labels=reads == "classes",
        resized_rows=int(resized.sum()),
    )


def _entities_changed(before: Outputs, after: Outputs) -> NDArray[np.bool_]:
    """Return the rows with an entity of another label, start or end, which no rounding changes."""
    whole = np.arange(before.shape[1]) % ENTITY_SIZE < ENTITY_SIZE - 1
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    return np.asarray(~same[:, whole].all(axis=1))


def _tokens_flipped(before: Outputs, after: Outputs, size: int) -> NDArray[np.bool_]:
    """Return the rows with a token whose highest label changed; others have none to compare."""
    pairs = zip(numbers_of(before), numbers_of(after), strict=True)
    return np.array(
        [
            len(one) == len(other)
            and _labels_of(np.reshape(one, (-1, size)), False).tolist()
            != _labels_of(np.reshape(other, (-1, size)), False).tolist()
            for one, other in pairs
        ],
        dtype=bool,
    )


def largest_gaps(before: Outputs, after: Outputs) -> NDArray[np.float64]:
    """Return the largest change in each row; infinity where only one side is NaN or infinite.

    0.0 and -0.0 are other bits: their change counts as SIGN_OF_ZERO. One NaN is as another.
    """
    before, after = aligned(before, after)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(after - before)
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    other_zero = same & (before == 0) & (np.signbit(before) != np.signbit(after))
    gaps = np.where(same, 0.0, np.where(np.isnan(gaps), np.inf, gaps))
    gaps[other_zero] = SIGN_OF_ZERO
    return np.asarray(gaps.max(axis=1, initial=0.0))


def scores_of(logits: Outputs) -> Outputs:
    """Apply softmax over the labels, in float64; sigmoid where there is one label.

    By numpy's exp, unlike `score_logits`: they only measure a movement and need no fixed bits.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if logits.shape[1] == 1:
            return np.asarray(1 / (1 + np.exp(-logits)))
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _labels_of(outputs: Outputs, gives_scores: bool) -> NDArray[np.int64]:
    """Return the index of the highest label; of a single one, whether it is on."""
    if outputs.shape[1] == 1:
        return np.asarray(outputs[:, 0] > (0.5 if gives_scores else 0.0), dtype=np.int64)
    return np.asarray(outputs.argmax(axis=1))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest change of one number that rounding can explain."""

    absolute: float

    def judge(self, movement: Movement) -> AuditVerdict:
        """Return "bug" beyond rounding or for NaN, "drift" if any bit moved, else "exact".

        A label that flips within rounding was a tie: it counts as drift, and its flip is reported.
        """
        if movement.broken_rows or movement.resized_rows or self.exceeded(movement):
            return "bug"
        return "drift" if movement.moved_rows else "exact"

    def exceeded(self, movement: Movement) -> bool:
        """Find out whether any row moved by more than rounding does."""
        return max(movement.points, default=0.0) > self.absolute


def tolerance_of(
    outputs: Outputs, noise: float, *, gives_scores: bool = False, dtype: FloatFormat | None = None
) -> Tolerance:
    """Derive it from the outputs' size, from the coarsest format that they show, or `dtype`.

    noise: the largest change that rounding was seen to make; more than MOST_NOISE is not rounding.
    """
    size = float(np.abs(outputs[np.isfinite(outputs)]).max(initial=LEAST_SIZE))
    unit = max(unit_of(outputs), dtype.value if dtype else 0.0)
    relative, is_coarse = max(LEAST_TOLERANCE, ROUNDINGS * unit), unit > FLOAT32
    # A score moves by at most half of what the logits move, each its own way.
    reach = max(size, _size_of_logits(outputs) / 2) if gives_scores and is_coarse else size
    seen = NOISE_MARGIN * noise if noise <= MOST_NOISE * size or is_coarse else 0.0
    allowed = min(max(relative * reach, seen), MOST_TOLERANCE * size)
    return Tolerance(max(allowed, STEPS * decimal_step(outputs)))


def _size_of_logits(scores: Outputs) -> float:
    inner = scores[np.isfinite(scores) & (scores > 0)]
    return float(-np.log(inner).min(initial=0.0))


def unit_of(outputs: Outputs) -> float:
    """Return the rounding unit of the coarsest float format that outputs, or logits, show."""
    values = outputs[np.isfinite(outputs) & (outputs != 0)]
    for bits in (FEW_BITS, 8, 11):
        scaled = np.frexp(values)[0] * 2.0**bits
        if len(values) and (scaled == np.round(scaled)).all():
            return FLOAT32 if bits == FEW_BITS else float(2.0**-bits)
    return _unit_behind(outputs)


def decimal_step(outputs: Outputs) -> float:
    """Return the step of outputs rounded to 1, 2, 3 or 4 decimal places; 0 if they were not."""
    values = np.unique(outputs[np.isfinite(outputs)])
    if len(values) < LEAST_DECIMALS or (values == np.round(values)).all():
        return 0.0
    for digits in range(1, 5):
        scaled = values * 10.0**digits
        # Rounded numbers in float32 are off the grid by their own last bit.
        off_grid = np.abs(scaled - np.round(scaled)) / np.maximum(1.0, np.abs(scaled))
        if (off_grid <= 2.0**-22).all():
            return float(10.0**-digits)
    return 0.0


def _unit_behind(outputs: Outputs) -> float:
    """Return the unit of the logits behind scores in float32, by the grid that they are on."""
    logits = _logits_behind(outputs[np.isfinite(outputs).all(axis=1)])
    if len(logits) < LEAST_LOGITS:
        return FLOAT32
    for digits in range(_FINEST_GRID + 1):
        scaled = logits * 2.0**digits
        if (np.abs(scaled - np.round(scaled)) < _OFF_GRID).mean() >= _ON_GRID_SHARE:
            share = 2.0**-digits / np.median(np.abs(logits))
            return BFLOAT16 if share > _BETWEEN_FORMATS else FLOAT16
    return FLOAT32


def _logits_behind(outputs: Outputs) -> NDArray[np.float64]:
    """Return the logits behind sigmoid scores, or the differences behind softmax; else none."""
    if not len(outputs) or (outputs < 0).any() or (outputs > 1).any():
        return np.empty(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if outputs.shape[1] > 1 and np.allclose(outputs.sum(axis=1), 1, atol=1e-3):
            found = (np.log(outputs) - np.log(outputs[:, :1]))[:, 1:].ravel()
            return np.asarray(found[np.isfinite(found) & (found != 0)])
        inner = outputs[(outputs > 0.01) & (outputs < 0.99)]  # float32 has no digits left beyond
        return np.asarray(np.log(inner) - np.log1p(-inner))
