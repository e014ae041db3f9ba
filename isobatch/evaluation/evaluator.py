"""The evaluator: predictions in, one at a time; an Evaluation out.

Invariant: its memory grows with the labels, never with the examples: a count per pair of labels,
sums per bin, and the few mistakes that will be shown. Only the areas under ROC curves need numbers
of each example, up to a limit.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence

from isobatch.drawing.display_text import counted
from isobatch.errors import InputError, OptionError
from isobatch.evaluation.metrics import (
    Calibration,
    accuracy_interval,
    class_metrics,
    confusion_matrix,
    f1,
    matthews,
)
from isobatch.evaluation.ranking import ScoreRanking
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
    kind = "regression" if activation == "none" else "multi-label, or it has only one label"
    raise OptionError(
        f"the checkpoint's task is {kind} (problem_type and num_labels of its config.json); "
        "classification is evaluated with one label of two or more for each text. Choose such a "
        "checkpoint; specify the queries of a reranker (--query-column); or compare its scores "
        "yourself: `isobatch run --scores` writes them"
    )


class Evaluator:
    """Accumulates predictions, and keeps the `num_mistakes` most confident mistakes.

    num_texts, num_errors, num_unlabelled: rows so far. OptionError for fewer than two labels, for a
    duplicate label and for a negative num_mistakes.
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
        self._ranking = ScoreRanking(len(self._labels))
        self._mistakes: list[tuple[float, int, Mistake]] = []
        self.num_texts = self.num_errors = self.num_unlabelled = 0
        self._num_truncated = self._num_empty = 0
        self._errors: list[RowError] = []

    def add(self, example: Example) -> None:
        """Count one prediction.

        InputError, which names the place, for a label that is not one of the labels and for a score
        outside [0, 1].
        """
        predicted, score = self._check(example)
        self.num_texts += 1
        self._num_truncated += example.prediction.truncated
        self._num_empty += example.empty
        self._pairs[example.expected, predicted] += 1
        self._calibration.add(score, predicted == example.expected)
        self._ranking.add(example.expected, example.prediction.logits)
        if predicted != example.expected:
            self._add_mistake(example)

    def add_error(self, place: str, reason: str) -> None:
        """Count a row that could not be classified; the first ones are kept."""
        self.num_errors += 1
        if len(self._errors) < NUM_ERRORS:
            self._errors.append(RowError(place, reason))

    def add_unlabelled(self, number: int = 1) -> None:
        """Count rows that are left out because they have no label."""
        self.num_unlabelled += number

    def finish(self, facts: Mapping[str, str] | None = None) -> Evaluation:
        """Compute the Evaluation; InputError if there was no example.

        OptionError if the libraries of the extra `evaluate` are missing.
        """
        if not self.num_texts:
            raise InputError(self._describe_absence())
        num_correct = sum(count for (row, column), count in self._pairs.items() if row == column)
        pairs = dict(self._pairs)
        mcc, no_mcc = matthews(pairs)
        areas, no_area = self._ranking.areas()
        known = [area for area in areas if area is not None]
        reasons = {"mcc": no_mcc, "roc_auc": no_area}
        return Evaluation(
            labels=self._labels,
            num_texts=self.num_texts,
            num_errors=self.num_errors,
            num_unlabelled=self.num_unlabelled,
            num_truncated=self._num_truncated,
            num_empty=self._num_empty,
            num_correct=num_correct,
            accuracy=num_correct / self.num_texts,
            accuracy_interval=accuracy_interval(num_correct, self.num_texts),
            macro_f1=f1(pairs, "macro"),
            micro_f1=f1(pairs, "micro"),
            weighted_f1=f1(pairs, "weighted"),
            mcc=mcc,
            roc_auc=sum(known) / len(known) if known else None,
            mean_confidence=self._calibration.mean_confidence,
            calibration_error=self._calibration.error,
            undefined={name: reason for name, reason in reasons.items() if reason},
            classes=class_metrics(pairs, self._labels, areas),
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
        entry = (mistake.score, -self.num_texts, mistake)
        if len(self._mistakes) < self._num_mistakes:
            heapq.heappush(self._mistakes, entry)
        else:
            heapq.heappushpop(self._mistakes, entry)

    def _describe_absence(self) -> str:
        unlabelled = counted(self.num_unlabelled, "row")
        if not self.num_errors:
            left = f" ({unlabelled} without a label)" if self.num_unlabelled else ""
            return f"no labelled texts to evaluate on{left}. Pass a file with at least one row"
        first = self._errors[0]
        return (
            f"no row could be evaluated ({counted(self.num_errors, 'error')}, {unlabelled} without "
            f"a label); the first, {first.place}: {first.reason}"
        )
