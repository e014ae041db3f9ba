"""Correlation of similarities with what people say of them, with confidence intervals.

Both are SciPy's. The interval of Pearson's is Fisher's; that of Spearman's has the variance of
Bonett and Wright 2000 ("Sample size requirements for estimating Pearson, Kendall and Spearman
correlations", Psychometrika 65).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atanh, sqrt, tanh

from isobatch.extras import needs_extra

NORMAL_95 = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""

FEWEST = 4
"""Pairs below which there is no interval."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Correlations:
    """Spearman's and Pearson's coefficient, with their 95 % intervals; or None and `undefined`."""

    spearman: float | None
    pearson: float | None
    spearman_interval: Interval | None
    pearson_interval: Interval | None
    undefined: str = ""


def correlate(gold: Sequence[float], found: Sequence[float]) -> Correlations:
    """Correlate two columns of finite numbers."""
    for name, values in (("expected", gold), ("computed", found)):
        if len(set(values)) < 2:
            reason = f"there is only one {name} similarity"
            return Correlations(None, None, None, None, reason)
    with needs_extra("evaluate", "evaluation"):
        from scipy.stats import pearsonr, spearmanr  # type: ignore[import-untyped]
    spearman = float(spearmanr(gold, found).statistic)
    pearson = float(pearsonr(gold, found).statistic)
    return Correlations(
        spearman,
        pearson,
        _interval(spearman, len(gold), 1 + spearman**2 / 2),
        _interval(pearson, len(gold), 1.0),
    )


def _interval(coefficient: float, number: int, variance: float) -> Interval | None:
    if number < FEWEST:
        return None
    if abs(coefficient) >= 1:
        return coefficient, coefficient
    middle, reach = atanh(coefficient), NORMAL_95 * sqrt(variance / (number - 3))
    return tanh(middle - reach), tanh(middle + reach)
