"""Shapes of stored tensors against config.json: which key contradicts them, and its value."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from isobatch.checkpoint.config import ModelConfig
from isobatch.checkpoint.families.family import TensorPart
from isobatch.checkpoint.label_map import describe_rows
from isobatch.checkpoint.tensor_names import place_of
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
    places = {name: place_of(config.family, name) for name in shapes}
    wrong = {
        name: part_shape(tensor.shape, place)
        for name, place in places.items()
        if (tensor := found[place.name]).shape != whole_shape(shapes[name], place)
    }
    if not wrong:
        return
    name = next(iter(wrong))
    tensor = found[places[name].name]
    raise TensorMismatchError(
        f"{tensor.path}: {tensor.name} has shape {list(tensor.shape)}, but config.json implies "
        f"{list(whole_shape(shapes[name], places[name]))}{_describe_fix(config, shapes, wrong)}"
    )


def whole_shape(shape: Sequence[int], place: TensorPart) -> tuple[int, ...]:
    """Return the shape of the stored tensor of which a part of `shape` is at `place`."""
    return (shape[0] * place.of, *shape[1:]) if place.of > 1 else tuple(shape)


def part_shape(shape: Sequence[int], place: TensorPart) -> tuple[int, ...]:
    """Return the shape of the part at `place`; the whole one where rows are not split evenly."""
    even = place.of > 1 and shape and shape[0] % place.of == 0
    return (shape[0] // place.of, *shape[1:]) if even else tuple(shape)


def _describe_fix(
    config: ModelConfig, shapes: Mapping[str, torch.Size], wrong: Mapping[str, Sequence[int]]
) -> str:
    """Return the sentence that fixes it, from the blank on; empty where no key explains it."""
    if _are_pruned(config, wrong):
        return (
            ". Attention heads were pruned from it (pruned_heads in config.json), which neither "
            "transformers 5 nor Isobatch loads. Use the checkpoint before the pruning"
        )
    edits = {}
    for name, axes in _SIZES.items():
        for axis, field in axes:
            shape = wrong.get(name)
            if shape and len(shape) == 2 and shape[axis] != shapes[name][axis]:
                key = config.family.config_keys.get(field, ("",))[0]
                edits[key] = shape[axis]
    if edits and "" not in edits:
        written = ", ".join(f'"{key}": {value}' for key, value in edits.items())
        return f". If the file is the right one, in config.json, write {written}"
    output = wrong.get(_OUTPUT)
    if output and len(output) == 2 and output[1] == shapes[_OUTPUT][1]:
        rows = output[0]
        return (
            f". The head has {rows} outputs, and id2label and num_labels of config.json say "
            f"{config.head.num_labels}. In config.json, {describe_rows(rows)}"
        )
    return ". Restore the config.json or the weights that were saved together"


def _are_pruned(config: ModelConfig, wrong: Iterable[str]) -> bool:
    layers = {name.split(".")[1] for name in wrong if name.startswith("blocks.")}
    return bool(layers) and layers <= {str(layer) for layer in config.pruned_layers}
