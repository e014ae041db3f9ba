"""Loading a checkpoint folder: a trainable model, or one packed for inference.

Invariant: a packed model never holds a weight twice; the kernel of each unit is selected and its
weights are packed as soon as its tensors are read, before the next unit.
"""

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from isobatch.checkpoint import (
    ModelConfig,
    QuantizedTensor,
    read_config,
    read_stored_tensors,
    read_tensors,
)
from isobatch.kernels import (
    Int8Embedding,
    KernelChoice,
    KernelSelector,
    Linear,
    LinearWeights,
    Norm,
    PackedLinear,
    block_weights,
    check_precision,
    int8_weight,
)
from isobatch.model.block import Block, InferenceBlock, unscoped
from isobatch.model.encoder_model import EncoderModel
from isobatch.specification import NormStep
from isobatch.types import Precision, Rows, Task

_WORDS = "embeddings.word.weight"

Tensors = dict[str, Tensor | QuantizedTensor]


def empty_model(config: ModelConfig) -> EncoderModel:
    """Build the model with uninitialized parameters, in eval mode.

    Such memory is only reserved. torch's "meta" device would do the same, but its first use imports
    800 modules: 70 MB and 0.6 s.
    """
    return EncoderModel(config).eval()


def read_model(folder: Path, task: Task = "text-classification") -> EncoderModel:
    """Read the checkpoint in `folder` as a trainable model for `task`, in eval mode.

    Raises as `read_config` and `read_tensors` do.
    """
    config = read_config(folder, task)
    model = empty_model(config)
    tensors = read_tensors(folder, config, parameter_shapes(model))
    # assign: the tensors become the parameters themselves, so that none exists twice.
    model.load_state_dict({name: tensor.clone() for name, tensor in tensors}, assign=True)
    return model


def select_kernels(model: EncoderModel) -> tuple[KernelChoice, ...]:
    """Select kernels that read the model's own parameters at each call; it stays trainable.

    Raises NotInvariantError if no kernel passes its invariance check.
    """
    selector = KernelSelector(next(model.parameters()).device)
    for name in _units(model):
        unit = model.get_submodule(name)
        if isinstance(unit, Block):
            unit.select_kernels(selector)
        elif isinstance(unit, Linear):
            unit.kernel = selector.select_linear(unit.weights)
    model.embeddings.select_kernel(selector)
    _check_head(model, selector)
    return selector.choices


def read_packed_model(
    folder: Path,
    device: torch.device,
    precision: Precision = "fp32",
    config: ModelConfig | None = None,
) -> tuple[EncoderModel, tuple[KernelChoice, ...]]:
    """Read the checkpoint for inference only: kernels selected, every linear packed.

    config: as `read_config` returned it for the task; None for text classification. Raises as
    `read_model` does, PrecisionError if this machine does not support `precision`, and
    NotInvariantError if no kernel passes its invariance check.
    """
    check_precision(precision, device)
    config = config or read_config(folder)
    model = empty_model(config)
    selector = KernelSelector(device, precision)
    missing = _units(model)
    narrow = int8_weights(model) if precision == "int8" else ()
    read: defaultdict[str, Tensors] = defaultdict(dict)
    for name, tensor in read_stored_tensors(folder, config, parameter_shapes(model)):
        unit = _unit_of(name)
        if name in narrow:
            held: Tensor | QuantizedTensor = _narrowed(tensor)
        else:
            held = _widened(tensor, device, packed=_is_packed(model, name))
        read[unit][name.removeprefix(f"{unit}.")] = held
        missing[unit] -= 1
        if not missing[unit]:
            _pack_unit(model, unit, read.pop(unit), selector)
    model.embeddings.select_kernel(selector)
    _check_head(model, selector)
    if model.relative_positions is not None:
        model.relative_positions.freeze()
    return model, selector.choices


def int8_weights(model: EncoderModel) -> tuple[str, ...]:
    """Name the int8 tensors of precision "int8": the word table and the blocks' linears."""
    linears = (
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, Linear) and "blocks." in name
    )
    return (_WORDS, *linears)


def parameter_shapes(model: EncoderModel) -> dict[str, torch.Size]:
    """Return the shape of each parameter that a checkpoint must contain, by our names."""
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def _units(model: EncoderModel) -> Counter[str]:
    """Count the tensors of each unit: blocks whole, other modules singly."""
    return Counter(_unit_of(name) for name, _ in model.named_parameters())


def _unit_of(name: str) -> str:
    block = re.match(r"(decoder\.)?blocks\.\d+", name)
    return block[0] if block else name.rpartition(".")[0]


def _is_packed(model: EncoderModel, name: str) -> bool:
    """Return whether packing copies this tensor: until then it may stay a view of the file."""
    owner, _, attribute = name.rpartition(".")
    return attribute == "weight" and isinstance(model.get_submodule(owner), Linear)


def _narrowed(tensor: Tensor | QuantizedTensor) -> QuantizedTensor:
    """Bring one of `int8_weights` to int8, in memory of its own."""
    return int8_weight(tensor) if isinstance(tensor, Tensor) else tensor.clone()


def _widened(tensor: Tensor | QuantizedTensor, device: torch.device, *, packed: bool) -> Tensor:
    """Bring any other tensor to float32 on `device`."""
    widened = tensor if isinstance(tensor, Tensor) else tensor.dequantize()
    return widened.to(device, copy=not packed)


def _pack_unit(model: EncoderModel, name: str, tensors: Tensors, selector: KernelSelector) -> None:
    """Replace one unit of the model by its form for inference."""
    owner, _, attribute = name.rpartition(".")
    parent, unit = model.get_submodule(owner), model.get_submodule(name)
    if isinstance(unit, Block):
        named = {unscoped(each): tensor for each, tensor in tensors.items()}
        kernel = selector.select_packed_block(block_weights(unit.spec, named))
        setattr(parent, attribute, InferenceBlock(kernel))
        return
    weight = tensors["weight"]
    if isinstance(weight, QuantizedTensor):
        setattr(parent, attribute, Int8Embedding(weight))
    elif isinstance(unit, Linear):
        bias = _plain(tensors["bias"]) if "bias" in tensors else None
        layer = LinearWeights(weight, bias, unit.activation)
        setattr(parent, attribute, PackedLinear(layer, selector.select_linear(layer)))
    else:
        for each, tensor in tensors.items():
            setattr(unit, each, nn.Parameter(_plain(tensor), requires_grad=False))


def _check_head(model: EncoderModel, selector: KernelSelector) -> None:
    """Select the kernels of norms outside of layers, and check the pools."""
    spec, positions = model.head.spec, model.relative_positions
    norms = [model.final_norm, None if positions is None else positions.norm]
    if spec.rows is Rows.ALL:
        for pool in spec.pools:
            selector.select_pool(pool, model.config.encoder.hidden_size)
    for step in spec.steps:
        if isinstance(step, NormStep):
            norms.append(cast("Norm", model.head.get_submodule(step.name)))
    for norm in norms:
        if norm is not None:
            norm.kernel = selector.select_norm(norm.weights)


def _plain(tensor: Tensor | QuantizedTensor) -> Tensor:
    assert isinstance(tensor, Tensor)
    return tensor
