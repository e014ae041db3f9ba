"""Pipeline: texts → encodings → batch plan → packed batch → model → predictions, for every task.

A task is a subclass that defines how an output of the model becomes a prediction, and the columns
of a file that hold it. Invariant: the prediction for a text is a function of the text, the
checkpoint and the machine alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray

from isobatch import ambient
from isobatch.ambient import eager, isolated
from isobatch.batching.cache import Output, OutputCache
from isobatch.batching.packed import pack
from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.checkpoint import (
    HeadOptions,
    VectorOptions,
    bundled_folder,
    check_task,
    locate_checkpoint,
)
from isobatch.checkpoint.text_encoder import TextEncoder, raise_first_error
from isobatch.checkpoint.truncation import check_truncation
from isobatch.errors import InputError, OptionError
from isobatch.kernels import KernelChoice, arithmetic_name, this_machine
from isobatch.precision import ChosenPrecision
from isobatch.specification import NormalizeStep
from isobatch.tasks import model_engines as engines
from isobatch.tasks.input_texts import checked_iterable, listed, read_ahead
from isobatch.tasks.isolation import compute_each, encode_each
from isobatch.tasks.machine_options import check_machine_options
from isobatch.tasks.pickled_machine import check_machine
from isobatch.tasks.row_format import PredictionT, RowFormat
from isobatch.tasks.table_limits import TableLimits
from isobatch.tasks.window_pooling import compute_windows, pool_outputs
from isobatch.types import Encoding, EngineName, Precision, Task, TextInput, Truncation

TEXTS_AHEAD = 1024
"""How far `predict_stream` reads ahead: enough to fill batches with texts of one length."""


class Pipeline(ABC, Generic[PredictionT]):
    """Predicts one thing for each text, bit-identical in every batch. See `from_pretrained`.

    task: that of the heads that it loads. not_bundled: why it cannot load the bundled checkpoint.
    """

    task: ClassVar[Task] = "text-classification"
    not_bundled: ClassVar[str] = ""

    def __init__(
        self,
        model: engines.PackedModel,
        encoder: TextEncoder,
        choices: tuple[KernelChoice, ...],
        *,
        folder: Path,
        precision: ChosenPrecision,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        truncation: Truncation = "cut",
    ) -> None:
        """Take `model` and `choices` as an engine's `read_model` returned them for `folder`."""
        encoder.check(truncation)
        self.folder = folder
        self.choices = choices
        self.precision = precision.precision
        self.precision_reason = precision.reason
        self.max_batch_tokens = max_batch_tokens
        self.truncation = truncation
        self._model = model
        self._encoder = encoder
        self._limits = TableLimits(model.config.encoder, encoder)
        self._device: torch.device = next(model.parameters()).device
        self._uses_torch = ambient.uses_torch(choice.kernel for choice in choices)

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
        engine: EngineName = "native",
        group_equal_lengths: bool = False,
    ) -> Self:
        """Load a checkpoint: the bundled model (None), a folder, or a hub id.

        precision: how the products of the blocks are computed. "fp32", which is the default; "bf16"
        or "int8"; "auto" for the fastest that was verified to agree with fp32 for these weights
        (`isobatch precisions --save`). A quantized checkpoint is int8 by default.
        threads: sets torch's number of threads for the whole process; None leaves it.
        max_batch_tokens: tokens that are computed together; changes speed and memory, never bits.
        truncation: "cut" truncates a text to the model's length and marks it, "error" rejects it,
        "window" or TextWindows(stride, pooling) reads all of it, in windows of the model's length.
        engine: "transformers" computes an architecture that Isobatch does not have by that library,
        one text a call, in fp32. group_equal_lengths: there, compute texts of equal length
        together, which is faster and gives up batch invariance: last digits drift.
        Raises CheckpointError, OptionError, PrecisionError or DeviceError if this machine does not
        support the precision or the device, and NotInvariantError if no kernel is batch-invariant
        on it. Warns about tokens of the tokenizer that the model has no embedding for.
        """
        return cls._load(
            locate_checkpoint(path, revision),
            VectorOptions(),
            engines.engine_named(engine, group_equal_lengths=group_equal_lengths),
            precision=precision,
            device=device,
            threads=threads,
            max_batch_tokens=max_batch_tokens,
            truncation=truncation,
        )

    @classmethod
    def _load(
        cls,
        folder: Path,
        options: HeadOptions,
        engine: engines.ModelEngine,
        *,
        precision: Precision | Literal["auto"] | None,
        device: str,
        threads: int | None,
        max_batch_tokens: int,
        truncation: Truncation,
    ) -> Self:
        """Load a folder for a caller's caller, at whose line warnings are shown."""
        check_machine_options(device, threads, max_batch_tokens)
        check_truncation(truncation)
        is_pooled = isinstance(options, VectorOptions) and options.pooling is not None
        if cls.not_bundled and not is_pooled and folder == bundled_folder():
            raise OptionError(cls.not_bundled)
        if threads is not None:
            torch.set_num_threads(threads)
        with isolated():
            config = engine.read_config(folder, cls.task, options)
            check_task(folder, cls.task, config.stated_task)
            if config.stated_task == cls.task or not config.saved_by:
                cls._check_config(folder, config)  # else the missing head is the fault
            place = torch.device(device)
            chosen = engine.choose_precision(folder, precision, place)
            model, choices = engine.read_model(folder, place, chosen.precision, config)
        pipeline = cls(
            model,
            cls._read_encoder(folder, model.config, engine.read_tokenizer),
            choices,
            folder=folder,
            precision=chosen,
            max_batch_tokens=max_batch_tokens,
            truncation=truncation,
        )
        pipeline._limits.warn(stacklevel=3)
        return pipeline

    @classmethod
    def _check_config(cls, folder: Path, config: engines.PipelineConfig) -> None:
        """Raise CheckpointError, before weights are read, for what this class cannot take."""

    @classmethod
    def _read_encoder(
        cls, folder: Path, config: engines.PipelineConfig, read: engines.TokenizerReader
    ) -> TextEncoder:
        """Read the tokenizer of the checkpoint by `read`."""
        return TextEncoder(read(folder), config.encoder.max_tokens)

    @abstractmethod
    def decode(self, output: Output, encoding: Encoding) -> PredictionT:
        """Turn the model's output for one encoded text into its prediction."""

    @property
    @abstractmethod
    def row_format(self) -> RowFormat[PredictionT]:
        """The columns that a file job adds, and their values for a prediction."""

    @property
    def config(self) -> engines.PipelineConfig:
        return self._model.config

    @property
    def engine(self) -> EngineName:
        """The code that computes the model."""
        return engines.engine_of(self.arithmetic)

    @property
    def arithmetic(self) -> str:
        """The arithmetic: the outputs depend on it, besides checkpoint, precision and text.

        "isobatch-1" is the same on every machine; other names hold for machines with that name
        and the same kernels.
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
        """Predict for texts as they arrive, in order, reading at most TEXTS_AHEAD ahead.

        Equal texts are computed once, as long as they are in an OutputCache. Memory is bounded by
        those texts and the cache. An InputError has the index in the whole stream; it, or an error
        of the iterable, is raised after the predictions of all earlier texts.
        """
        remaining = iter(checked_iterable(texts))
        first_index = 0
        cache = OutputCache()
        failure: Exception | None = None
        while failure is None:
            ahead, failure = read_ahead(remaining, TEXTS_AHEAD)
            if not ahead and failure is None:
                return
            results = self._tokenize(ahead, truncation, first_index)
            for prediction in self._predictions(results, cache, first_index):
                if isinstance(prediction, InputError):
                    raise prediction
                yield prediction
            first_index += len(ahead)
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
        return self._tokenize(listed(texts), truncation)

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
        """Return the model's output for each encoding, or why there is none, without an index.

        The windows of a text are computed, and cached, like texts of their own.
        """
        return compute_windows(encodings, self._outputs, self._combine, cache)

    def _combine(self, outputs: Sequence[Output], encoding: Encoding) -> Output:
        """Return the output of a text in several windows from theirs, in the text's order."""
        steps = self.config.head.spec.steps
        normalize = bool(steps) and isinstance(steps[-1], NormalizeStep)
        return pool_outputs(outputs, encoding.window_pooling, normalize=normalize)

    @eager
    def _predict(self, encodings: Sequence[Encoding]) -> list[PredictionT]:
        outputs = self.forward(encodings)
        with ambient.default_float_environment():
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
        with ambient.default_float_environment():
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
        how = self.truncation if truncation is None else truncation

        def encode(part: Sequence[object], first: int) -> list[Encoding | InputError]:
            return self._encode_part(part, how, first)

        with ambient.default_float_environment():  # Unigram adds log-probabilities
            results = encode_each(encode, texts, first_index)
        return [
            self._limits.checked(result, index) if isinstance(result, Encoding) else result
            for index, result in enumerate(results, first_index)
        ]

    def _encode_part(
        self, texts: Sequence[object], truncation: Truncation, first_index: int
    ) -> list[Encoding | InputError]:
        """Encode texts, of which the first has `first_index`; exceptions are those of a text."""
        return self._encoder.encode_or_errors(texts, truncation, first_index)

    @eager
    @torch.inference_mode()
    def _outputs(self, encodings: Sequence[Encoding]) -> list[Output | InputError]:
        with isolated(self._device.type):
            if self._uses_torch:
                ambient.check_torch_settings(self._device)
            return compute_each(self._compute, encodings, self.max_batch_tokens)

    def _compute(self, encodings: Sequence[Encoding]) -> list[Output]:
        """Compute one batch, float32 [outputs] of each encoding, or [tokens, outputs]."""
        packed = pack(encodings, self.config.encoder.positions)
        rows: NDArray[np.float32] = self._model(packed.to(self._device)).cpu().numpy()
        if self.config.head.spec.pools:
            return list(rows)
        return np.split(rows, np.cumsum([len(encoding) for encoding in encodings[:-1]]))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle with the machine, for which the kernels were selected."""
        return {**self.__dict__, "machine": this_machine()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Raise CheckpointError on a machine that would compute other bits."""
        check_machine(state.pop("machine"), state, type(self).__name__)
        self.__dict__.update(state)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Copy the options, and share the model and the tokenizer, which never change."""
        return copy(self)
