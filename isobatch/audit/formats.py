"""How coarse the numbers of answers are: 16 bits, scores of 16-bit logits, or rounded decimals.

It knows numbers and no models. Invariant: what the numbers do not plainly show counts as float32,
so that a coarse format is never assumed in anybody's favour.
"""

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.subject import Answers

FLOAT32 = 2.0**-24
STATED = {"float16": 2.0**-11, "half": 2.0**-11, "bfloat16": 2.0**-8}
"""Units of the formats that systems name."""

NOTHING_SHOWN_BITS = 4
"""Numbers of so few bits, as 0, 0.5 and 1, are written alike in every format."""

LEAST_LOGITS = 6
"""Fewer differences of logits may lie on a grid by chance."""

_BESIDE_GRID = 0.02
_ON_GRID_SHARE = 0.6
"""Small logits have finer steps than the rest."""

_FINEST_GRID = 14
"""Its step is 2 to the power of minus this: that of float16 near 1/16."""

_BETWEEN_FORMATS = 2.0**-10.5
"""Steps of bfloat16 are above this share of the logits, those of float16 below."""

LEAST_DECIMALS = 4
"""Fewer different numbers do not show that they were rounded."""


def unit_of(answers: Answers) -> float:
    """Relative rounding unit of the coarsest float format that the answers, or logits, show."""
    values = answers[np.isfinite(answers) & (answers != 0)]
    for bits in (NOTHING_SHOWN_BITS, 8, 11):
        if len(values) and _fit(values, bits):
            return FLOAT32 if bits == NOTHING_SHOWN_BITS else float(2.0**-bits)
    return _unit_behind(answers)


def decimal_step(answers: Answers) -> float:
    """Step of answers that were rounded to 1, 2, 3 or 4 decimal places; 0 if they were not."""
    values = np.unique(answers[np.isfinite(answers)])
    if len(values) < LEAST_DECIMALS or (values == np.round(values)).all():
        return 0.0
    for digits in range(1, 5):
        scaled = values * 10.0**digits
        # Rounded numbers in float32 lie beside the grid by their own last bit.
        beside = np.abs(scaled - np.round(scaled)) / np.maximum(1.0, np.abs(scaled))
        if (beside <= 2.0**-22).all():
            return float(10.0**-digits)
    return 0.0


def _fit(values: NDArray[np.float64], bits: int) -> bool:
    scaled = np.frexp(values)[0] * 2.0**bits
    return bool((scaled == np.round(scaled)).all())


def _unit_behind(answers: Answers) -> float:
    """The unit of the logits that scores in float32 were made from, by the grid they lie on."""
    logits = _logits_behind(answers[np.isfinite(answers).all(axis=1)])
    if len(logits) < LEAST_LOGITS:
        return FLOAT32
    for digits in range(_FINEST_GRID + 1):
        scaled = logits * 2.0**digits
        if (np.abs(scaled - np.round(scaled)) < _BESIDE_GRID).mean() >= _ON_GRID_SHARE:
            share = 2.0**-digits / np.median(np.abs(logits))
            return STATED["bfloat16" if share > _BETWEEN_FORMATS else "float16"]
    return FLOAT32


def _logits_behind(answers: Answers) -> NDArray[np.float64]:
    """Logits by which scores of a sigmoid came about, or differences of a softmax's; else none."""
    nothing = np.empty(0)
    if not len(answers) or (answers < 0).any() or (answers > 1).any():
        return nothing
    with np.errstate(divide="ignore", invalid="ignore"):
        if answers.shape[1] > 1 and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
            found = (np.log(answers) - np.log(answers[:, :1]))[:, 1:].ravel()
            return np.asarray(found[np.isfinite(found) & (found != 0)])
        inner = answers[(answers > 0.01) & (answers < 0.99)]  # float32 has no digits left beyond
        return np.asarray(np.log(inner) - np.log1p(-inner))
