"""The tensors of a checkpoint folder in any format that is read: safetensors, or torch's pickles.

Invariant: each is an ordinary tensor on the CPU, and together they have no more bytes than their
files account for.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isobatch.checkpoint.conversion import convert_command
from isobatch.checkpoint.hub_snapshot import hub_source
from isobatch.checkpoint.unreadable import is_there
from isobatch.checkpoint.weight_files import (
    INDEX,
    PICKLE,
    PICKLE_INDEX,
    SINGLE,
    file_tensors,
    list_names,
    read_shard_index,
    state_dict_files,
    stored_tensors,
    weight_files,
)
from isobatch.checkpoint.weights import load_tensor
from isobatch.convert.restricted_pickle import read_pickle
from isobatch.errors import CheckpointError, OptionError, TensorMismatchError

_WRAPPED = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which trainers save the state_dict, next to their own state."""

_DTYPES = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float8_e4m3fn: "float8_e4m3fn",
    torch.float8_e5m2: "float8_e5m2",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.int16: "int16",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.bool: "bool",
}


@dataclass(frozen=True, slots=True)
class StateDict:
    """tensors by their stored names, the files that they are from, and entries that are not any."""

    tensors: Mapping[str, Tensor]
    files: tuple[Path, ...]
    others: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Size of the files."""
        return sum(path.stat().st_size for path in self.files)


def read_folder(folder: Path) -> StateDict:
    """Read the weights in `folder`: safetensors, pytorch_model.bin, or the one state_dict there.

    Raises CheckpointError for what cannot be read, OptionError if there are several.
    """
    if is_there(folder / SINGLE) or is_there(folder / INDEX):
        return read_safetensors(folder)
    if is_there(folder / PICKLE):
        return read_state_dict(folder / PICKLE)
    if is_there(folder / PICKLE_INDEX):
        return _read_shards(folder)
    found = state_dict_files(folder)
    if len(found) > 1:
        raise OptionError(
            f"{folder}: has {list_names(path.name for path in found)}. Specify the one to convert, "
            f"such as {found[0]}"
        )
    if found:
        return read_state_dict(found[0])
    if source := hub_source(folder):
        raise CheckpointError(
            f"{source[0]}: its weights on the hub are neither safetensors nor PyTorch files. "
            'Convert them with transformers, with pip install "transformers<5" and the library '
            "of their format: "
            f"{convert_command(source[0], source[0].rpartition('/')[2], 'from_tf=True')}"
        )
    weight_files(folder)  # raises, with what is there
    raise AssertionError("unreachable")


def read_safetensors(folder: Path) -> StateDict:
    """Read the safetensors of `folder`, as views of their files."""
    tensors = {stored.name: load_tensor(stored) for stored in stored_tensors(folder)}
    return StateDict(tensors, tuple(weight_files(folder)))


def read_safetensors_file(path: Path) -> StateDict:
    """Read one file of safetensors, as views of it."""
    tensors = {stored.name: load_tensor(stored) for stored in file_tensors(path)}
    return StateDict(tensors, (path,))


def _read_shards(folder: Path) -> StateDict:
    """Read the pickles that an index names, each with exactly the tensors of the index."""
    weight_map = read_shard_index(folder, PICKLE_INDEX)
    tensors: dict[str, Tensor] = {}
    files = [folder / name for name in sorted(set(weight_map.values()))]
    for path in files:
        held = read_state_dict(path).tensors
        named = {name for name, file in weight_map.items() if file == path.name}
        if odd := sorted(named ^ held.keys()):
            raise TensorMismatchError(
                f"{path}: {PICKLE_INDEX} and the file disagree about {list_names(odd)}. Copy or "
                "download index and shards again, from one source"
            )
        tensors |= held
    return StateDict(tensors, tuple(files))


def read_state_dict(path: Path) -> StateDict:
    """Read a file of torch.save that has a state_dict, alone or as a trainer saves it."""
    loaded = read_pickle(path)
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path}: has a {type(loaded).__name__}, not a state_dict. Save model.state_dict()"
        )
    skipped: list[str] = []
    for key in _WRAPPED:
        if isinstance(held := loaded.get(key), dict) and _num_tensors(held):
            skipped = [str(other) for other in loaded if other != key]
            loaded = held
            break
    tensors = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path}: has no tensors, but {list_names(map(str, loaded)) or 'no entry'}. Specify "
            "the file of the model's state_dict"
        )
    for name, tensor in tensors.items():
        _check_tensor(path, name, tensor)
    skipped += [str(name) for name in loaded if name not in tensors]
    return StateDict({str(name): t for name, t in tensors.items()}, (path,), tuple(skipped))


def _num_tensors(entries: Mapping[object, object]) -> int:
    return sum(isinstance(value, Tensor) for value in entries.values())


def _check_tensor(path: Path, name: object, tensor: Tensor) -> None:
    """Raise CheckpointError unless it is a dense tensor in memory, of a type that is written."""
    ordinary = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"
    if ordinary and tensor.layout is torch.strided and tensor.dtype in _DTYPES:
        return
    raise CheckpointError(
        f"{path}: {name} is not an ordinary tensor but {type(tensor).__name__}, {tensor.dtype}, "
        f"{tensor.layout} on {tensor.device}. Save it as a dense tensor of a floating-point type"
    )


def dtype_counts(tensors: Collection[Tensor]) -> dict[str, int]:
    """Count tensors by the name of their dtype."""
    counts: dict[str, int] = {}
    for tensor in tensors:
        name = _DTYPES[tensor.dtype]
        counts[name] = counts.get(name, 0) + 1
    return counts


def separate(
    folder: Path, tensors: Mapping[str, Tensor], wanted: Collection[str], num_bytes: int
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Give each tensor memory of its own, as safetensors needs; returns also what was left out.

    A tensor that is not `wanted` and is the same memory as a wanted one is left out: a layer that
    shares its weight, which libraries share again when they load. num_bytes: of the files. Raises
    CheckpointError for tensors of more than twice that, such as views that repeat one number.
    """
    places = _names_by_place(tensors, sorted(tensors, key=lambda name: name not in wanted))
    first = {name: places[_place(tensor)] for name, tensor in tensors.items()}
    tied = {
        name: f"shares its memory with {first[name]}"
        for name in tensors
        if name not in wanted and first[name] != name and first[name] in wanted
    }
    kept = {name: tensor for name, tensor in tensors.items() if name not in tied}
    total = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
    if total > 2 * num_bytes:
        raise CheckpointError(
            f"{folder}: its tensors have {total:,} bytes, and its files {num_bytes:,}: they repeat "
            "what is stored, which weights do not. Save the state_dict of the model itself"
        )
    seen: set[int] = set()
    return {name: _own(tensor, seen) for name, tensor in kept.items()}, tied


def first_names(tensors: Mapping[str, Tensor]) -> set[str]:
    """Return one name for each memory that tensors have: the first."""
    return set(_names_by_place(tensors, tensors).values())


def _names_by_place(
    tensors: Mapping[str, Tensor], names: Iterable[str]
) -> dict[tuple[object, ...], str]:
    """Return the first of `names` for each memory."""
    places: dict[tuple[object, ...], str] = {}
    for name in names:
        places.setdefault(_place(tensors[name]), name)
    return places


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Identify the memory of a tensor; none for an empty one, which shares none."""
    if not tensor.numel():
        return (id(tensor),)
    return (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def _own(tensor: Tensor, seen: set[int]) -> Tensor:
    """Return the tensor itself if it is all of its memory, else a copy; `seen`: memory in use."""
    tensor = tensor.detach().resolve_neg()
    storage = tensor.untyped_storage()
    whole = storage.nbytes() == tensor.numel() * tensor.element_size() and tensor.is_contiguous()
    if whole and storage.data_ptr() not in seen:
        seen.add(storage.data_ptr())
        return tensor
    return tensor.contiguous().clone()
