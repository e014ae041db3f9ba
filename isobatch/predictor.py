"""Classifier: texts in, answers out; the whole way from tokens to plan to packed batch to model.

It prints nothing, knows no files but the checkpoint's, and keeps nothing beyond one call.
Invariant: the answer for a text is a function of the text, the checkpoint and the machine alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray

from isobatch.cache import Logits, LogitsCache
from isobatch.checkpoint import ModelConfig, locate_checkpoint
from isobatch.core import Encoding, Precision, Prediction, TextInput, predict
from isobatch.errors import InputError, OptionError
from isobatch.model import SequenceClassifier, read_packed_model
from isobatch.numerics import Choice
from isobatch.packed import pack
from isobatch.plan import MAX_BATCH_TOKENS, plan_batches
from isobatch.precision import ChosenPrecision, choose_precision
from isobatch.tokens import TextEncoder, Truncation, check_truncation

DEVICES = ("cpu", "cuda")

WINDOW_TEXTS = 1024
"""How far `stream` reads ahead: enough to fill batches with texts of one length."""


class Classifier:
    """A text classifier whose answers do not depend on the batch. Make it by `from_pretrained`."""

    def __init__(
        self,
        model: SequenceClassifier,
        encoder: TextEncoder,
        choices: tuple[Choice, ...],
        *,
        folder: Path,
        precision: ChosenPrecision,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        truncation: Truncation = "cut",
    ) -> None:
        """`model` and `choices` as `read_packed_model` gives them for `folder` and `precision`."""
        check_truncation(truncation)
        self.folder = folder
        self.choices = choices
        self.precision = precision.precision
        self.precision_reason = precision.reason
        self.max_batch_tokens = max_batch_tokens
        self.truncation = truncation
        self._model = model
        self._encoder = encoder
        self._device = next(model.parameters()).device

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        *,
        precision: Precision | Literal["auto"] | None = None,
        device: str = "cpu",
        threads: int | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        truncation: Truncation = "cut",
        revision: str | None = None,
    ) -> "Classifier":
        """Load a checkpoint: the bundled model (None), a folder, or a hub id.

        precision: how the products of the blocks are computed. "fp32", which is the default; "bf16"
        or "int8"; "auto" for the fastest whose nearness to fp32 was shown for these weights
        (`isobatch precisions --save`). A checkpoint that was quantised is int8 by default.
        threads: sets torch's number of threads, which is the whole process's; None leaves it.
        max_batch_tokens: tokens that are computed together; changes speed and memory, never bits.
        truncation: "cut" cuts a text to the model's length and marks it, "error" refuses it.
        Raises CheckpointError, OptionError, PrecisionError if this machine cannot compute the
        precision, and NotInvariantError if it cannot keep the promise.
        """
        _check_options(device, threads, max_batch_tokens)
        check_truncation(truncation)
        if threads is not None:
            torch.set_num_threads(threads)
        folder = locate_checkpoint(path, revision)
        chosen = choose_precision(folder, precision, torch.device(device))
        model, choices = read_packed_model(folder, torch.device(device), chosen.precision)
        encoder = TextEncoder.from_folder(folder, model.config.encoder.max_tokens)
        return cls(
            model,
            encoder,
            choices,
            folder=folder,
            precision=chosen,
            max_batch_tokens=max_batch_tokens,
            truncation=truncation,
        )

    @property
    def config(self) -> ModelConfig:
        return self._model.config

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.config.head.labels

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, special tokens included; what is longer is cut."""
        return self._encoder.max_tokens

    @property
    def device(self) -> torch.device:
        return self._device

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is an iterable of str
        self, texts: TextInput, *, truncation: Truncation | None = None
    ) -> Prediction: ...
    @overload
    def __call__(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> list[Prediction]: ...
    def __call__(
        self, texts: TextInput | Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> Prediction | list[Prediction]:
        """Classify one text, one (text, text_pair) tuple, or a list of either, in order.

        InputError names the index of what is no text; nothing is computed then.
        """
        if isinstance(texts, str | tuple):
            return self._predict(self._encode([texts], truncation))[0]
        return self._predict(self._encode(_listed(texts), truncation))

    def stream(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> Iterator[Prediction]:
        """Classify texts as they come, in order, reading at most WINDOW_TEXTS ahead.

        Equal texts are computed once, as far back as a LogitsCache remembers. Memory is bounded by
        the window and the cache. An InputError names the index in the whole stream and comes after
        the answers of earlier windows.
        """
        remaining = iter(texts)
        first_index = 0
        cache = LogitsCache()
        while window := list(islice(remaining, WINDOW_TEXTS)):
            encodings = self._encode(window, truncation, first_index)
            yield from self._predict(encodings, cache)
            first_index += len(window)

    def attempt(
        self,
        texts: Iterable[object],
        *,
        truncation: Truncation | None = None,
        cache: LogitsCache | None = None,
    ) -> list[Prediction | InputError]:
        """For each text, in order, its answer, or the error that says why there is none.

        What `cache` knows is not computed again; what is computed, it keeps.
        """
        results = self.encode(texts, truncation=truncation)
        encodings = [result for result in results if isinstance(result, Encoding)]
        answers = iter(self._predict(encodings, cache))
        return [next(answers) if isinstance(result, Encoding) else result for result in results]

    def encode(
        self, texts: Iterable[object], *, truncation: Truncation | None = None
    ) -> list[Encoding | InputError]:
        """The first half of `attempt`: each text as the model reads it, or why it cannot be."""
        return self._encoder.attempt(list(texts), truncation or self.truncation)

    def compute(
        self, encodings: Sequence[Encoding], cache: LogitsCache | None = None
    ) -> list[Logits]:
        """The second half: logits of each encoding, in order, by `cache` where it knows them."""
        if cache is None:
            return [tuple(row) for row in self._logits(encodings).tolist()]
        return cache.recall(encodings, self.compute)

    def logits(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> NDArray[np.float32]:
        """Logits of a list of texts, float32 [texts, num_labels], in order."""
        if isinstance(texts, str | tuple):
            raise InputError("logits() takes a list of texts; put a single one into a list")
        return self._logits(self._encode(_listed(texts), truncation))

    def _predict(
        self, encodings: Sequence[Encoding], cache: LogitsCache | None = None
    ) -> list[Prediction]:
        activation = self.config.head.score_activation
        return [
            predict(row, self.labels, activation, encoding)
            for row, encoding in zip(self.compute(encodings, cache), encodings, strict=True)
        ]

    def _encode(
        self, texts: Sequence[TextInput], truncation: Truncation | None, first_index: int = 0
    ) -> list[Encoding]:
        return self._encoder.encode(texts, truncation or self.truncation, first_index)

    @torch.inference_mode()
    def _logits(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        padding_idx = self.config.encoder.padding_idx
        logits = np.empty((len(encodings), len(self.labels)), dtype=np.float32)
        lengths = [len(encoding) for encoding in encodings]
        for batch in plan_batches(lengths, self.max_batch_tokens):
            packed = pack([encodings[index] for index in batch], padding_idx)
            logits[list(batch)] = self._model(packed.to(self._device)).cpu().numpy()
        return logits


def _listed(texts: object) -> list[TextInput]:
    """A list of any iterable of texts; what could only be meant otherwise is refused."""
    if isinstance(texts, Mapping | bytes) or not isinstance(texts, Iterable):
        raise InputError(
            "expected a text, a (text, text_pair) tuple or a list of them, "
            f"got {type(texts).__name__}"
        )
    return list(texts)


def _check_options(device: str, threads: int | None, max_batch_tokens: int) -> None:
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise OptionError(f"device {device!r} is not supported; use {' or '.join(DEVICES)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {device!r}: this torch sees no CUDA device; use device='cpu'")
    if threads is not None and threads < 1:
        raise OptionError(f"threads must be at least 1, got {threads}")
    if max_batch_tokens < 1:
        raise OptionError(f"max_batch_tokens must be at least 1, got {max_batch_tokens}")
