"""Metrics from counts of label pairs, and calibration from confidences.

Precision, recall, F1 and the confusion matrix are scikit-learn's, the interval is SciPy's; counts
go in as sample weights, so that a million texts cost no more than the labels do. A ratio without a
denominator is None, not NaN.

Calibration is the expected calibration error of Naeini, Cooper and Hauskrecht 2015 ("Obtaining Well
Calibrated Probabilities Using Bayesian Binning", AAAI), with the equal-width bins of Guo et al.
2017 ("On Calibration of Modern Neural Networks", ICML, equation 3) over the confidence in the
predicted label.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from isobatch.evaluation.records import ClassMetrics, ReliabilityBin
from isobatch.extras import needs_extra

NUM_BINS = 15
"""As Guo et al. 2017."""

BIN_EDGES = tuple(index / NUM_BINS for index in range(NUM_BINS + 1))

PairCounts = Mapping[tuple[int, int], int]
"""Number of texts by expected and predicted label index."""


def class_metrics(
    pairs: PairCounts, labels: Sequence[str], areas: Sequence[float | None]
) -> tuple[ClassMetrics, ...]:
    """Compute precision, recall, F1 and support of every label, in their order; add its area."""
    expected, predicted, counts = _columns(pairs)
    rows = _sklearn().precision_recall_fscore_support(
        expected,
        predicted,
        labels=range(len(labels)),
        sample_weight=counts,
        zero_division=math.nan,
    )
    num_predicted = [0] * len(labels)
    for (_, column), count in pairs.items():
        num_predicted[column] += count
    return tuple(
        ClassMetrics(
            label=label,
            precision=_defined(precision),
            recall=_defined(recall),
            f1=_defined(f1),
            support=int(support),
            num_predicted=predictions,
            roc_auc=area,
        )
        for label, precision, recall, f1, support, predictions, area in zip(
            labels, *rows, num_predicted, areas, strict=True
        )
    )


def f1(pairs: PairCounts, average: Literal["macro", "micro", "weighted"]) -> float:
    """Compute the mean F1 of the labels that were expected or predicted at all."""
    expected, predicted, counts = _columns(pairs)
    score = _sklearn().f1_score(
        expected, predicted, average=average, sample_weight=counts, zero_division=0
    )
    return float(score)


def matthews(pairs: PairCounts) -> tuple[float | None, str]:
    """Compute Matthews' correlation coefficient; or None, and why it has no denominator."""
    expected, predicted, counts = _columns(pairs)
    for name, values in (("expected", expected), ("predicted", predicted)):
        if len(set(values)) < 2:
            return None, f"only one label is {name}"
    return float(_sklearn().matthews_corrcoef(expected, predicted, sample_weight=counts)), ""


def confusion_matrix(pairs: PairCounts, num_labels: int) -> tuple[tuple[int, ...], ...]:
    """Count texts, [num_labels, num_labels]; rows are expected, columns predicted."""
    expected, predicted, counts = _columns(pairs)
    matrix = _sklearn().confusion_matrix(
        expected, predicted, labels=range(num_labels), sample_weight=counts
    )
    return tuple(tuple(int(count) for count in row) for row in matrix)


def accuracy_interval(num_correct: int, num_texts: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the accuracy; Wilson 1927, without correction."""
    with needs_extra("evaluate", "evaluation"):
        from scipy.stats import binomtest  # type: ignore[import-untyped]
    interval = binomtest(num_correct, num_texts).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def check_libraries() -> None:
    """OptionError, before anything is computed, if the libraries of the metrics are missing."""
    _sklearn()


def _sklearn() -> Any:
    with needs_extra("evaluate", "evaluation"):
        from sklearn import metrics  # type: ignore[import-untyped]
    return metrics


def _columns(pairs: PairCounts) -> tuple[list[int], list[int], list[int]]:
    expected, predicted = zip(*pairs, strict=True)
    return list(expected), list(predicted), list(pairs.values())


def _defined(ratio: object) -> float | None:
    value = float(cast("float", ratio))
    return None if math.isnan(value) else value


class Calibration:
    """Counts and confidences per bin, in constant memory."""

    def __init__(self) -> None:
        self._counts = [0] * NUM_BINS
        self._correct = [0] * NUM_BINS
        self._confidence = [0.0] * NUM_BINS

    def add(self, confidence: float, correct: bool) -> None:
        """Count one prediction with a confidence in [0, 1]."""
        index = bin_index(confidence)
        self._counts[index] += 1
        self._correct[index] += correct
        self._confidence[index] += confidence

    @property
    def mean_confidence(self) -> float:
        """Over all predictions, of which there must be one."""
        return sum(self._confidence) / sum(self._counts)

    @property
    def error(self) -> float:
        """Sum over the bins of |B| / n * |accuracy(B) - confidence(B)|; Guo et al., equation 3."""
        gaps = zip(self._correct, self._confidence, strict=True)
        return sum(abs(correct - confidence) for correct, confidence in gaps) / sum(self._counts)

    def bins(self) -> tuple[ReliabilityBin, ...]:
        """Return the bins from 0 to 1, empty ones included."""
        return tuple(
            ReliabilityBin(
                lower=BIN_EDGES[index],
                upper=BIN_EDGES[index + 1],
                count=count,
                mean_confidence=confidence / count if count else None,
                accuracy=correct / count if count else None,
            )
            for index, (count, correct, confidence) in enumerate(
                zip(self._counts, self._correct, self._confidence, strict=True)
            )
        )


def bin_index(confidence: float) -> int:
    """Find the bin (lower, upper] that holds the confidence; 0 is in the first."""
    return max(bisect_left(BIN_EDGES, confidence) - 1, 0)
