"""The tensors of a checkpoint folder under our names, checked strictly in both directions.

Safetensors only: a pickle can run code while it is loaded. It knows names and files, not modules.
Invariant: what is yielded is exactly what was expected, in float32 or in int8 with its scale.
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
from isobatch.checkpoint.quantised import (
    QuantisedTensor,
    check_announcement,
    join_scale,
    scale_name,
)
from isobatch.errors import CheckpointError, MissingHeadError, TensorMismatchError
from isobatch.files import read_json

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "tf_model.h5")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SHOWN = 12


def hub_name(family: Family, name: str) -> str:
    """Hugging Face's name of our tensor `name`, e.g. "blocks.3.up.weight"."""
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
    """As `read_stored_tensors`, but float32 throughout: what is int8 in the file is widened."""
    for name, tensor in read_stored_tensors(folder, config, shapes):
        yield name, tensor.dequantised() if isinstance(tensor, QuantisedTensor) else tensor


def read_stored_tensors(
    folder: Path, config: ModelConfig, shapes: Mapping[str, torch.Size]
) -> Iterator[tuple[str, Tensor | QuantisedTensor]]:
    """Read the tensors named in `shapes` (our names) from `folder`, one by one.

    As float32, or as int8 where the file has that. A tensor may be a view of the file, which stays
    mapped as long as the tensor lives: copy what is to be kept.
    MissingHeadError if only the classification head is absent, TensorMismatchError for any other
    missing, unexpected or misshapen tensor, CheckpointError for files that cannot be read.
    """
    located = _locate_tensors(folder)
    wanted = {hub_name(config.family, name): name for name in shapes}
    scales = {scale_name(theirs) for theirs in wanted} & located.keys()
    check_announcement(folder, announced=config.quantised, scales=scales)
    _compare_names(folder, config.family, set(wanted), located.keys() - scales)
    for theirs, ours in wanted.items():
        yield ours, _read_tensor(*located[theirs], shapes[ours], located.get(scale_name(theirs)))


def write_tensors(
    folder: Path,
    family: Family,
    tensors: Mapping[str, Tensor | QuantisedTensor],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write `tensors` (our names) to model.safetensors in `folder`, under Hugging Face's names.

    Plain ones as `dtype`. CheckpointError if the file cannot be written.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        theirs = hub_name(family, name)
        if isinstance(tensor, QuantisedTensor):
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
            f"{folder / _SINGLE}: cannot be written: {error}; is there room on the disk, and may "
            "you write there?"
        ) from error


def _locate_tensors(folder: Path) -> dict[str, tuple[Path, str]]:
    """Every tensor's name in today's spelling; the file that holds it, and its name there."""
    files = weight_files(folder)
    located = {_modern(name): (path, name) for path in files for name in _names_in(path)}
    if not located:
        raise CheckpointError(f"{folder}: its safetensors hold no tensor")
    return located


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of `folder`: one file, or the shards of its index."""
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if (folder / _INDEX).is_file():
        return _shards(folder)
    pickles = [name for name in _PICKLES if (folder / name).exists()]
    if pickles:
        raise CheckpointError(
            f"{folder}: has only {pickles[0]}, and a pickle is never loaded; convert it once with "
            "transformers: AutoModelForSequenceClassification.from_pretrained(folder)"
            ".save_pretrained(new_folder)"
        )
    raise CheckpointError(f"{folder}: holds neither {_SINGLE} nor {_INDEX}")


def _shards(folder: Path) -> list[Path]:
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / _INDEX}: has no weight_map")
    shards = sorted({folder / str(name) for name in weight_map.values()})
    if missing := [path.name for path in shards if not path.is_file()]:
        raise CheckpointError(
            f"{folder}: {_INDEX} names shards that are not there: {_list(missing)}"
        )
    held = {name for path in shards for name in _names_in(path)}
    if lost := sorted(set(weight_map) - held):
        raise TensorMismatchError(
            f"{folder}: no shard holds these tensors of {_INDEX}: {_list(lost)}"
        )
    return shards


def _names_in(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); copy or download it again"
        ) from error


def _modern(name: str) -> str:
    """TensorFlow's names of a layer norm, which old BERT files still carry."""
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
            f"{_list(sorted(head))} are missing. It is an encoder without a task, or with another "
            "one; fine-tune it, or name a checkpoint saved by a ...ForSequenceClassification class"
        )
    if missing or unexpected:
        complaints = [f"{folder}: the tensors are not those of a {family.model_type} classifier"]
        complaints += [f"missing: {_list(sorted(missing))}"] if missing else []
        complaints += [f"unexpected: {_list(sorted(unexpected))}"] if unexpected else []
        raise TensorMismatchError("; ".join(complaints))


def _head_prefixes(family: Family) -> tuple[str, ...]:
    """Prefixes of the head proper; BERT's pooler belongs to its pre-trained encoder."""
    return tuple(f"{name}." for name in family.head.values() if not name.startswith(family.prefix))


def _read_tensor(
    path: Path, name: str, shape: torch.Size, scale: tuple[Path, str] | None
) -> Tensor | QuantisedTensor:
    tensor = _load(path, name)
    if tensor.shape != shape:
        raise TensorMismatchError(
            f"{path}: {name} has shape {list(tensor.shape)}, but config.json asks for {list(shape)}"
        )
    if scale is not None:
        return join_scale(f"{path}: {name}", tensor, _load(*scale))
    return _as_float32(path, name, tensor)


def _load(path: Path, name: str) -> Tensor:
    """One tensor, from a mapping of its own.

    A mapping that stays open keeps every page that was read in memory, next to the packed weights:
    for a DistilBERT in fp32 that was 260 MB more at the peak.
    """
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def _as_float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype not in _FLOATS:
        raise TensorMismatchError(
            f"{path}: {name} is {tensor.dtype}; what is read is float of 16 to 64 bits, and int8 "
            f"with its scale, which would be {scale_name(name)}"
        )
    if not tensor.isfinite().all():
        raise CheckpointError(
            f"{path}: {name} holds NaN or infinity, so every logit would; the file or the training "
            "that made it is at fault"
        )
    return tensor.to(torch.float32)


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
