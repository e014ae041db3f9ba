"""The tensors of a checkpoint folder under our names, checked strictly in both directions.

Safetensors only: a pickle can run code while it is loaded. Invariant: the tensors that are read are
exactly the expected ones, in float32 or in int8 with a scale.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from isobatch.checkpoint.answer_tokens import read_answer_row
from isobatch.checkpoint.config import ModelConfig
from isobatch.checkpoint.conversion import float32_command
from isobatch.checkpoint.families import Family
from isobatch.checkpoint.families.family import TensorPart
from isobatch.checkpoint.quantized import (
    QuantizedTensor,
    check_announcement,
    join_scale,
    scale_name,
)
from isobatch.checkpoint.sentence_modules import module_tensors
from isobatch.checkpoint.tensor_names import (
    compare_names,
    find_tensors,
    hub_name,
    place_of,
    reject_renamed,
)
from isobatch.checkpoint.tensor_shapes import check_shapes, part_shape
from isobatch.checkpoint.weight_files import SINGLE, StoredTensor, stored_tensors
from isobatch.errors import CheckpointError, TensorMismatchError

OUTPUT = "head.output.weight"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_FLOAT8 = "If its 8 bits need no scale, convert it:"


def read_tensors(
    folder: Path,
    config: ModelConfig,
    shapes: Mapping[str, torch.Size],
    unread: Collection[str] = (),
) -> Iterator[tuple[str, Tensor]]:
    """Read tensors like `read_stored_tensors`, but widen int8 ones to float32."""
    for name, tensor in read_stored_tensors(folder, config, shapes, unread):
        yield name, tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor


def read_stored_tensors(
    folder: Path,
    config: ModelConfig,
    shapes: Mapping[str, torch.Size],
    unread: Collection[str] = (),
) -> Iterator[tuple[str, Tensor | QuantizedTensor]]:
    """Read the tensors named in `shapes` (our names) from `folder`, one by one.

    As float32, or as int8 where the file has that. A tensor may be a view of the file, which stays
    mapped as long as the tensor lives: copy it to keep it. unread: those of `shapes` that may be
    missing or of the wrong shape, and are not read.
    Raises MissingHeadError if only the classification head is missing, TensorMismatchError for any
    other missing, unexpected or misshapen tensor, CheckpointError for files that cannot be read.
    """
    of_modules = dict(module_tensors(folder, config.head.modules, shapes))
    for name, tensor in of_modules.items():
        yield name, _as_float32(tensor.path, tensor.name, load_tensor(tensor))
    shapes = {name: shape for name, shape in shapes.items() if name not in of_modules}
    stored = stored_tensors(folder)
    if config.head.answers is not None:
        words = hub_name(config.family, "embeddings.word.weight")
        names = (words, words.removeprefix(config.family.prefix))
        yield OUTPUT, read_answer_row(folder, stored, names, config.head.answers)
        shapes = {name: shape for name, shape in shapes.items() if name != OUTPUT}
    found = match_tensors(folder, config, shapes, stored, unread)
    for ours in (name for name in shapes if name not in unread):
        place = place_of(config.family, ours)
        yield ours, _read_tensor(found[place.name], found.get(scale_name(place.name)), place)


def match_tensors(
    folder: Path,
    config: ModelConfig,
    shapes: Mapping[str, torch.Size],
    stored: Iterable[StoredTensor],
    unread: Collection[str] = (),
) -> dict[str, StoredTensor]:
    """Map Hugging Face's names of `shapes` (our names), and of scales, to the `stored` tensors.

    Raises as `read_stored_tensors` does for names and shapes; no tensor is read.
    """
    known = _known_names(config.family, shapes)
    found = find_tensors(folder, config.family, known, stored)
    for name in _known_names(config.family, unread):
        found.pop(name, None)
    shapes = {name: shape for name, shape in shapes.items() if name not in unread}
    wanted = {hub_name(config.family, name) for name in shapes}
    scales = {scale_name(theirs) for theirs in wanted} & found.keys()
    check_announcement(folder, announced=config.quantized, scales=scales)
    named = {name: tensor for name, tensor in found.items() if name not in scales}
    compare_names(folder, config, wanted, named)
    check_shapes(config, shapes, found)
    return found


def stored_shapes(folder: Path, family: Family, names: Collection[str]) -> dict[str, torch.Size]:
    """Return the shapes of those tensors in `folder` that are among `names`, without reading them.

    names: ours, of all tensors that the model has. Raises TensorMismatchError with the command if
    some are missing, and a renaming gives them all.
    """
    stored = stored_tensors(folder)
    found = find_tensors(folder, family, _known_names(family, names), stored)
    places = {ours: place_of(family, ours) for ours in names}
    wanted = {place.name for place in places.values()}
    if not wanted <= found.keys():
        reject_renamed(folder, family, wanted, [tensor.name for tensor in stored])
    return {
        ours: torch.Size(part_shape(found[place.name].shape, place))
        for ours, place in places.items()
        if place.name in found
    }


def write_tensors(
    folder: Path,
    family: Family,
    tensors: Mapping[str, Tensor | QuantizedTensor],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write `tensors` (our names) to model.safetensors in `folder`, under Hugging Face's names.

    Float tensors as `dtype`. Raises CheckpointError if the file cannot be written.
    """
    parts: defaultdict[str, dict[int, Tensor]] = defaultdict(dict)
    sizes: dict[str, int] = {}
    for name, tensor in tensors.items():
        place = place_of(family, name)
        if isinstance(tensor, QuantizedTensor):
            written = {place.name: tensor.values, scale_name(place.name): tensor.scale[:, None]}
        else:
            written = {place.name: tensor}
        for theirs, each in written.items():
            parts[theirs][place.index], sizes[theirs] = each, place.of
    renamed = {}
    for name, found in parts.items():
        assert len(found) == sizes[name], f"{name} has {len(found)} of {sizes[name]} parts"
        rows = [found[index] for index in range(sizes[name])]
        whole = (torch.cat(rows) if len(rows) > 1 else rows[0]).detach()
        narrow = whole.dtype == torch.int8 or name.endswith(scale_name(""))
        renamed[name] = (whole if narrow else whole.to("cpu", dtype)).contiguous()
    save_tensors(folder, renamed)


def save_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` to model.safetensors in `folder` as they are; contiguous, none shared.

    Raises CheckpointError if the file cannot be written.
    """
    partial = folder / f"{SINGLE}.partial"
    try:
        partial.touch()
        mode = partial.stat().st_mode  # as the user's umask has it; safetensors makes it 0600
        save_file(dict(tensors), partial, metadata={"format": "pt"})
        partial.chmod(mode)
        partial.replace(folder / SINGLE)
    except (SafetensorError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"{folder / SINGLE}: cannot be written: {error}. Check disk space and permissions"
        ) from error


def _known_names(family: Family, names: Iterable[str]) -> set[str]:
    """Return Hugging Face's names of our `names`, and of the scales that they may have."""
    theirs = {hub_name(family, name) for name in names}
    return theirs | {scale_name(name) for name in theirs}


def _read_tensor(
    stored: StoredTensor, scale: StoredTensor | None, place: TensorPart
) -> Tensor | QuantizedTensor:
    tensor = load_tensor(stored, place)
    if scale is not None:
        return join_scale(f"{stored.path}: {stored.name}", tensor, load_tensor(scale, place))
    return _as_float32(stored.path, stored.name, tensor)


def load_tensor(stored: StoredTensor, place: TensorPart | None = None) -> Tensor:
    """Read one tensor, or the part of it at `place`, from a mapping of its own.

    A mapping that stays open keeps every page that was read in memory, next to the packed weights:
    for a DistilBERT in fp32 that was 260 MB more at the peak.
    """
    with safe_open(stored.path, framework="pt") as file:
        if place is None or place.of == 1:
            tensor: Tensor = file.get_tensor(stored.name)
            return tensor
        size = stored.shape[0] // place.of
        part: Tensor = file.get_slice(stored.name)[place.index * size : (place.index + 1) * size]
        return part


def _as_float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype not in _FLOATS:
        fix = f". {_FLOAT8} {float32_command(path.parent)}" if tensor.is_floating_point() else ""
        raise TensorMismatchError(
            f"{path}: {name} has dtype {tensor.dtype}, expected a float of 16 to 64 bits, or int8 "
            f"with its scale, {scale_name(name)}{fix}"
        )
    if not _is_finite(tensor):
        raise CheckpointError(
            f"{path}: {name} contains NaN or infinity, so every logit would be NaN. Restore the "
            "file from before the training that produced it"
        )
    if tensor.dtype == torch.float64:  # rounded in this thread; the other conversions are exact
        with np.errstate(all="ignore"):  # the caller's may be "raise", and denormals underflow
            return torch.from_numpy(tensor.numpy().astype(np.float32))
    return tensor.to(torch.float32)


def _is_finite(tensor: Tensor) -> bool:
    """Return whether there is neither NaN nor infinity, in one pass that copies nothing.

    isfinite().all() took 83 ms for the 90 MB of the bundled model, the extremes take 12.
    """
    return not tensor.numel() or all(map(math.isfinite, torch.stack(tensor.aminmax()).tolist()))
