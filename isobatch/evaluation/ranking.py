"""Areas under the ROC curve, which need a number for each text and label.

Ranked by log-odds, from logits: a saturated softmax or sigmoid, which is 1.0 for many texts, would
make ties of them. Invariant: memory is bounded by MAX_NUMBERS; beyond it there is no area.
"""

import math
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isobatch.extras import needs_extra

MAX_NUMBERS = 16_000_000
"""128 MB: 16 million texts with two labels, or 800,000 with twenty."""

TOO_MANY = f"more than {MAX_NUMBERS:,} numbers would have to be kept"
NO_SCORES = "the score of each label is not in the file; `isobatch run --scores` writes them"


class ScoreRanking:
    """The expected label of each text, and its log-odds for each label; of two labels, the last."""

    def __init__(self, num_labels: int) -> None:
        self._num_labels = num_labels
        self._expected = array("i")
        self._odds = array("d")
        self._unavailable = ""

    def add(self, expected: int, logits: Sequence[float]) -> None:
        """Add a text. Without a logit for each label there will be no areas."""
        if self._unavailable:
            return
        if len(logits) != self._num_labels:
            self._unavailable = NO_SCORES
            return
        odds = log_odds(logits)
        self._expected.append(expected)
        self._odds.extend(odds if self._num_labels > 2 else odds[1:])
        if len(self._odds) > MAX_NUMBERS:
            self._unavailable = TOO_MANY
            self._expected, self._odds = array("i"), array("d")

    def areas(self) -> tuple[list[float | None], str]:
        """Return the area of each label against the rest, and why one of them is None."""
        if self._unavailable:
            return [None] * self._num_labels, self._unavailable
        expected = np.array(self._expected)
        columns = np.array(self._odds).reshape(len(expected), -1)
        if self._num_labels == 2:
            area = _area(expected == 1, columns[:, 0])
            areas = [area, area]  # the odds of the other label are the inverse
        else:
            areas = [_area(expected == k, columns[:, k]) for k in range(self._num_labels)]
        undefined = all(each is None for each in areas)
        return areas, "only one label is expected" if undefined else ""


def log_odds(logits: Sequence[float]) -> list[float]:
    """Return the log-odds of each label under softmax: its logit less those of the others.

    Exact where softmax itself is saturated, as the rest is summed without the highest.
    """
    highest = max(range(len(logits)), key=logits.__getitem__)
    top = logits[highest]
    powers = [math.exp(each - top) for each in logits]
    total = math.fsum(powers)
    others = [each for index, each in enumerate(logits) if index != highest]
    second = max(others)
    best = math.inf
    if second > -math.inf:
        best = top - second - math.log(math.fsum(math.exp(each - second) for each in others))
    return [
        best if index == highest else each - top - math.log(total - powers[index])
        for index, each in enumerate(logits)
    ]


def _area(is_label: NDArray[np.bool_], odds: NDArray[np.float64]) -> float | None:
    if is_label.all() or not is_label.any():
        return None
    with needs_extra("evaluate", "evaluation"):
        from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]
    return float(roc_auc_score(is_label, np.nan_to_num(odds)))
