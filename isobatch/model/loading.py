"""From a checkpoint folder to a model: plain to be trained, or packed to be asked.

It knows no text. Invariant: a packed model never holds a weight twice; each layer is proved and
packed as its tensors arrive, before the next one is read.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from isobatch.checkpoint import (
    ModelConfig,
    QuantisedTensor,
    read_config,
    read_stored_tensors,
    read_tensors,
)
from isobatch.core import Precision
from isobatch.model.block import Block
from isobatch.model.classifier import SequenceClassifier
from isobatch.numerics import (
    Choice,
    Int8Embedding,
    KernelSettler,
    Linear,
    QuantisedWeight,
    check_precision,
    quantise_weight,
)

_WORDS = "embeddings.word.weight"


def empty_model(config: ModelConfig) -> SequenceClassifier:
    """The model with parameters that nothing has been written to; in eval mode.

    Such memory is only reserved. torch's "meta" device would say the same, but its first use
    imports 800 modules: 70 MB and 0.6 s.
    """
    return SequenceClassifier(config).eval()


def load_model(config: ModelConfig, tensors: Mapping[str, Tensor]) -> SequenceClassifier:
    """Build the model around `tensors` (our names), in eval mode.

    The tensors become the parameters themselves: nothing is initialised or copied.
    """
    model = empty_model(config)
    model.load_state_dict(tensors, assign=True)
    return model


def read_model(folder: Path) -> SequenceClassifier:
    """Read the checkpoint in `folder`; errors as in `read_config` and `read_tensors`."""
    config = read_config(folder)
    tensors = read_tensors(folder, config, parameter_shapes(empty_model(config)))
    return load_model(config, {name: tensor.clone() for name, tensor in tensors})


def settle_plain(model: SequenceClassifier) -> tuple[Choice, ...]:
    """Choose kernels that read the model's own parameters at each call; the model stays trainable.

    NotInvariantError if a kernel cannot be found.
    """
    settler = KernelSettler(next(model.parameters()).device)
    for unit in _units(model):
        _settle(model.get_submodule(unit), settler, packed=False)
    return settler.choices


def read_packed_model(
    folder: Path, device: torch.device, precision: Precision = "fp32"
) -> tuple[SequenceClassifier, tuple[Choice, ...]]:
    """Read the checkpoint for inference only: kernels settled, every linear packed.

    Errors as in `read_model`, PrecisionError if this machine cannot compute `precision`, and
    NotInvariantError if a kernel cannot be found.
    """
    check_precision(precision, device)
    config = read_config(folder)
    model = empty_model(config)
    settler = KernelSettler(device, precision)
    awaited = _units(model)
    narrow = int8_weights(model) if precision == "int8" else ()
    for name, tensor in read_stored_tensors(folder, config, parameter_shapes(model)):
        if name in narrow:
            _assign_narrow(model, name, tensor, device)
        else:
            widened = tensor if isinstance(tensor, Tensor) else tensor.dequantised()
            _assign(model, name, widened, device)
        unit = _unit_of(name)
        awaited[unit] -= 1
        if not awaited[unit]:
            _settle(model.get_submodule(unit), settler, packed=True)
    return model, settler.choices


def int8_weights(model: SequenceClassifier) -> tuple[str, ...]:
    """Names of what precision "int8" holds in int8: the word table and the blocks' linears."""
    modules = model.blocks.named_modules(prefix="blocks")
    linears = (f"{name}.weight" for name, module in modules if isinstance(module, Linear))
    return (_WORDS, *linears)


def parameter_shapes(model: SequenceClassifier) -> dict[str, torch.Size]:
    """The shape of each parameter, by our names: what a checkpoint must hold."""
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def _units(model: SequenceClassifier) -> Counter[str]:
    """What is settled as one, blocks whole and other modules singly, and its number of tensors."""
    return Counter(_unit_of(name) for name, _ in model.named_parameters())


def _unit_of(name: str) -> str:
    first, *others = name.split(".")
    return f"{first}.{others[0]}" if first == "blocks" else name.rpartition(".")[0]


def _assign(model: SequenceClassifier, name: str, tensor: Tensor, device: torch.device) -> None:
    """Give a module its tensor; a weight that is packed soon may stay a view of the file."""
    owner, _, attribute = name.rpartition(".")
    module = model.get_submodule(owner)
    to_be_packed = isinstance(module, Linear) and attribute == "weight"
    kept = tensor.to(device, copy=not to_be_packed)
    setattr(module, attribute, nn.Parameter(kept, requires_grad=False))


def _assign_narrow(
    model: SequenceClassifier, name: str, tensor: Tensor | QuantisedTensor, device: torch.device
) -> None:
    """The same for one of `int8_weights`: rounded already, or rounded here or by its kernel."""
    if name == _WORDS:
        model.embeddings.word = Int8Embedding(_in_int8(tensor))
    elif isinstance(tensor, Tensor):
        _assign(model, name, tensor, device)
    else:
        module = model.get_submodule(name.rpartition(".")[0])
        assert isinstance(module, Linear)
        module.quantised = _in_int8(tensor)


def _in_int8(tensor: Tensor | QuantisedTensor) -> QuantisedWeight:
    """In memory of its own, not the file's."""
    if isinstance(tensor, Tensor):
        return quantise_weight(tensor)
    return QuantisedWeight(tensor.values.clone(), tensor.scale.clone())


def _settle(module: nn.Module, settler: KernelSettler, *, packed: bool) -> None:
    """Choose the kernels of a block or of a single layer, and pack its weights if so asked."""
    if isinstance(module, Block):
        module.kernel = settler.settle_block(module.layers, packed=packed)
        linears, computed_whole = module.layers.linears, module.kernel is not None
    else:
        settler.settle(module)
        linears = (module,) if isinstance(module, Linear) else ()
        computed_whole = False
    if packed:
        for linear in linears:
            linear.forget_weight() if computed_whole else linear.prepack()
