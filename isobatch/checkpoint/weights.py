"""The tensors of a checkpoint folder under our names, checked strictly in both directions.

Safetensors only: a pickle can run code while it is loaded. Invariant: the tensors that are read are
exactly the expected ones, in float32 or in int8 with a scale.
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from isobatch.checkpoint.config import ModelConfig
from isobatch.checkpoint.families import Family
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.quantized import (
    QuantizedTensor,
    check_announcement,
    join_scale,
    scale_name,
)
from isobatch.errors import CheckpointError, MissingHeadError, TensorMismatchError

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "tf_model.h5")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SHOWN = 12


def hub_name(family: Family, name: str) -> str:
    """Translate our tensor `name`, e.g. "blocks.3.up.weight", into Hugging Face's."""
    prefix, _, kind = name.rpartition(".")
    parts = prefix.split(".")
    layer = parts[1] if parts[0] == "blocks" else ""
    if layer:
        prefix = ".".join(["blocks", "{i}", *parts[2:]])
    if prefix in family.head:
        return f"{family.head[prefix]}.{kind}"
    return f"{family.prefix}{family.names[prefix].format(i=layer)}.{kind}"


def read_tensors(
    folder: Path, config: ModelConfig, shapes: Mapping[str, torch.Size]
) -> Iterator[tuple[str, Tensor]]:
    """Read tensors like `read_stored_tensors`, but widen int8 ones to float32."""
    for name, tensor in read_stored_tensors(folder, config, shapes):
        yield name, tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor


def read_stored_tensors(
    folder: Path, config: ModelConfig, shapes: Mapping[str, torch.Size]
) -> Iterator[tuple[str, Tensor | QuantizedTensor]]:
    """Read the tensors named in `shapes` (our names) from `folder`, one by one.

    As float32, or as int8 where the file has that. A tensor may be a view of the file, which stays
    mapped as long as the tensor lives: copy it to keep it.
    Raises MissingHeadError if only the classification head is missing, TensorMismatchError for any
    other missing, unexpected or misshapen tensor, CheckpointError for files that cannot be read.
    """
    located = _locate_tensors(folder)
    wanted = {hub_name(config.family, name): name for name in shapes}
    scales = {scale_name(theirs) for theirs in wanted} & located.keys()
    check_announcement(folder, announced=config.quantized, scales=scales)
    _compare_names(folder, config.family, set(wanted), located.keys() - scales)
    for theirs, ours in wanted.items():
        yield ours, _read_tensor(*located[theirs], shapes[ours], located.get(scale_name(theirs)))


def stored_shapes(folder: Path) -> dict[str, torch.Size]:
    """Return the shape of each tensor in `folder`, by Hugging Face's names, without reading it."""
    located = _locate_tensors(folder)
    shapes: dict[str, torch.Size] = {}
    for file_path in {path for path, _ in located.values()}:
        with safe_open(file_path, framework="pt") as file:
            names = {theirs: name for theirs, (path, name) in located.items() if path == file_path}
            shapes |= {
                theirs: torch.Size(file.get_slice(name).get_shape())
                for theirs, name in names.items()
            }
    return shapes


def write_tensors(
    folder: Path,
    family: Family,
    tensors: Mapping[str, Tensor | QuantizedTensor],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write `tensors` (our names) to model.safetensors in `folder`, under Hugging Face's names.

    Float tensors as `dtype`. Raises CheckpointError if the file cannot be written.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        theirs = hub_name(family, name)
        if isinstance(tensor, QuantizedTensor):
            renamed[theirs] = tensor.values.contiguous()
            renamed[scale_name(theirs)] = tensor.scale[:, None].contiguous()
        else:
            renamed[theirs] = tensor.detach().to("cpu", dtype).contiguous()
    partial = folder / f"{_SINGLE}.partial"
    try:
        partial.touch()
        mode = partial.stat().st_mode  # as the user's umask has it; safetensors makes it 0600
        save_file(renamed, partial, metadata={"format": "pt"})
        partial.chmod(mode)
        partial.replace(folder / _SINGLE)
    except (SafetensorError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"{folder / _SINGLE}: cannot be written: {error}. Check disk space and permissions"
        ) from error


def _locate_tensors(folder: Path) -> dict[str, tuple[Path, str]]:
    """Map every tensor's name, in today's spelling, to its file and its name there."""
    files = weight_files(folder)
    located = {_modern(name): (path, name) for path in files for name in _names_in(path)}
    if not located:
        raise CheckpointError(f"{folder}: its safetensors files contain no tensors")
    return located


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of `folder`: one file, or the shards of its index."""
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if (folder / _INDEX).is_file():
        return _shards(folder)
    pickles = [name for name in _PICKLES if (folder / name).exists()]
    if pickles:
        raise CheckpointError(
            f"{folder}: has only {pickles[0]}, and pickles are never loaded. Convert it once with "
            "transformers: AutoModelForSequenceClassification.from_pretrained(folder)"
            ".save_pretrained(new_folder)"
        )
    raise CheckpointError(f"{folder}: contains neither {_SINGLE} nor {_INDEX}")


def _shards(folder: Path) -> list[Path]:
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / _INDEX}: has no weight_map")
    shards = sorted({folder / str(name) for name in weight_map.values()})
    if missing := [path.name for path in shards if not path.is_file()]:
        raise CheckpointError(
            f"{folder}: {_INDEX} names shards that do not exist: {_list(missing)}"
        )
    held = {name for path in shards for name in _names_in(path)}
    if lost := sorted(set(weight_map) - held):
        raise TensorMismatchError(
            f"{folder}: no shard contains these tensors of {_INDEX}: {_list(lost)}"
        )
    return shards


def _names_in(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: truncated or not a safetensors file ({error}). Copy or download it again"
        ) from error


def _modern(name: str) -> str:
    """Translate TensorFlow's names of a layer norm, which old BERT files still have."""
    if name.endswith("LayerNorm.gamma"):
        return name.removesuffix("gamma") + "weight"
    if name.endswith("LayerNorm.beta"):
        return name.removesuffix("beta") + "bias"
    return name


def _compare_names(folder: Path, family: Family, wanted: set[str], found: set[str]) -> None:
    missing = wanted - found
    unexpected = {
        name
        for name in found - wanted
        if not any(fnmatchcase(name, pattern) for pattern in family.ignored)
    }
    head = {name for name in wanted if name.startswith(_head_prefixes(family))}
    if head and missing and head <= missing:
        raise MissingHeadError(
            f"{folder}: no sequence-classification head for model_type {family.model_type!r}: "
            f"missing {_list(sorted(head))}. It is an encoder without a task, or with another one. "
            "Fine-tune it, or name a checkpoint saved by a ...ForSequenceClassification class"
        )
    if missing or unexpected:
        complaints = [f"{folder}: the tensors are not those of a {family.model_type} classifier"]
        complaints += [f"missing: {_list(sorted(missing))}"] if missing else []
        complaints += [f"unexpected: {_list(sorted(unexpected))}"] if unexpected else []
        raise TensorMismatchError("; ".join(complaints))


def _head_prefixes(family: Family) -> tuple[str, ...]:
    """List the prefixes of the head itself; BERT's pooler belongs to its pre-trained encoder."""
    return tuple(f"{name}." for name in family.head.values() if not name.startswith(family.prefix))


def _read_tensor(
    path: Path, name: str, shape: torch.Size, scale: tuple[Path, str] | None
) -> Tensor | QuantizedTensor:
    tensor = _load(path, name)
    if tensor.shape != shape:
        raise TensorMismatchError(
            f"{path}: {name} has shape {list(tensor.shape)}, but config.json implies {list(shape)}"
        )
    if scale is not None:
        return join_scale(f"{path}: {name}", tensor, _load(*scale))
    return _as_float32(path, name, tensor)


def _load(path: Path, name: str) -> Tensor:
    """Read one tensor from a mapping of its own.

    A mapping that stays open keeps every page that was read in memory, next to the packed weights:
    for a DistilBERT in fp32 that was 260 MB more at the peak.
    """
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def _as_float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype not in _FLOATS:
        raise TensorMismatchError(
            f"{path}: {name} has dtype {tensor.dtype}, expected a float of 16 to 64 bits, or int8 "
            f"with its scale, {scale_name(name)}"
        )
    if not tensor.isfinite().all():
        raise CheckpointError(
            f"{path}: {name} contains NaN or infinity, so every logit would be NaN. Restore the "
            "file from before the training that produced it"
        )
    return tensor.to(torch.float32)


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
