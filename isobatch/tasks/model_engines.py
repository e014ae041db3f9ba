"""Engines: the code that computes a model, Isobatch's own or transformers; a pipeline uses either.

An engine reads the configuration, the model and the tokenizer of a folder; a pipeline takes the
three without asking where they are from. Invariant: the engine is the one that the caller names,
never a fallback.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint import HeadConfig, HeadOptions, ModelConfig, read_config
from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer, read_tokenizer
from isobatch.errors import OptionError
from isobatch.kernels import KernelChoice
from isobatch.kernels.arithmetic import LIBRARY
from isobatch.model import EncoderModel, read_packed_model
from isobatch.precision import ChosenPrecision, choose_precision
from isobatch.specification import PositionRule
from isobatch.types import ENGINES, EngineName, Precision, Task


class FamilyName(Protocol):
    """An architecture."""

    @property
    def model_type(self) -> str: ...


class TableSizes(Protocol):
    """The sizes of a model's tables and rows; 0 token types for a model that reads none."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def type_vocab_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def positions(self) -> PositionRule: ...


class PipelineConfig(Protocol):
    """The part of a configuration that a pipeline reads, of ModelConfig and LibraryConfig."""

    @property
    def family(self) -> FamilyName: ...
    @property
    def encoder(self) -> TableSizes: ...
    @property
    def head(self) -> HeadConfig: ...
    @property
    def task(self) -> Task: ...
    @property
    def stated_task(self) -> Task | None: ...
    @property
    def saved_by(self) -> str | None: ...


class PackedModel(Protocol):
    """A model for a pipeline: PackedBatch → [sequences, outputs] or [tokens, outputs]."""

    @property
    def config(self) -> PipelineConfig: ...
    def __call__(self, batch: PackedBatch) -> Tensor: ...
    def parameters(self) -> Iterator[Any]: ...


class TokenizerReader(Protocol):
    """Reads the tokenizer in a folder, as `read_tokenizer` does."""

    def __call__(
        self, folder: Path, overrides: Mapping[str, object] | None = None
    ) -> CheckpointTokenizer: ...


class ModelEngine(Protocol):
    """An engine. `config` is what its own `read_config` returned."""

    @property
    def name(self) -> EngineName: ...
    def read_config(self, folder: Path, task: Task, options: HeadOptions) -> PipelineConfig: ...
    def choose_precision(
        self, folder: Path, requested: str | None, device: torch.device
    ) -> ChosenPrecision: ...
    def read_model(
        self, folder: Path, device: torch.device, precision: Precision, config: Any
    ) -> tuple[PackedModel, tuple[KernelChoice, ...]]: ...
    def read_tokenizer(
        self, folder: Path, overrides: Mapping[str, object] | None = None
    ) -> CheckpointTokenizer: ...


@dataclass(frozen=True, slots=True)
class NativeEngine:
    """Isobatch's own encoder."""

    name: EngineName = "native"

    def read_config(self, folder: Path, task: Task, options: HeadOptions) -> ModelConfig:
        """Read the configuration; raises as the function of that name."""
        return read_config(folder, task, options)

    def choose_precision(
        self, folder: Path, requested: str | None, device: torch.device
    ) -> ChosenPrecision:
        """Choose a precision; raises as the function of that name."""
        return choose_precision(folder, requested, device)

    def read_model(
        self, folder: Path, device: torch.device, precision: Precision, config: ModelConfig
    ) -> tuple[EncoderModel, tuple[KernelChoice, ...]]:
        """Read the weights; raises as `read_packed_model`."""
        return read_packed_model(folder, device, precision, config)

    def read_tokenizer(
        self, folder: Path, overrides: Mapping[str, object] | None = None
    ) -> CheckpointTokenizer:
        """Read the tokenizer; raises as the function of that name."""
        return read_tokenizer(folder, overrides)


def engine_named(name: str, *, group_equal_lengths: bool = False) -> ModelEngine:
    """Return the engine with that name; raises OptionError for options that it does not have."""
    if name not in ENGINES:
        raise OptionError(f"engine {name!r} is not supported. Use one of: {', '.join(ENGINES)}")
    if not isinstance(group_equal_lengths, bool):
        raise OptionError(f"group_equal_lengths must be True or False, got {group_equal_lengths!r}")
    if name == "native":
        if group_equal_lengths:
            raise OptionError(
                'group_equal_lengths is for engine="transformers": Isobatch\'s own batches never '
                "change a result. Leave it out"
            )
        return NativeEngine()
    from isobatch.transformers_engine.library_engine import (
        TransformersEngine,
    )  # torch's and its own imports

    return TransformersEngine(group_equal_lengths)


def engine_of(arithmetic: str) -> EngineName:
    """Return the engine that results with this arithmetic are from."""
    return "transformers" if arithmetic.startswith(LIBRARY) else "native"
