"""Validation texts whose label the model contradicts, and those of them whose label is suspect.

A label is suspected to be wrong by confident learning (Northcutt, Jiang and Chuang 2021, "Confident
Learning: Estimating Uncertainty in Dataset Labels"): another label has at least the score that it
has on average among the texts that have it. The texts were not trained on, so that the model cannot
have learned their labels by heart. Invariant: the same logits give the same list.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isobatch.drawing.display_text import percent
from isobatch.tasks.scores import score_logits
from isobatch.training.recipe import TrainingTask
from isobatch.types import TextInput

OUTLIER = 4.0
"""A number is suspect if its error is this many standard deviations from the median error, as
estimated by 1.4826 times the median absolute deviation."""

_TO_DEVIATION = 1.4826

_Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ContradictedLabel:
    """A text whose label and prediction differ.

    strength: by which they are ordered: the score of what is predicted, or the size of the error;
    shown: the same in words. suspected: whether the label is probably wrong.
    """

    place: str
    text: TextInput
    given: str
    predicted: str
    strength: float
    shown: str
    suspected: bool


def find_contradicted_labels(
    task: TrainingTask,
    labels: Sequence[str],
    targets: NDArray[np.float32],
    logits: NDArray[np.float32],
    texts: Sequence[TextInput],
    places: Sequence[str],
) -> list[ContradictedLabel]:
    """List the texts that the model gets wrong, the strongest contradiction first.

    targets, logits: [texts, outputs]. A text with several labels is listed once for each that is
    contradicted, and so is one with several numbers; of a regression, errors are listed only if
    they are outliers or among the largest.
    """
    if task == "single":
        found = _single(labels, targets, logits)
    elif task == "multi":
        found = _multi(labels, targets, logits)
    else:
        found = _regression(labels, targets, logits)
    listed = [
        ContradictedLabel(places[row], texts[row], given, predicted, strength, shown, suspected)
        for row, given, predicted, strength, shown, suspected in found
    ]
    return sorted(listed, key=lambda each: -each.strength)


_Found = Iterator[tuple[int, str, str, float, str, bool]]


def _single(
    labels: Sequence[str], targets: NDArray[np.float32], logits: NDArray[np.float32]
) -> _Found:
    scores = np.array([score_logits(row, "softmax") for row in logits])
    given, predicted = targets.argmax(axis=1), logits.argmax(axis=1)
    suspected = _confident_errors(scores, given)
    for row in np.flatnonzero(given != predicted).tolist():
        score = float(scores[row, predicted[row]])
        shown = f"{percent(score)} confident"
        yield (
            row,
            labels[given[row]],
            labels[predicted[row]],
            score,
            shown,
            bool(suspected[row]),
        )


def _multi(
    labels: Sequence[str], targets: NDArray[np.float32], logits: NDArray[np.float32]
) -> _Found:
    scores = np.array([score_logits(row, "sigmoid") for row in logits])
    for column, label in enumerate(labels):
        given = (targets[:, column] > 0.5).astype(np.int64)
        predicted = (logits[:, column] > 0.0).astype(np.int64)
        both = np.stack([1.0 - scores[:, column], scores[:, column]], axis=1)
        suspected = _confident_errors(both, given)
        words = f"not {label}", label
        for row in np.flatnonzero(given != predicted).tolist():
            score = float(both[row, predicted[row]])
            names = words[given[row]], words[predicted[row]]
            yield row, *names, score, f"{percent(score)} confident", bool(suspected[row])


def _confident_errors(scores: _Rows, given: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find the texts whose highest score is of another label, and is confident for that label."""
    count = scores.shape[1]
    has_texts = np.bincount(given, minlength=count) > 0
    thresholds = np.array(
        [
            scores[given == label, label].mean() if has_texts[label] else np.inf
            for label in range(count)
        ]
    )
    highest = scores.argmax(axis=1)
    confident = scores[np.arange(len(scores)), highest] >= thresholds[highest]
    found: NDArray[np.bool_] = confident & (highest != given)
    return found


def _regression(
    labels: Sequence[str], targets: NDArray[np.float32], logits: NDArray[np.float32]
) -> _Found:
    for column, label in enumerate(labels):
        given, predicted = (each[:, column].astype(np.float64) for each in (targets, logits))
        errors = predicted - given
        middle = np.median(errors)
        deviation = _TO_DEVIATION * np.median(np.abs(errors - middle))
        suspected = np.abs(errors - middle) > OUTLIER * deviation
        name = f"{label} = " if len(labels) > 1 else ""
        for row in np.flatnonzero(errors).tolist():
            yield (
                row,
                f"{name}{given[row]:g}",
                f"{name}{predicted[row]:.4g}",
                float(abs(errors[row])),
                f"off by {abs(errors[row]):.4g}",
                bool(deviation > 0 and suspected[row]),
            )
