"""Isobatch itself, through its public face only.

It plans its own batches, so it takes no batch size and no order.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.engines import Logits, Setup
from isobatch import Classifier


class IsobatchEngine:
    """The Classifier as a user has it: CPU, its own batch plan."""

    def __init__(self, setup: Setup) -> None:
        self._classifier = Classifier.from_pretrained(
            setup.checkpoint, threads=setup.threads, precision=setup.precision
        )
        self.settings = (
            f"Classifier.logits, {setup.precision}, {setup.threads} threads, its own batches of up "
            f"to {self._classifier.max_batch_tokens} tokens"
        )
        self.details: dict[str, Any] = {}

    def logits(self, texts: Sequence[str]) -> Logits:
        """Classify all texts in one call."""
        return self._classifier.logits(list(texts))

    def stream(self, texts: Iterable[str]) -> Iterator[int]:
        """Classify texts as they come; yield the number of tokens of each."""
        return (prediction.num_tokens for prediction in self._classifier.predict_stream(texts))


def load(setup: Setup) -> IsobatchEngine:
    """Load the checkpoint."""
    return IsobatchEngine(setup)
