"""Shapes of stored tensors against config.json: which key contradicts them, and its value."""

from collections.abc import Iterable, Mapping

import torch

from isobatch.checkpoint.config import ModelConfig
from isobatch.checkpoint.label_map import describe_rows
from isobatch.checkpoint.tensor_names import hub_name
from isobatch.checkpoint.weight_files import StoredTensor
from isobatch.errors import TensorMismatchError

_SIZES = {
    "embeddings.word.weight": ((0, "vocab_size"), (1, "embedding_size")),
    "embeddings.position.weight": ((0, "num_positions"), (1, "embedding_size")),
    "embeddings.token_type.weight": ((0, "type_vocab_size"), (1, "embedding_size")),
    "blocks.0.up.weight": ((0, "intermediate_size"), (1, "hidden_size")),
}
"""Tensors by whose axes a size of config.json is known."""

_OUTPUT = "head.output.weight"


def check_shapes(
    config: ModelConfig, shapes: Mapping[str, torch.Size], found: Mapping[str, StoredTensor]
) -> None:
    """Raise TensorMismatchError for the first tensor whose shape is not the one of `shapes`.

    shapes: by our names; found: by Hugging Face's.
    """
    wrong = {
        name: tensor
        for name, shape in shapes.items()
        if (tensor := found[hub_name(config.family, name)]).shape != tuple(shape)
    }
    if not wrong:
        return
    name, tensor = next(iter(wrong.items()))
    raise TensorMismatchError(
        f"{tensor.path}: {tensor.name} has shape {list(tensor.shape)}, but config.json implies "
        f"{list(shapes[name])}{_describe_fix(config, shapes, wrong)}"
    )


def _describe_fix(
    config: ModelConfig, shapes: Mapping[str, torch.Size], wrong: Mapping[str, StoredTensor]
) -> str:
    """Return the sentence that fixes it, from the blank on; empty where no key explains it."""
    if _are_pruned(config, wrong):
        return (
            ". Attention heads were pruned from it (pruned_heads in config.json), which neither "
            "transformers 5 nor Isobatch loads. Name the checkpoint before the pruning"
        )
    edits = {}
    for name, axes in _SIZES.items():
        for axis, field in axes:
            tensor = wrong.get(name)
            if tensor and len(tensor.shape) == 2 and tensor.shape[axis] != shapes[name][axis]:
                key = config.family.config_keys.get(field, ("",))[0]
                edits[key] = tensor.shape[axis]
    if edits and "" not in edits:
        written = ", ".join(f'"{key}": {value}' for key, value in edits.items())
        return f". If the file is the right one, in config.json, write {written}"
    output = wrong.get(_OUTPUT)
    if output and len(output.shape) == 2 and output.shape[1] == shapes[_OUTPUT][1]:
        rows = output.shape[0]
        return (
            f". The head has {rows} outputs, and id2label and num_labels of config.json say "
            f"{config.head.num_labels}. In config.json, {describe_rows(rows)}"
        )
    return ". Restore the config.json or the weights that were saved together"


def _are_pruned(config: ModelConfig, wrong: Iterable[str]) -> bool:
    layers = {name.split(".")[1] for name in wrong if name.startswith("blocks.")}
    return bool(layers) and layers <= {str(layer) for layer in config.pruned_layers}
