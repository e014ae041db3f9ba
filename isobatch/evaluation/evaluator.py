"""The evaluator: predictions in, one at a time; an Evaluation out.

Invariant: its memory grows with the labels, never with the examples: a count per pair of labels,
sums per bin, and the few mistakes that will be shown.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence

from isobatch.errors import InputError, OptionError
from isobatch.evaluation.metrics import (
    Calibration,
    accuracy_interval,
    class_metrics,
    confusion_matrix,
    macro_f1,
)
from isobatch.evaluation.records import Evaluation, Example, Mistake, RowError
from isobatch.types import ScoreActivation

NUM_MISTAKES = 10
NUM_ERRORS = 10


def check_task(activation: ScoreActivation) -> None:
    """Refuse checkpoints that do not predict one label of several; OptionError.

    activation: how the checkpoint computes its scores.
    """
    if activation == "softmax":
        return
    kind = "regression" if activation == "none" else "multi-label or has only one label"
    raise OptionError(
        f"the checkpoint's task is {kind}; evaluation supports single-label classification with "
        "two or more labels. Choose such a checkpoint, or compare its scores yourself"
    )


class Evaluator:
    """Accumulates predictions, and keeps the `num_mistakes` most confident mistakes.

    OptionError for fewer than two labels, for a duplicate label and for a negative num_mistakes.
    """

    def __init__(self, labels: Sequence[str], *, num_mistakes: int = NUM_MISTAKES) -> None:
        self._labels = tuple(labels)
        self._index_of = {label: index for index, label in enumerate(self._labels)}
        if len(self._index_of) < 2 or len(self._index_of) < len(self._labels):
            raise OptionError(f"labels must be two or more, each of them once; got {self._labels}")
        if num_mistakes < 0:
            raise OptionError(f"num_mistakes must be 0 or more, got {num_mistakes}")
        self._num_mistakes = num_mistakes
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._calibration = Calibration()
        self._mistakes: list[tuple[float, int, Mistake]] = []
        self._num_texts = 0
        self._num_truncated = 0
        self._num_errors = 0
        self._errors: list[RowError] = []

    def add(self, example: Example) -> None:
        """Count one prediction.

        InputError, which names the place, for a label that is not one of the labels and for a score
        outside [0, 1].
        """
        predicted, score = self._check(example)
        self._num_texts += 1
        self._num_truncated += example.prediction.truncated
        self._pairs[example.expected, predicted] += 1
        self._calibration.add(score, predicted == example.expected)
        if predicted != example.expected:
            self._add_mistake(example)

    def add_error(self, place: str, reason: str) -> None:
        """Count a row that could not be classified; the first ones are kept."""
        self._num_errors += 1
        if len(self._errors) < NUM_ERRORS:
            self._errors.append(RowError(place, reason))

    def finish(self, facts: Mapping[str, str] | None = None) -> Evaluation:
        """Compute the Evaluation; InputError if there was no example.

        OptionError if the libraries of the extra `evaluate` are missing.
        """
        if not self._num_texts:
            raise InputError(self._describe_absence())
        num_correct = sum(count for (row, column), count in self._pairs.items() if row == column)
        pairs = dict(self._pairs)
        return Evaluation(
            labels=self._labels,
            num_texts=self._num_texts,
            num_errors=self._num_errors,
            num_truncated=self._num_truncated,
            num_correct=num_correct,
            accuracy=num_correct / self._num_texts,
            accuracy_interval=accuracy_interval(num_correct, self._num_texts),
            macro_f1=macro_f1(pairs),
            mean_confidence=self._calibration.mean_confidence,
            calibration_error=self._calibration.error,
            classes=class_metrics(pairs, self._labels),
            confusion=confusion_matrix(pairs, len(self._labels)),
            reliability=self._calibration.bins(),
            mistakes=tuple(mistake for _, _, mistake in sorted(self._mistakes, reverse=True)),
            errors=tuple(self._errors),
            facts=dict(facts or {}),
        )

    def _check(self, example: Example) -> tuple[int, float]:
        """Return index and score of the prediction; InputError if they make no sense."""
        labels = ", ".join(self._labels)
        label, score = example.prediction.label, example.prediction.score
        predicted = self._index_of.get(label)
        if predicted is None:
            raise InputError(
                f"{example.place}: unknown predicted label (got {label!r}, expected one of "
                f"{labels}). Pass the labels of the checkpoint that made the prediction"
            )
        if not 0 <= example.expected < len(self._labels):
            raise InputError(
                f"{example.place}: the expected label {example.expected} is not an index of "
                f"{labels} (0 to {len(self._labels) - 1})"
            )
        if not 0 <= score <= 1:
            raise InputError(
                f"{example.place}: the score {score} is not a probability. Evaluate predictions of "
                "a single-label checkpoint"
            )
        return predicted, score

    def _add_mistake(self, example: Example) -> None:
        """Push onto a heap with the least confident mistake on top, the later of two alike."""
        mistake = Mistake(
            place=example.place,
            text=example.text,
            expected=self._labels[example.expected],
            predicted=example.prediction.label,
            score=example.prediction.score,
        )
        entry = (mistake.score, -self._num_texts, mistake)
        if len(self._mistakes) < self._num_mistakes:
            heapq.heappush(self._mistakes, entry)
        else:
            heapq.heappushpop(self._mistakes, entry)

    def _describe_absence(self) -> str:
        if not self._num_errors:
            return "no labelled texts to evaluate on. Pass a file with at least one row"
        first = self._errors[0]
        return (
            f"none of the {self._num_errors} rows could be classified; the first, {first.place}: "
            f"{first.reason}"
        )
