"""Precision, recall, F1, confusion and the interval of accuracy, all from counts of label pairs.

The formulas are scikit-learn's and SciPy's; counts go in as sample weights, so that a million
texts cost no more than the labels do. Invariant: a ratio without a denominator is None, not NaN.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from isobatch.evaluation.extra import evaluate_extra
from isobatch.evaluation.result import ClassMetrics

PairCounts = Mapping[tuple[int, int], int]
"""How many texts have this expected and this predicted label index."""


def class_metrics(pairs: PairCounts, labels: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Precision, recall, F1 and support of every label, in their order."""
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
            label, _defined(precision), _defined(recall), _defined(f1), int(support), answers
        )
        for label, precision, recall, f1, support, answers in zip(
            labels, *rows, num_predicted, strict=True
        )
    )


def macro_f1(pairs: PairCounts) -> float:
    """The mean F1 of the labels that were expected or predicted at all."""
    expected, predicted, counts = _columns(pairs)
    score = _sklearn().f1_score(
        expected, predicted, average="macro", sample_weight=counts, zero_division=0
    )
    return float(score)


def confusion_matrix(pairs: PairCounts, num_labels: int) -> tuple[tuple[int, ...], ...]:
    """Counts, [num_labels, num_labels]; rows are expected, columns predicted."""
    expected, predicted, counts = _columns(pairs)
    matrix = _sklearn().confusion_matrix(
        expected, predicted, labels=range(num_labels), sample_weight=counts
    )
    return tuple(tuple(int(count) for count in row) for row in matrix)


def accuracy_interval(num_correct: int, num_texts: int) -> tuple[float, float]:
    """95 % confidence interval of the accuracy; Wilson 1927, without correction."""
    with evaluate_extra():
        from scipy.stats import binomtest  # type: ignore[import-untyped]
    interval = binomtest(num_correct, num_texts).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _sklearn() -> Any:
    with evaluate_extra():
        from sklearn import metrics  # type: ignore[import-untyped]
    return metrics


def _columns(pairs: PairCounts) -> tuple[list[int], list[int], list[int]]:
    expected, predicted = zip(*pairs, strict=True)
    return list(expected), list(predicted), list(pairs.values())


def _defined(ratio: object) -> float | None:
    value = float(cast("float", ratio))
    return None if math.isnan(value) else value
