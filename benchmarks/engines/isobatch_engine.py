"""Isobatch through its public API; it plans its own batches, and says which kernels it uses."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import UnsupportedError
from benchmarks.engines import EngineSetup, Logits
from benchmarks.schema import Precision
from isobatch import Classifier
from isobatch.errors import PrecisionError
from isobatch.kernels.compiled.variants import TORCH, kernels, unavailable


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
            "instruction_set": _instruction_set(setup.precision),
            "arithmetic": self.classifier.arithmetic,
            "kernels": {choice.operation: choice.kernel for choice in choices},
        }

    def logits(self, texts: Sequence[str]) -> Logits:
        """Classify all texts in one call."""
        return self.classifier.logits(list(texts))

    def stream(self, texts: Iterable[str]) -> Iterator[int]:
        """Classify texts as they arrive; yield the number of tokens of each."""
        return (prediction.num_tokens for prediction in self.classifier.predict_stream(texts))


def _instruction_set(precision: Precision) -> str:
    """Name the variant of the compiled kernels that this process uses, or torch."""
    return TORCH if unavailable(precision) else kernels(precision).name


def load(setup: EngineSetup) -> IsobatchEngine:
    """Load the checkpoint."""
    return IsobatchEngine(setup)
