"""int8 weights in a checkpoint, in the format "int-quantized" of the library compressed-tensors.

A weight is int8 [out, in] under its own name; its scale, [out, 1], has that name with "_scale"
appended; config.json announces both in `quantization_config`. Invariant: a scheme whose numbers
have another meaning is rejected by name, never read as this one.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.errors import CheckpointError, TensorMismatchError, UnsupportedModelError

_HEADER: Mapping[str, object] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
}
_WEIGHTS: Mapping[str, object] = {
    "num_bits": 8,
    "type": "int",
    "symmetric": True,
    "strategy": "channel",
    "dynamic": False,
}
_ACTIVATIONS = {**_WEIGHTS, "strategy": "token", "dynamic": True}
_DEFAULTS = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": False}
"""The values that compressed-tensors takes for missing keys."""

_EXTRAS = ("kv_cache_scheme", "sparsity_config", "transform_config")
_FIX = "Start from the checkpoint before it was quantized, and run `isobatch quantize` on that"


class QuantizedTensor(NamedTuple):
    """values int8 [out, in]; scale float32 [out]; the tensor is values × scale."""

    values: Tensor
    scale: Tensor

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    @property
    def device(self) -> torch.device:
        return self.values.device

    def dequantize(self) -> Tensor:
        """Return float32 [out, in]; by numpy, in the calling thread, whose rounding is known."""
        scale = self.scale.cpu().numpy()[:, None]
        with np.errstate(all="ignore"):  # the caller's may be "raise", and denormals underflow
            widened = self.values.cpu().numpy() * scale
        return torch.from_numpy(widened).to(self.values.device)

    def lookup(self, ids: Tensor) -> Tensor:
        """Return rows as float32 [ids, in]; IndexError for an id without one, also a negative."""
        return F.embedding(ids, self.values).to(torch.float32) * self.scale[ids, None]

    def clone(self) -> "QuantizedTensor":
        """Copy it into memory of its own, where it was a view of a file."""
        return QuantizedTensor(self.values.clone(), self.scale.clone())


def scale_name(name: str) -> str:
    """Name the scale of the tensor `name`."""
    return f"{name}_scale"


def quantization_config(word_table: str, kept_linears: Iterable[str]) -> dict[str, object]:
    """Describe a checkpoint whose linears and word table are int8, for config.json.

    Names of modules as in the file; kept_linears: those of the linears that are not int8.
    """
    groups = {
        "group_0": _group("Linear", {**_ACTIVATIONS}),
        "group_1": _group(f"re:.*{word_table.rpartition('.')[2]}$", None),
    }
    return {**_HEADER, "config_groups": groups, "ignore": list(kept_linears)}


def _group(target: str, activations: dict[str, object] | None) -> dict[str, object]:
    """Each group states the format, too: for weights alone the library would guess another."""
    return {
        "targets": [target],
        "weights": {**_WEIGHTS},
        "input_activations": activations,
        "output_activations": None,
        "format": _HEADER["format"],
    }


def announces_int8(section: object) -> bool:
    """Return whether `quantization_config` of a config.json declares int8 weights.

    None announces nothing; raises UnsupportedModelError for any scheme but the one of this module.
    """
    if section is None:
        return False
    if not isinstance(section, Mapping):
        raise CheckpointError(f"config.json: quantization_config must be an object, got {section}")
    _require("quantization_config", section, _HEADER)
    for key in _EXTRAS:
        if section.get(key):
            raise _unsupported("quantization_config", key, section[key], "none")
    groups = section.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise CheckpointError("config.json: quantization_config has no config_groups")
    for name, group in groups.items():
        _check_group(f"quantization_config, {name}", group)
    return True


def _check_group(where: str, group: object) -> None:
    if not isinstance(group, Mapping):
        raise CheckpointError(f"config.json: {where} must be an object, got {group!r}")
    if group.get("output_activations"):
        raise _unsupported(where, "output_activations", group["output_activations"], "none")
    if group.get("format") is not None:
        _require(where, group, {"format": _HEADER["format"]})
    _require(f"{where}, weights", _arguments(group.get("weights")), _WEIGHTS)
    if group.get("input_activations") is not None:
        arguments = _arguments(group["input_activations"])
        _require(f"{where}, input_activations", arguments, _ACTIVATIONS)


def _arguments(given: object) -> Mapping[str, object]:
    return _DEFAULTS | dict(given) if isinstance(given, Mapping) else {}


def _require(where: str, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    for key, value in wanted.items():
        if found.get(key) != value:
            raise _unsupported(where, key, found.get(key), repr(value))


def _unsupported(where: str, key: str, found: object, wanted: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"config.json: {where}: {key} {found!r} is not supported, only {wanted}. {_FIX}"
    )


def check_announcement(folder: Path, *, announced: bool, scales: Collection[str]) -> None:
    """Raise TensorMismatchError unless config.json and the tensors agree on int8 weights."""
    if announced and not scales:
        raise TensorMismatchError(
            f"{folder}: config.json declares int8 weights, but there is no weight_scale. Restore "
            "the weights that belong to it, or remove its quantization_config"
        )
    if scales and not announced:
        raise TensorMismatchError(
            f"{folder}: there are scales of int8 weights, such as {min(scales)}, but config.json "
            "has no quantization_config. Restore the config.json that was written with them"
        )


def join_scale(where: str, values: Tensor, scale: Tensor) -> QuantizedTensor:
    """Combine `values` with their `scale`; `where` names the tensor in errors."""
    if values.dtype != torch.int8:
        raise TensorMismatchError(
            f"{where} is {values.dtype} and has a scale, which only int8 weights have. {_FIX}"
        )
    if values.ndim != 2 or scale.shape != (len(values), 1) or not scale.is_floating_point():
        raise TensorMismatchError(
            f"{where}: its scale is {scale.dtype} {list(scale.shape)} for {list(values.shape)}; "
            f"expected a floating-point number for each row, [{len(values)}, 1]. {_FIX}"
        )
    scale = scale.to(torch.float32).flatten()
    if not ((scale > 0) & (scale * 128).isfinite()).all():
        raise CheckpointError(
            f"{where}: its scale has numbers that are not positive and finite; the file is "
            f"corrupt. {_FIX}"
        )
    return QuantizedTensor(values, scale)
