"""The files that hold a checkpoint's weights: safetensors, in one file or in shards.

A pickle can run code while it is loaded, so no other format is read: each is rejected with the
command that converts it, `isobatch convert` where that does. Invariant: the weights are read from
exactly the files that are listed.
"""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from isobatch.checkpoint.conversion import (
    convert_command,
    isobatch_convert,
    merge_shards_command,
)
from isobatch.checkpoint.hub_snapshot import hub_source
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.unreadable import is_there, unreadable
from isobatch.errors import CheckpointError, TensorMismatchError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_OLD_LIBRARIES = {
    "tf_model.h5": ("tensorflow tf-keras", "tf"),
    "flax_model.msgpack": ("flax", "flax"),
}
_STATE_DICTS = ("*.pt", "*.pth", "*.ckpt", "*.bin")
_OF_TRAINING = re.compile(r"training_args|optimizer|scheduler|scaler|rng_state.*|random_states.*")
"""Pickles that a trainer writes next to the weights, without their ending."""

_EXPORTS = {
    "*.onnx": "ONNX",
    "onnx/*.onnx": "ONNX",
    "*.gguf": "GGUF",
    "openvino_model.*": "OpenVINO",
    "rust_model.ot": "rust-bert",
    "*.ckpt.index": "TensorFlow 1",
    "saved_model.pb": "TensorFlow's SavedModel",
    "*.tflite": "TensorFlow Lite",
}
_DEEPSPEED = "zero_to_fp32.py"
"""The script that DeepSpeed writes next to its parts, and that joins them."""

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor is stored: its file, its name there, its dtype as safetensors names it."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


def stored_tensors(folder: Path) -> list[StoredTensor]:
    """List the tensors in `folder`, from the headers of its files. Raises CheckpointError."""
    found = [stored for path in weight_files(folder) for stored in file_tensors(path)]
    if not found:
        raise CheckpointError(f"{folder}: its safetensors files contain no tensors")
    return found


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of `folder`: one file, or the shards of its index."""
    if is_there(folder / SINGLE):
        return [folder / SINGLE]
    if is_there(folder / INDEX):
        return _shards(folder)
    raise CheckpointError(_describe_absence(folder))


def list_names(names: Iterable[str]) -> str:
    """Join names for a message, the first 12 of them."""
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _shards(folder: Path) -> list[Path]:
    weight_map = read_shard_index(folder, INDEX)
    shards = sorted({folder / file for file in weight_map.values()})
    held = {stored.name for path in shards for stored in file_tensors(path)}
    if lost := sorted(set(weight_map) - held):
        raise TensorMismatchError(
            f"{folder}: no shard contains these tensors of {INDEX}: {list_names(lost)}. Copy or "
            "download index and shards again, from one source"
        )
    return shards


def read_shard_index(folder: Path, index: str) -> dict[str, str]:
    """Read the file of each tensor from an index of shards; all are files of `folder` itself.

    Raises CheckpointError for another path, and for shards that do not exist.
    """
    weight_map = read_json(folder / index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / index}: has no weight_map")
    files = sorted({str(file) for file in weight_map.values()})
    if outside := [file for file in files if Path(file).name != file or file == ".."]:
        raise CheckpointError(
            f"{folder / index}: names shards that are not files of its folder: "
            f"{list_names(outside)}. Download the index again from where the model was saved"
        )
    if missing := [file for file in files if not is_there(folder / file)]:
        raise CheckpointError(
            f"{folder}: {index} names shards that do not exist: {list_names(missing)}. Copy or "
            "download them into the folder"
        )
    return {str(name): str(file) for name, file in weight_map.items()}


def state_dict_files(folder: Path) -> list[Path]:
    """List the files in `folder` that are named like a state_dict of torch."""
    return [
        path
        for pattern in _STATE_DICTS
        for path in sorted(folder.glob(pattern))
        if not _OF_TRAINING.fullmatch(path.stem)
        and not any(path.match(export) for export in _EXPORTS)
    ]


def file_tensors(path: Path) -> list[StoredTensor]:
    """List the tensors of one file, from its header. Raises CheckpointError."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in list(file.keys())}
            return [
                StoredTensor(path, name, part.get_dtype(), tuple(part.get_shape()))
                for name, part in slices.items()
            ]
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


# ------------------------------------------------------------------------------ other formats


def _describe_absence(folder: Path) -> str:
    """Say which other weights are in `folder`, and the command that converts them."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from error
    if shards := [name for name in names if re.fullmatch(r"model-.*\.safetensors", name)]:
        return (
            f"{folder}: has the shards {list_names(shards)}, but not {INDEX}. If they are all "
            f"there, join them: {merge_shards_command(folder)}"
        )
    if others := [name for name in names if name.endswith(".safetensors")]:
        old, new = (shlex.quote(str(folder / name)) for name in (others[0], SINGLE))
        return (
            f"{folder}: has {list_names(others)}, but no {SINGLE}. If {others[0]} is the whole "
            f"model, rename it: mv {old} {new}"
        )
    if bins := [name for name in (PICKLE, PICKLE_INDEX) if name in names]:
        return (
            f"{folder}: has only {bins[0]}, and pickles are never loaded. Convert it once: "
            f"{isobatch_convert(_checkpoint_of(folder))}"
        )
    for name, (libraries, kind) in _OLD_LIBRARIES.items():
        if name in names:
            return (
                f'{folder}: has only {name}. Convert it once, with pip install "transformers<5" '
                f"{libraries}: {convert_command(str(folder), str(folder), f'from_{kind}=True')}"
            )
    return _describe_parts(folder) or _describe_exports(folder)


def _describe_parts(folder: Path) -> str | None:
    """Describe what a distributed training wrote, one part per process; None without parts."""
    out, script = (shlex.quote(str(path)) for path in (folder, folder / _DEEPSPEED))
    if (folder / _DEEPSPEED).is_file():
        return (
            f"{folder}: its weights are DeepSpeed shards. Join them, with pip install "
            f"deepspeed: python {script} {out} {out} --safe_serialization"
        )
    if parts := sorted(folder.glob("pytorch_model_fsdp_*")):
        return (
            f"{folder}: its weights are FSDP shards. Join them, with pip install "
            f"accelerate: accelerate merge-weights {shlex.quote(str(parts[0]))} {out}"
        )
    return None


def _describe_exports(folder: Path) -> str:
    for pattern, kind in _EXPORTS.items():
        if found := sorted(folder.glob(pattern)):
            return (
                f"{folder}: has only {found[0].relative_to(folder)}, an export to {kind}, which "
                "cannot be converted back. Use the checkpoint that it was exported from"
            )
    if found := state_dict_files(folder):
        return (
            f"{folder}: has only {found[0].name}, and pickles are never loaded. If it holds a "
            f"state_dict, convert it once: {isobatch_convert(folder)}"
        )
    absent = f"contains neither {SINGLE} nor {INDEX}"
    if source := hub_source(folder):
        return (
            f"{source[0]}: {absent}, so its weights have another format on the hub. Convert them "
            f"once: {isobatch_convert(folder)}"
        )
    if nested := sorted(folder.glob("*/" + SINGLE)):
        return f"{folder}: {absent}, but {nested[0].parent.name} does. Name {nested[0].parent}"
    return (
        f"{folder}: {absent}. Copy or download the weights into it; a tokenizer and config.json "
        "alone are not a model"
    )


def _checkpoint_of(folder: Path) -> Path:
    """Return the folder above that of a module of sentence-transformers, or `folder` itself."""
    is_module = re.match(r"\d+_", folder.name) and is_there(folder.parent / "modules.json")
    return folder.parent if is_module else folder
