"""How far answers moved between two ways of asking, and how much of that rounding may do.

It knows numbers and no models. Invariant: equal means equal in every bit; a tolerance only ever
tells drift from bug, and never makes a movement vanish.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.formats import FLOAT32, STATED, decimal_step, unit_of
from isobatch.audit.result import Movement, Verdict
from isobatch.audit.subject import Answers

LEAST_TOLERANCE = 1e-4
"""Of the answers' size: kernels for other shapes move float32 logits by 1e-7 to 1e-5 of it."""

ROUNDINGS = 16
"""So many units in the last place may come together on the way through a network."""

NOISE_MARGIN = 10.0
"""A movement counts as more than rounding from so many times the rounding that was seen."""

MOST_TOLERANCE = 0.1
"""Of the answers' size; more is never put down to rounding."""

MOST_NOISE = 0.02
"""Of the answers' size: copies of one text that move by more do not move by rounding."""

LEAST_SIZE = 0.05
"""Answers that are all smaller are judged as if they were of this size."""

STEPS = 1.5
"""Of a decimal place: a number that is rounded moves by one step or none."""


def compare(before: Answers, after: Answers, *, gives_scores: bool) -> Movement:
    """Row by row, `after` against `before`, both [rows, labels]."""
    finite = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
    gaps = largest_gaps(before, after)
    first, second = (each if gives_scores else scores_of(each) for each in (before, after))
    score_gaps = largest_gaps(first, second)[finite]
    flips = labels_of(before, gives_scores) != labels_of(after, gives_scores)
    largest = float(gaps[finite].max(initial=0.0))
    return Movement(
        rows=len(before),
        moved_rows=int((gaps > 0).sum()),
        flips=int((flips & finite).sum()),
        max_logit=None if gives_scores else largest,
        max_score=float(score_gaps.max(initial=0.0)),
        points=tuple(gaps.tolist()),
        broken_rows=int((~finite).sum()),
    )


def largest_gaps(before: Answers, after: Answers) -> NDArray[np.float64]:
    """Largest change in each row; infinity where one side, and not the other, is no number."""
    with np.errstate(invalid="ignore"):
        gaps = np.abs(after - before)
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    gaps = np.where(same, 0.0, np.where(np.isnan(gaps), np.inf, gaps))
    return np.asarray(gaps.max(axis=1, initial=0.0))


def scores_of(logits: Answers) -> Answers:
    """Softmax over the labels, in float64; sigmoid where there is one."""
    with np.errstate(over="ignore", invalid="ignore"):
        if logits.shape[1] == 1:
            return np.asarray(1 / (1 + np.exp(-logits)))
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def labels_of(answers: Answers, gives_scores: bool) -> NDArray[np.int64]:
    """Index of the highest label; of a single one, whether it is on."""
    if answers.shape[1] == 1:
        return np.asarray(answers[:, 0] > (0.5 if gives_scores else 0.0), dtype=np.int64)
    return np.asarray(answers.argmax(axis=1))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What rounding may do to one number of the answers: `absolute`, and why so much."""

    absolute: float

    def judge(self, movement: Movement) -> Verdict:
        """Bug beyond rounding or where a number breaks; drift for the least moved bit; or exact.

        A label that flips within rounding was a tie: it counts as drift, and its flip is told.
        """
        if movement.broken_rows or self.exceeded(movement):
            return "bug"
        return "drift" if movement.moved_rows else "exact"

    def exceeded(self, movement: Movement) -> bool:
        """Whether any row moved by more than rounding does."""
        return max(movement.points, default=0.0) > self.absolute


def tolerance_of(
    answers: Answers, noise: float, *, gives_scores: bool = False, stated: str | None = None
) -> Tolerance:
    """By the answers' size, by the coarsest format that they show or that is `stated`, by noise.

    noise: the largest change that rounding was seen to make. More than MOST_NOISE is none.
    """
    size = float(np.abs(answers[np.isfinite(answers)]).max(initial=LEAST_SIZE))
    unit = max(unit_of(answers), STATED.get(stated or "", 0.0))
    relative = max(LEAST_TOLERANCE, ROUNDINGS * unit)
    # A score moves by at most half of what the logits move, each its own way.
    reach = max(size, _size_of_logits(answers) / 2) if gives_scores and unit > FLOAT32 else size
    seen = NOISE_MARGIN * noise if noise <= MOST_NOISE * size or unit > FLOAT32 else 0.0
    allowed = min(max(relative * reach, seen), MOST_TOLERANCE * size)
    return Tolerance(max(allowed, STEPS * decimal_step(answers)))


def _size_of_logits(scores: Answers) -> float:
    inner = scores[np.isfinite(scores) & (scores > 0)]
    return float(-np.log(inner).min(initial=0.0))
