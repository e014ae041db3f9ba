"""Calibration: whether a classifier is right as often as its confidence says.

The expected calibration error of Naeini, Cooper and Hauskrecht 2015 ("Obtaining Well Calibrated
Probabilities Using Bayesian Binning", AAAI), with the bins of Guo et al. 2017 ("On Calibration of
Modern Neural Networks", ICML, equation 3): of one width, over the confidence in the answer given.
It knows no labels. Invariant: every confidence falls into one bin, and memory stays constant.
"""

from bisect import bisect_left

from isobatch.evaluation.result import ReliabilityBin

NUM_BINS = 15
"""As Guo et al. 2017."""

EDGES = tuple(index / NUM_BINS for index in range(NUM_BINS + 1))


class Calibration:
    """Counts per bin, filled one answer at a time."""

    def __init__(self) -> None:
        self._counts = [0] * NUM_BINS
        self._correct = [0] * NUM_BINS
        self._confidence = [0.0] * NUM_BINS

    def add(self, confidence: float, correct: bool) -> None:
        """Count one answer; its confidence lies in [0, 1]."""
        index = bin_of(confidence)
        self._counts[index] += 1
        self._correct[index] += correct
        self._confidence[index] += confidence

    @property
    def mean_confidence(self) -> float:
        """Over all answers, of which there must be one."""
        return sum(self._confidence) / sum(self._counts)

    @property
    def error(self) -> float:
        """Sum over the bins of |B| / n * |accuracy(B) - confidence(B)|; Guo et al., equation 3."""
        gaps = zip(self._correct, self._confidence, strict=True)
        return sum(abs(correct - confidence) for correct, confidence in gaps) / sum(self._counts)

    def bins(self) -> tuple[ReliabilityBin, ...]:
        """The bins from 0 to 1, the empty ones included."""
        return tuple(self._bin(index) for index in range(NUM_BINS))

    def _bin(self, index: int) -> ReliabilityBin:
        count = self._counts[index]
        return ReliabilityBin(
            lower=EDGES[index],
            upper=EDGES[index + 1],
            count=count,
            mean_confidence=self._confidence[index] / count if count else None,
            accuracy=self._correct[index] / count if count else None,
        )


def bin_of(confidence: float) -> int:
    """Index of the bin (lower, upper] that holds the confidence; 0 is in the first."""
    return max(bisect_left(EDGES, confidence) - 1, 0)
