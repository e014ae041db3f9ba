"""Classification: a label and scores for each text, from the logits of the checkpoint's head."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isobatch.batching.cache import Output
from isobatch.tasks.pipeline import Column, Pipeline, RowFormat, listed
from isobatch.types import Encoding, ScoreActivation, TextInput, Truncation


@dataclass(frozen=True, slots=True)
class Prediction:
    """The classification of one text.

    `label` is that of the highest logit, and `score` its score; `scores` has every label in the
    order of the checkpoint. For a regression checkpoint both are the plain number.
    """

    label: str
    score: float
    logits: tuple[float, ...]
    truncated: bool
    num_tokens: int = field(repr=False)
    scores: dict[str, float] = field(repr=False)


@dataclass(frozen=True)
class ClassificationRows(RowFormat[Prediction]):
    """`label` and `score`, with `logits` and `score_LABEL` if requested."""

    labels: tuple[str, ...]

    def columns(self, *, raw: bool, all_scores: bool) -> tuple[Column, ...]:
        columns = [Column("label", "text"), Column("score", "number")]
        if raw:
            columns.append(Column("logits", "numbers"))
        if all_scores:
            columns += [Column(f"score_{label}", "number") for label in self.labels]
        return tuple(columns)

    def values(self, prediction: Prediction, *, raw: bool, all_scores: bool) -> list[object]:
        values: list[object] = [prediction.label, prediction.score]
        if raw:
            values.append(list(prediction.logits))
        if all_scores:
            values.extend(prediction.scores.values())
        return values


class Classifier(Pipeline[Prediction]):
    """A text classifier whose predictions are batch-invariant. Load one by `from_pretrained`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.config.head.labels

    @property
    def score_activation(self) -> ScoreActivation:
        """The function that turns logits into scores."""
        return self.config.head.score_activation

    def logits(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> NDArray[np.float32]:
        """Return the logits of a list of texts, float32 [texts, num_labels], in order."""
        return self._outputs(self._encode(listed(texts), truncation))

    def decode(self, output: Output, encoding: Encoding) -> Prediction:
        """Turn the logits of one encoded text into its prediction."""
        labels = self.labels
        logits: list[float] = output.tolist()
        scores = score_logits(logits, self.score_activation)
        best = rank_logits(logits)[0]
        return Prediction(
            label=labels[best],
            score=scores[best],
            logits=tuple(logits),
            truncated=encoding.truncated,
            num_tokens=len(encoding),
            scores=dict(zip(labels, scores, strict=True)),
        )

    @property
    def row_format(self) -> "ClassificationRows":
        return ClassificationRows(self.labels)

    def ranked(
        self, output: Output, activation: ScoreActivation | None = None
    ) -> list[dict[str, object]]:
        """Return every label with its score as JSON values, that of the highest logit first.

        Equal logits keep the checkpoint's order. activation: None for the checkpoint's own.
        """
        scores = score_logits(output, activation or self.score_activation)
        return [
            {"label": self.labels[index], "score": scores[index]} for index in rank_logits(output)
        ]


def rank_logits(logits: Sequence[float] | Output) -> list[int]:
    """Return the indices of the logits, the highest first and equal ones in their order.

    By the logits, never by scores: from 37 on a sigmoid is 1.0, and different logits are equal.
    """
    numbers = [float(value) for value in logits]
    return sorted(range(len(numbers)), key=lambda index: -numbers[index])


def score_logits(logits: Sequence[float] | Output, activation: ScoreActivation) -> list[float]:
    """Compute the scores of one row of logits, in double precision.

    One row at a time and in plain Python: a vectorized exp may treat the tail of an array
    differently from its body, and then a score would depend on its neighbours.
    """
    logits = [float(value) for value in logits]
    if activation == "softmax":
        highest = max(logits)
        powers = [math.exp(value - highest) for value in logits]
        total = math.fsum(powers)
        return [power / total for power in powers]
    if activation == "sigmoid":
        return [_sigmoid(value) for value in logits]
    return logits


def _sigmoid(value: float) -> float:
    """Compute the logistic function without an overflow of exp."""
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)
