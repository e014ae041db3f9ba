"""Pipeline: texts → encodings → batch plan → packed batch → model → predictions, for every task.

A task is a subclass that defines how an output of the model becomes a prediction, and the columns
of a file that hold it. Invariant: the prediction for a text is a function of the text, the
checkpoint and the machine alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray

from isobatch.ambient import (
    check_torch_settings,
    default_float_environment,
    eager,
    isolated,
    uses_torch,
)
from isobatch.batching.cache import Output, OutputCache
from isobatch.batching.packed import pack
from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.checkpoint import ModelConfig, locate_checkpoint
from isobatch.checkpoint.text_encoder import TextEncoder, check_truncation, raise_first_error
from isobatch.errors import CheckpointError, DeviceError, InputError, OptionError
from isobatch.kernels import KernelChoice, arithmetic_name, this_machine
from isobatch.model import SequenceClassifier, read_packed_model
from isobatch.precision import ChosenPrecision, choose_precision
from isobatch.tasks.isolation import compute_each, encode_each
from isobatch.tasks.table_limits import TableLimits
from isobatch.types import Encoding, Precision, TextInput, Truncation

DEVICES = ("cpu", "cuda")

WINDOW_TEXTS = 1024
"""How far `predict_stream` reads ahead: enough to fill batches with texts of one length."""

PredictionT = TypeVar("PredictionT")


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a file job adds: its name, and the kind of its values."""

    name: str
    kind: Literal["text", "number", "numbers", "flag"]


class RowFormat(ABC, Generic[PredictionT]):
    """How predictions become columns of a file. Plain data, so that it can be pickled.

    raw: also the model's own outputs. all_scores: also a score for every label.
    """

    labels: tuple[str, ...]

    @abstractmethod
    def columns(self, *, raw: bool, all_scores: bool) -> tuple[Column, ...]:
        """List the columns that are added, in the order of `values`."""

    @abstractmethod
    def values(self, prediction: PredictionT, *, raw: bool, all_scores: bool) -> list[object]:
        """Return the values of one prediction for `columns` with the same options."""


class Pipeline(ABC, Generic[PredictionT]):
    """Predicts one thing for each text, bit-identical in every batch. See `from_pretrained`."""

    def __init__(
        self,
        model: SequenceClassifier,
        encoder: TextEncoder,
        choices: tuple[KernelChoice, ...],
        *,
        folder: Path,
        precision: ChosenPrecision,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        truncation: Truncation = "cut",
    ) -> None:
        """Take `model` and `choices` as `read_packed_model` returned them for `folder`."""
        check_truncation(truncation)
        self.folder = folder
        self.choices = choices
        self.precision = precision.precision
        self.precision_reason = precision.reason
        self.max_batch_tokens = max_batch_tokens
        self.truncation = truncation
        self._model = model
        self._encoder = encoder
        self._limits = TableLimits(model.config.encoder, encoder)
        self._device = next(model.parameters()).device
        self._uses_torch = self._device.type == "cpu" and uses_torch(
            choice.kernel for choice in choices
        )

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
    ) -> Self:
        """Load a checkpoint: the bundled model (None), a folder, or a hub id.

        precision: how the products of the blocks are computed. "fp32", which is the default; "bf16"
        or "int8"; "auto" for the fastest that was verified to agree with fp32 for these weights
        (`isobatch precisions --save`). A quantized checkpoint is int8 by default.
        threads: sets torch's number of threads for the whole process; None leaves it.
        max_batch_tokens: tokens that are computed together; changes speed and memory, never bits.
        truncation: "cut" truncates a text to the model's length and marks it, "error" rejects it.
        Raises CheckpointError, OptionError, PrecisionError or DeviceError if this machine does not
        support the precision or the device, and NotInvariantError if no kernel is batch-invariant
        on it. Warns about tokens of the tokenizer that the model has no embedding for.
        """
        _check_options(device, threads, max_batch_tokens)
        check_truncation(truncation)
        if threads is not None:
            torch.set_num_threads(threads)
        folder = locate_checkpoint(path, revision)
        with isolated():
            chosen = choose_precision(folder, precision, torch.device(device))
            model, choices = read_packed_model(folder, torch.device(device), chosen.precision)
        encoder = TextEncoder.from_folder(folder, model.config.encoder.max_tokens)
        pipeline = cls(
            model,
            encoder,
            choices,
            folder=folder,
            precision=chosen,
            max_batch_tokens=max_batch_tokens,
            truncation=truncation,
        )
        pipeline._limits.warn(stacklevel=2)
        return pipeline

    @abstractmethod
    def decode(self, output: Output, encoding: Encoding) -> PredictionT:
        """Turn the model's output for one encoded text into its prediction."""

    @property
    @abstractmethod
    def row_format(self) -> RowFormat[PredictionT]:
        """The columns that a file job adds, and their values for a prediction."""

    @property
    def config(self) -> ModelConfig:
        return self._model.config

    @property
    def arithmetic(self) -> str:
        """The arithmetic: the outputs depend on it, besides checkpoint, precision and text.

        "isobatch-1" is the same on every machine; other names hold for machines with that name.
        """
        kernels = (choice.kernel for choice in self.choices)
        return arithmetic_name(kernels, self.precision, self.device)

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, special tokens included; longer texts are truncated."""
        return self._encoder.max_tokens

    @property
    def truncation_side(self) -> str:
        """The end of a text that is cut, "right" or "left", as the tokenizer's files say."""
        return self._encoder.truncation_side

    @property
    def device(self) -> torch.device:
        return self._device

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is an iterable of str
        self, texts: TextInput, *, truncation: Truncation | None = None
    ) -> PredictionT: ...
    @overload
    def __call__(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> list[PredictionT]: ...
    def __call__(
        self, texts: TextInput | Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> PredictionT | list[PredictionT]:
        """Predict for one text, one (text, text_pair) tuple, or a list of either, in order.

        Raises InputError with the index of the first non-text item, before computing anything.
        """
        if isinstance(texts, str | tuple):
            return self._predict(self._encode([texts], truncation))[0]
        return self.predict(texts, truncation=truncation)

    def predict(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> list[PredictionT]:
        """Predict for a list of texts, in order; raises as a call does."""
        return self._predict(self._encode(listed(texts), truncation))

    def predict_stream(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> Iterator[PredictionT]:
        """Predict for texts as they arrive, in order, reading at most WINDOW_TEXTS ahead.

        Equal texts are computed once, as long as they are in an OutputCache. Memory is bounded by
        the window and the cache. An InputError has the index in the whole stream; it, or an error
        of the iterable, is raised after the predictions of all earlier texts.
        """
        remaining = iter(texts)
        first_index = 0
        cache = OutputCache()
        failure: Exception | None = None
        while failure is None:
            window, failure = _read_window(remaining)
            if not window and failure is None:
                return
            results = self._tokenize(window, truncation, first_index)
            for prediction in self._predictions(results, cache, first_index):
                if isinstance(prediction, InputError):
                    raise prediction
                yield prediction
            first_index += len(window)
        raise failure

    def predict_or_errors(
        self,
        texts: Iterable[object],
        *,
        truncation: Truncation | None = None,
        cache: OutputCache | None = None,
    ) -> list[PredictionT | InputError]:
        """Return for each text, in order, its prediction, or the error that it causes.

        No text changes the prediction of another, whether it fails as an input, in the tokenizer or
        in the model. Reads from and fills `cache`, if given.
        """
        return self._predictions(self.tokenize(texts, truncation=truncation), cache)

    def tokenize(
        self, texts: Iterable[object], *, truncation: Truncation | None = None
    ) -> list[Encoding | InputError]:
        """Return for each text, in order, its encoding, or the error that it causes."""
        return self._tokenize(list(texts), truncation)

    def forward(
        self, encodings: Sequence[Encoding], cache: OutputCache | None = None
    ) -> list[Output]:
        """Return the model's output for each encoding, float32, in order.

        Raises InputError with the index of the first encoding that the model fails on.
        """
        outputs = []
        for index, output in enumerate(self.forward_or_errors(encodings, cache)):
            if isinstance(output, InputError):
                raise output.at(index)
            outputs.append(output)
        return outputs

    def forward_or_errors(
        self, encodings: Sequence[Encoding], cache: OutputCache | None = None
    ) -> list[Output | InputError]:
        """Return the model's output for each encoding, or why there is none, without an index."""
        if cache is None:
            return self._outputs(encodings)
        return cache.get_or_compute(encodings, self._outputs)

    @eager
    def _predict(self, encodings: Sequence[Encoding]) -> list[PredictionT]:
        outputs = self.forward(encodings)
        with default_float_environment():
            return [self.decode(*pair) for pair in zip(outputs, encodings, strict=True)]

    @eager
    def _predictions(
        self,
        results: Sequence[Encoding | InputError],
        cache: OutputCache | None = None,
        first_index: int = 0,
    ) -> list[PredictionT | InputError]:
        """Predict for each encoding, in order; an error stays, with its index."""
        encodings = [result for result in results if isinstance(result, Encoding)]
        outputs = iter(self.forward_or_errors(encodings, cache))
        predictions: list[PredictionT | InputError] = []
        with default_float_environment():
            for index, result in enumerate(results, first_index):
                if isinstance(result, InputError):
                    predictions.append(result)
                    continue
                output = next(outputs)
                if isinstance(output, InputError):
                    predictions.append(output.at(index))
                else:
                    predictions.append(self.decode(output, result))
        return predictions

    def _encode(self, texts: Sequence[TextInput], truncation: Truncation | None) -> list[Encoding]:
        return raise_first_error(self._tokenize(texts, truncation))

    @eager
    def _tokenize(
        self, texts: Sequence[object], truncation: Truncation | None, first_index: int = 0
    ) -> list[Encoding | InputError]:
        def encode(part: Sequence[object], first: int) -> list[Encoding | InputError]:
            return self._encoder.encode_or_errors(part, truncation or self.truncation, first)

        with default_float_environment():  # Unigram adds log-probabilities
            results = encode_each(encode, texts, first_index)
        return [
            self._limits.checked(result, index) if isinstance(result, Encoding) else result
            for index, result in enumerate(results, first_index)
        ]

    @eager
    @torch.inference_mode()
    def _outputs(self, encodings: Sequence[Encoding]) -> list[Output | InputError]:
        with isolated(self._device.type):
            if self._uses_torch:
                check_torch_settings()
            return compute_each(self._compute, encodings, self.max_batch_tokens)

    def _compute(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        """Compute one batch, float32 [encodings, outputs]."""
        packed = pack(encodings, self.config.encoder.positions)
        logits: NDArray[np.float32] = self._model(packed.to(self._device)).cpu().numpy()
        return logits

    def __getstate__(self) -> dict[str, Any]:
        """Pickle with the machine, for which the kernels were selected."""
        return {**self.__dict__, "machine": this_machine()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Raise CheckpointError on a machine that would compute other bits."""
        made, here, precision = state.pop("machine"), this_machine(), state["precision"]
        arithmetic = arithmetic_name((choice.kernel for choice in state["choices"]), precision)
        if not here.gives_bits_of(made, arithmetic, precision):
            name = type(self).__name__
            raise CheckpointError(
                f"this {name} was pickled on another machine ({made}; here: {here}), whose kernels "
                f"may give other bits here. Load it here: {name}.from_pretrained("
                f"{str(state['folder'])!r}, precision={state['precision']!r})"
            )
        self.__dict__.update(state)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Copy the options, and share the model and the tokenizer, which never change."""
        return copy(self)


def _read_window(texts: Iterator[TextInput]) -> tuple[list[TextInput], Exception | None]:
    """Read up to WINDOW_TEXTS, with the error that ended the reading before that, if any."""
    window: list[TextInput] = []
    try:
        window.extend(islice(texts, WINDOW_TEXTS))
    except Exception as error:  # noqa: BLE001  # raised by the caller
        return window, error
    return window, None


def listed(texts: object) -> list[Any]:
    """Collect an iterable of texts; raises InputError for a single text and for other types."""
    if isinstance(texts, str | tuple):
        raise InputError("expected a list of texts, got a single one. Put it into a list")
    if isinstance(texts, Mapping | bytes) or not isinstance(texts, Iterable):
        raise InputError(
            "expected a text, a (text, text_pair) tuple or a list of them, "
            f"got {type(texts).__name__}"
        )
    return list(texts)


def _check_options(device: str, threads: int | None, max_batch_tokens: int) -> None:
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise OptionError(f"device {device!r} is not supported. Use {' or '.join(DEVICES)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r}: torch finds no CUDA device. Use device='cpu'")
    if threads is not None and threads < 1:
        raise OptionError(f"threads must be at least 1, got {threads}")
    if max_batch_tokens < 1:
        raise OptionError(f"max_batch_tokens must be at least 1, got {max_batch_tokens}")
