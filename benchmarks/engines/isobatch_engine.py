"""Isobatch through its public API; it plans its own batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.engines import EngineSetup, Logits
from isobatch import Classifier


class IsobatchEngine:
    """`Classifier` with default settings but for threads and precision."""

    def __init__(self, setup: EngineSetup) -> None:
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
        """Classify texts as they arrive; yield the number of tokens of each."""
        return (prediction.num_tokens for prediction in self._classifier.predict_stream(texts))


def load(setup: EngineSetup) -> IsobatchEngine:
    """Load the checkpoint."""
    return IsobatchEngine(setup)
