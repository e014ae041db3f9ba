"""Equivalence check: an engine must compute the same model as transformers in fp32.

Invariant: an engine that computes another model is rejected in every precision, and a NaN is never
within tolerance.
"""

from typing import NamedTuple

import numpy as np

from benchmarks import BenchmarkError
from benchmarks.engines import Logits
from benchmarks.schema import Precision

TOLERANCE = 1e-3
"""fp32: maximum difference of a logit. Engines reach 1e-6 to 1e-5."""

LARGEST_ERROR_OVER_SPREAD = 0.45
"""bf16 and int8: maximum root mean square error, in units of the logits' own spread over the texts.

An absolute tolerance does not work: the random checkpoint's logits spread by 0.04, and int8 is off
by up to 0.02. Engines reach about 0.05 in bf16 and 0.10 to 0.16 in int8. Logits that ignore the
text give 1.0, those of another model 1.4 (the same spread, unrelated). 0.45 leaves a fifth of the
variance unexplained, a correlation of 0.9.
"""


class LogitError(NamedTuple):
    """How far an engine's logits are from the reference logits."""

    largest_difference: float
    error_over_spread: float


def compare_with_reference(logits: Logits, reference: Logits) -> LogitError:
    """Compare an engine's logits with the reference logits, both [texts, num_labels]."""
    error = logits.astype(np.float64) - reference
    spread = reference - reference.mean(axis=0, dtype=np.float64)
    over_spread = np.sqrt((error**2).mean() / (spread**2).mean())
    return LogitError(float(np.abs(error).max()), float(over_spread))


def reject_another_model(name: str, precision: Precision, error: LogitError) -> None:
    """Raise BenchmarkError where the error is larger than the precision explains."""
    if precision == "fp32":
        got, bound, unit = error.largest_difference, TOLERANCE, ""
    else:
        got, bound, unit = error.error_over_spread, LARGEST_ERROR_OVER_SPREAD, " spreads"
    if not got <= bound:  # "not": a NaN must fail too
        raise BenchmarkError(
            f"{name}: logits differ from those of transformers (got {got:g}{unit}, expected at "
            f"most {bound:g}). It does not compute the same model; leave it out of --engines"
        )
