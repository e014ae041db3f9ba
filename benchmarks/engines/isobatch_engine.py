"""Isobatch through its public API; it plans its own batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import UnsupportedError
from benchmarks.engines import EngineSetup, Logits
from isobatch import Classifier
from isobatch.errors import PrecisionError


class IsobatchEngine:
    """`Classifier` with default settings but for threads and precision."""

    def __init__(self, setup: EngineSetup) -> None:
        try:
            self.classifier = Classifier.from_pretrained(
                setup.checkpoint, threads=setup.threads, precision=setup.precision
            )
        except PrecisionError as error:
            raise UnsupportedError(str(error)) from error
        self.settings = (
            f"Classifier.logits, {setup.precision}, {setup.threads} threads, its own batches of up "
            f"to {self.classifier.max_batch_tokens} tokens"
        )
        choices = self.classifier.choices
        self.details: dict[str, Any] = {
            "arithmetic": self.classifier.arithmetic,
            "kernels": {choice.operation: choice.kernel for choice in choices},
        }

    def logits(self, texts: Sequence[str]) -> Logits:
        """Classify all texts in one call."""
        return self.classifier.logits(list(texts))

    def stream(self, texts: Iterable[str]) -> Iterator[int]:
        """Classify texts as they arrive; yield the number of tokens of each."""
        return (prediction.num_tokens for prediction in self.classifier.predict_stream(texts))


def load(setup: EngineSetup) -> IsobatchEngine:
    """Load the checkpoint."""
    return IsobatchEngine(setup)
