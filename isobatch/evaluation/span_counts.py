"""Precision, recall and F1 of spans: a span is right if its ends and its type are those expected.

As seqeval counts: the types are those that were expected or predicted, a ratio without a
denominator counts as 0 in a mean, and a span that is given twice counts once.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from isobatch.evaluation.tag_schemes import TagSpan


@dataclass(frozen=True, slots=True)
class SpanMetrics:
    """The metrics of one type, or a mean of them; None is a ratio of no spans.

    support: number of expected spans.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    num_predicted: int
    num_correct: int


class SpanCounts:
    """Counts by type. Memory grows with the types only."""

    def __init__(self) -> None:
        self._expected: Counter[str] = Counter()
        self._predicted: Counter[str] = Counter()
        self._correct: Counter[str] = Counter()

    def add(self, expected: Collection[TagSpan], predicted: Collection[TagSpan]) -> None:
        """Count the spans of one text."""
        self._expected.update(span.label for span in set(expected))
        self._predicted.update(span.label for span in set(predicted))
        self._correct.update(span.label for span in {*expected} & {*predicted})

    @property
    def types(self) -> list[SpanMetrics]:
        """The metrics of each type, by name."""
        names = sorted({*self._expected, *self._predicted})
        return [
            _metrics(name, self._correct[name], self._predicted[name], self._expected[name])
            for name in names
        ]

    @property
    def micro(self) -> SpanMetrics:
        """The metrics of all spans together."""
        counts = (self._correct, self._predicted, self._expected)
        return _metrics("micro", *(each.total() for each in counts))

    @property
    def macro(self) -> SpanMetrics:
        """The mean over the types, each counting the same."""
        types = self.types
        return self._mean("macro", types, [1] * len(types))

    @property
    def weighted(self) -> SpanMetrics:
        """The mean over the types, each by its number of expected spans."""
        types = self.types
        return self._mean("weighted", types, [each.support for each in types])

    def _mean(self, name: str, types: Sequence[SpanMetrics], weights: Sequence[int]) -> SpanMetrics:
        micro, total = self.micro, sum(weights)

        def mean(metric: str) -> float | None:
            values = (getattr(each, metric) or 0.0 for each in types)
            weighted = (weight * value for weight, value in zip(weights, values, strict=True))
            return sum(weighted) / total if total else None

        means = mean("precision"), mean("recall"), mean("f1")
        return SpanMetrics(name, *means, micro.support, micro.num_predicted, micro.num_correct)


def _metrics(name: str, correct: int, predicted: int, expected: int) -> SpanMetrics:
    precision = correct / predicted if predicted else None
    recall = correct / expected if expected else None
    f1 = None if precision is None and recall is None else 0.0
    if precision and recall:
        f1 = 2 * precision * recall / (precision + recall)
    return SpanMetrics(name, precision, recall, f1, expected, predicted, correct)
