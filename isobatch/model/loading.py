"""From a checkpoint folder to a model: plain to be trained, or packed to be asked.

It knows no text. Invariant: a packed model never holds a weight twice; each layer is proved and
packed as its tensors arrive, before the next one is read.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from isobatch.checkpoint import ModelConfig, read_config, read_tensors
from isobatch.model.classifier import SequenceClassifier
from isobatch.numerics import Choice, KernelSettler, Linear, PackedAttention


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
    tensors = read_tensors(folder, config, _shapes(empty_model(config)))
    return load_model(config, {name: tensor.clone() for name, tensor in tensors})


def read_packed_model(
    folder: Path, device: torch.device
) -> tuple[SequenceClassifier, tuple[Choice, ...]]:
    """Read the checkpoint for inference only: kernels settled, every linear packed.

    Errors as in `read_model`, and NotInvariantError if a kernel cannot be found.
    """
    config = read_config(folder)
    model = empty_model(config)
    settler = KernelSettler(device)
    shapes = _shapes(model)
    awaited = Counter(name.rpartition(".")[0] for name in shapes)
    for name, tensor in read_tensors(folder, config, shapes):
        owner, _, attribute = name.rpartition(".")
        module = model.get_submodule(owner)
        to_be_packed = isinstance(module, Linear) and attribute == "weight"
        kept = tensor.to(device, copy=not to_be_packed)
        setattr(module, attribute, nn.Parameter(kept, requires_grad=False))
        awaited[owner] -= 1
        if not awaited[owner]:
            settler.settle(module)
            if isinstance(module, Linear):
                module.prepack()
    for module in model.modules():
        if isinstance(module, PackedAttention):
            settler.settle(module)
    return model, settler.choices


def _shapes(model: SequenceClassifier) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters()}
