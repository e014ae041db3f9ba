"""TransformersEngine: reads config, model and tokenizer of any architecture of transformers."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isobatch.checkpoint import Dropouts, HeadOptions
from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer
from isobatch.checkpoint.families.family import other_heads
from isobatch.checkpoint.sentence_modules import module_tensors
from isobatch.checkpoint.weight_files import list_names, stored_tensors
from isobatch.checkpoint.weights import load_tensor
from isobatch.errors import (
    CheckpointError,
    IsobatchError,
    MissingHeadError,
    PrecisionError,
    TensorMismatchError,
)
from isobatch.kernels import KernelChoice, KernelSelector, Linear, NormWeights
from isobatch.model.head import Head
from isobatch.precision import AUTO, ChosenPrecision
from isobatch.specification import HeadSpec, LibraryStep, NormStep
from isobatch.transformers_engine.call_check import check_calls, sample_encodings
from isobatch.transformers_engine.library import library, quiet, random_tensors
from isobatch.transformers_engine.library_config import LibraryConfig, read_library_config
from isobatch.transformers_engine.library_model import LibraryModel
from isobatch.transformers_engine.library_tokenizer import read_library_tokenizer
from isobatch.types import EngineName, Precision, Rows, Task

Loaded = tuple[LibraryModel, tuple[KernelChoice, ...]]


@dataclass(frozen=True, slots=True)
class TransformersEngine:
    """Loads checkpoints by transformers. groups: texts of equal length are computed together."""

    groups: bool = False
    name: EngineName = "transformers"

    def read_config(self, folder: Path, task: Task, options: HeadOptions) -> LibraryConfig:
        """Read the configuration; raises as `read_library_config`."""
        return read_library_config(folder, task, options)

    def choose_precision(
        self, folder: Path, requested: str | None, device: torch.device
    ) -> ChosenPrecision:
        """Return fp32, the only precision. Raises PrecisionError for another one."""
        del folder, device
        if requested not in (None, AUTO, "fp32"):
            raise PrecisionError(
                f"precision {requested!r} is not supported by engine='transformers', which "
                "computes in fp32. Leave it out"
            )
        reason = "as requested" if requested == "fp32" else f"the only one of engine {self.name}"
        return ChosenPrecision("fp32", reason)

    def read_tokenizer(
        self, folder: Path, overrides: Mapping[str, object] | None = None
    ) -> CheckpointTokenizer:
        """Read the tokenizer; raises as `read_library_tokenizer`."""
        return read_library_tokenizer(folder, overrides)

    def read_model(
        self, folder: Path, device: torch.device, precision: Precision, config: LibraryConfig
    ) -> Loaded:
        """Read the model and check its calls.

        Raises CheckpointError for weights that cannot be read or are not those of the model, and
        NotInvariantError if the bits of a text are not the same in every call.
        """
        stored_tensors(folder)  # for the errors: missing files, pickles, files cut short
        tokenizer = self.read_tokenizer(folder)
        selector = KernelSelector(device, precision)
        module = _load(folder, config).to(device)
        head = _read_head(folder, config, selector, device)
        typed = tokenizer.passes_token_types
        model = LibraryModel(module, config, head, typed=typed, groups=self.groups).eval()
        model.config = _measured(model, module)
        try:
            sample = sample_encodings(tokenizer, model.config.encoder)
            check_calls(model, sample, device)
        except IsobatchError as error:
            if str(folder) in str(error):
                raise
            raise type(error)(f"{folder}: {error}") from error
        return model, (self._choice(module), *selector.choices)

    def _choice(self, module: Any) -> KernelChoice:
        kernel = f"transformers {library().__version__}"
        name = f"model {type(module).__name__}"
        if self.groups:
            reason = (
                "texts of equal length are computed together (group_equal_lengths): a text's last "
                "digits may drift with the others"
            )
            return KernelChoice(name, f"{kernel} drift", reason)
        return KernelChoice(
            name,
            kernel,
            "one text per call and one thread; same bits with 1, 2 and all threads, after other "
            "calls and next to other texts",
        )


def _load(folder: Path, config: LibraryConfig) -> Any:
    """Load the model by the library. Raises for tensors that are missing, misshapen or unknown.

    In a thread of its own: the library builds models under a mode of torch, which are suspended in
    this thread; without it, tables that no file has, such as position_ids, stay uninitialized.
    """
    auto = getattr(library(), config.auto_class)
    read = partial(
        auto.from_pretrained,
        folder,
        config=config.settings,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    try:
        with quiet(), ThreadPoolExecutor(1) as thread:
            module, loaded = thread.submit(read).result()
    except Exception as error:  # a broken file raises what its reader raises
        raise CheckpointError(
            f"{folder}: transformers cannot load it by {config.auto_class}: {error}"
        ) from error
    _check_loaded(folder, config, module, loaded)
    align_tensors(module)
    return module.eval().requires_grad_(False)


def align_tensors(module: nn.Module) -> None:
    """Move each tensor to memory of its own, which torch aligns to 64 bytes.

    The tensors of a file are where its header ends, and a product with such a weight had other bits
    (ConvBERT), so that a pickled copy of the model would have had other results.
    """
    for each in (*module.parameters(), *module.buffers()):
        each.data = each.data.clone(memory_format=torch.contiguous_format)


def _check_loaded(
    folder: Path, config: LibraryConfig, module: Any, loaded: Mapping[str, Any]
) -> None:
    """Reject tensors that the library drew at random, and those that it left unused."""
    prefix = f"{module.base_model_prefix}."
    of_heads = other_heads(prefix)
    hidden_only = not _has_own_head(config.head.spec)
    missing = random_tensors(loaded)
    if hidden_only:  # no last hidden state depends on a pooler
        missing = [name for name in missing if "pooler." not in name]
    if missing and not any(name.startswith(prefix) for name in missing) and not hidden_only:
        raise MissingHeadError(
            f"{folder}: has no head for {config.task} ({list_names(missing)} is missing), so its "
            "results would be random. Use a checkpoint that was trained for it"
        )
    if missing:
        raise TensorMismatchError(
            f"{folder}: missing or of the wrong shape: {list_names(missing)}. Restore the file "
            "from where the model was saved"
        )
    unknown = [
        name
        for name in map(str, loaded["unexpected_keys"])
        if not any(fnmatchcase(name, pattern) for pattern in of_heads)
    ]
    if unknown:
        raise TensorMismatchError(
            f"{folder}: unexpected: {list_names(sorted(unknown))}. config.json may be that of "
            "another model: restore both from one source"
        )


def _has_own_head(spec: HeadSpec) -> bool:
    return any(isinstance(step, LibraryStep) for step in spec.steps)


def _read_head(
    folder: Path, config: LibraryConfig, selector: KernelSelector, device: torch.device
) -> Head | None:
    """Read what follows the last hidden states; None for a head of the library's class."""
    spec = config.head.spec
    if _has_own_head(spec):
        return None
    head = Head(spec, Dropouts()).eval()
    shapes = {f"head.{name}": each.shape for name, each in head.named_parameters()}
    tensors = {
        name.removeprefix("head."): load_tensor(stored).to(device, torch.float32, copy=True)
        for name, stored in module_tensors(folder, config.head.modules, shapes)
    }
    head.load_state_dict(tensors, assign=True)
    head.requires_grad_(False)
    for module in head.modules():
        if isinstance(module, Linear):
            module.kernel = selector.select_linear(module.weights)
    if spec.rows is Rows.ALL:
        for pool in spec.pools:
            selector.select_pool(pool, config.encoder.hidden_size)
    for step in spec.steps:
        if isinstance(step, NormStep):
            norm: Any = head.get_submodule(step.name)
            selector.select_norm(NormWeights(norm.weight, norm.bias, norm.eps))
    return head


def _measured(model: LibraryModel, module: Any) -> LibraryConfig:
    """Return the configuration with the sizes of the tables that the model has."""
    sizes = model.config.encoder
    try:
        num_words = int(module.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError):  # of a class without such a table
        num_words = sizes.vocab_size
    rows = model.position_rows()
    return replace(
        model.config,
        encoder=replace(
            sizes,
            vocab_size=num_words,
            max_tokens=sizes.max_tokens if rows is None else min(rows, sizes.max_tokens),
        ),
    )
