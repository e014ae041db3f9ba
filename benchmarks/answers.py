"""Are an engine's answers those of the same model? A comparison with transformers in fp32.

It knows logits and no engine. Invariant: an engine that computes another model is refused in every
precision, and a NaN is never within a bound.
"""

from typing import NamedTuple

import numpy as np

from benchmarks.engines import Logits
from benchmarks.errors import BenchError
from benchmarks.schema import Precision

TOLERANCE = 1e-3
"""fp32: the largest difference of a logit. Engines give 1e-6 to 1e-5."""

LARGEST_ERROR_OVER_SPREAD = 0.45
"""bf16 and int8: root mean square of the error, in units of the logits' own spread over the texts.

An absolute bound would not do: the random checkpoint's logits spread by 0.04, and int8 is off by up
to 0.02. Engines give about 0.05 in bf16 and 0.10 to 0.16 in int8. Answers that ignore the text give
1.0, those of another model 1.4 (spread by as much, unrelated). 0.45 leaves a fifth of the variance
unexplained, a correlation of 0.9.
"""


class Agreement(NamedTuple):
    """How far an engine's logits are from the reference."""

    largest_difference: float
    error_over_spread: float


def agree(logits: Logits, reference: Logits) -> Agreement:
    """Compare an engine's logits with the reference's, [texts, num_labels] both."""
    error = logits.astype(np.float64) - reference
    spread = reference - reference.mean(axis=0, dtype=np.float64)
    over_spread = np.sqrt((error**2).mean() / (spread**2).mean())
    return Agreement(float(np.abs(error).max()), float(over_spread))


def refuse_another_model(name: str, precision: Precision, agreement: Agreement) -> None:
    """Raise BenchError where the logits are further off than the precision explains."""
    if precision == "fp32":
        got, bound, unit = agreement.largest_difference, TOLERANCE, ""
    else:
        got, bound, unit = agreement.error_over_spread, LARGEST_ERROR_OVER_SPREAD, " spreads"
    if not got <= bound:  # "not": a NaN must fail too
        raise BenchError(
            f"{name}: logits differ from those of transformers by {got:g}{unit}, more than "
            f"{bound:g}: it does not compute the same model, so it is not measured"
        )
