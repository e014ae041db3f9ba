"""Merging a LoRA adapter into the weights of its base model: W + s · B A.

Each sum is computed in float64 and rounded once, to the dtype of W. Invariant: every tensor of the
adapter is used, or the adapter is rejected by the name of the one that is not.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from isobatch.checkpoint.lora_settings import LoraSettings
from isobatch.errors import TensorMismatchError

_PREFIX = "base_model.model."
_MATRIX = re.compile(
    r"(?P<module>.+)\.lora_(?P<kind>A|B|embedding_A|embedding_B)(\.\w+)??(\.(?P<last>weight|bias))?"
)
_COPY = re.compile(r"\.modules_to_save(\.(?!weight$|bias$)\w+(?=\.))?")

_RESTORE = "Restore the adapter from where it was saved"

ReadName = Callable[[str], str]


@dataclass(slots=True)
class Adapter:
    """The tensors of an adapter by what they are for.

    matrices: of a module, by the name of the module and A or B. biases: of B, by module.
    replaced: whole tensors that take the place of the base model's, such as the trained head.
    """

    matrices: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)
    replaced: dict[str, Tensor] = field(default_factory=dict)


def sort_adapter(folder: Path, tensors: Mapping[str, Tensor]) -> Adapter:
    """Sort the tensors of an adapter, under the names of the model that it was made for.

    Raises TensorMismatchError for one that is neither LoRA's nor of a module trained as a whole.
    """
    adapter = Adapter()
    for stored, tensor in tensors.items():
        name = stored.removeprefix(_PREFIX)
        if found := _MATRIX.fullmatch(name):
            module, kind = found["module"], found["kind"]
            if found["last"] == "bias":
                adapter.biases[module] = tensor
            else:
                adapter.matrices.setdefault(module, {})[kind] = tensor
        elif "lora_" in name or "trainable_tokens" in name:
            raise TensorMismatchError(
                f"{folder}: {stored} belongs to a variant of LoRA that is not supported. Merge it "
                "with the code that trained it: model.merge_and_unload()"
            )
        elif ".original_module." not in name:
            adapter.replaced[_COPY.sub("", name).replace(".base_layer.", ".")] = tensor
    return adapter


def merge(
    folder: Path,
    base: Mapping[str, Tensor],
    adapter: Adapter,
    settings: LoraSettings,
    read_name: ReadName,
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of the merged model, and the names of those that were summed.

    base: by the names that `read_name` returns. Raises TensorMismatchError for a tensor without its
    counterpart in the base model.
    """
    tensors = dict(base)
    for name, tensor in adapter.replaced.items():
        tensors[read_name(name)] = tensor
    summed = []
    for module, matrices in adapter.matrices.items():
        name = read_name(f"{module}.weight")
        weight = _required(folder, tensors, name)
        tensors[name] = _sum(folder, name, weight, matrices, settings, module)
        summed.append(name)
        if module in adapter.biases:
            if "A" not in matrices:
                raise TensorMismatchError(
                    f"{folder}: {module} is a table of embeddings, and lora_B has a bias for it, "
                    f"which no table has. {_RESTORE}"
                )
            scale = settings.scale(module, len(matrices["A"]))
            name = read_name(f"{module}.bias")
            bias = _required(folder, tensors, name)
            total = bias.double() + adapter.biases[module].double() * scale
            tensors[name] = total.to(bias.dtype)
            summed.append(name)
    if lost := adapter.biases.keys() - adapter.matrices.keys():
        raise TensorMismatchError(
            f"{folder}: {min(lost)} has a bias of lora_B without matrices. {_RESTORE}"
        )
    return tensors, tuple(summed)


def _sum(
    folder: Path,
    name: str,
    weight: Tensor,
    matrices: Mapping[str, Tensor],
    settings: LoraSettings,
    module: str,
) -> Tensor:
    """Compute W + s · B A; for a table of embeddings, [tokens, hidden], B A is transposed."""
    first, second, transposed = "A", "B", False
    if "embedding_A" in matrices:
        first, second, transposed = "embedding_A", "embedding_B", True
    if matrices.keys() != {first, second}:
        raise TensorMismatchError(f"{folder}: {module} has only lora_{min(matrices)}. {_RESTORE}")
    a, b = matrices[first], matrices[second]
    fits = a.ndim == b.ndim == 2 and len(a) == b.shape[1] > 0
    change = (b.shape[0], a.shape[1]) if fits else ()
    if not fits or (change[::-1] if transposed else change) != tuple(weight.shape):
        raise TensorMismatchError(
            f"{folder}: lora_A {list(a.shape)} and lora_B {list(b.shape)} of {module} do not fit "
            f"{name} {list(weight.shape)} of the base model. Use the model that the adapter was "
            "trained on: --base"
        )
    product = b.double() @ a.double()
    scaled = (product.T if transposed else product) * settings.scale(module, len(a))
    return (weight.double() + scaled).to(weight.dtype)


def _required(folder: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise TensorMismatchError(
            f"{folder}: the adapter changes {name}, which the base model does not have. Specify "
            "the model that the adapter was trained on: --base"
        )
    if not tensors[name].is_floating_point():
        raise TensorMismatchError(
            f"{folder}: {name} of the base model is {tensors[name].dtype}. Use the model "
            "before it was quantized: --base"
        )
    return tensors[name]
