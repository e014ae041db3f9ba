"""Rotary position embeddings as config.json states them, in its older and newer spelling.

rope_parameters of transformers 5 has everything; before it, rope_theta was a key of its own, and
rope_scaling had the rest. Invariant: a key of either that is not read here is rejected.
"""

import math
from collections.abc import Mapping

from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.specification import Rotary

_BANDS = ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", *_BANDS),
}
"""The types, and the keys of each."""

_SHARE = "partial_rotary_factor"
_SHARED = ("rope_type", "type", "rope_theta", _SHARE)
"""Keys of every type."""


def rope_settings(raw: Mapping[str, object], default_theta: float) -> dict[str, object]:
    """Return what the file says of rotary embeddings, in the spelling of rope_parameters."""
    stated = [raw[key] for key in ("rope_parameters", "rope_scaling") if raw.get(key) is not None]
    if any(each != stated[0] for each in stated):
        raise CheckpointError(
            f"config.json: rope_parameters {stated[0]!r} contradicts rope_scaling {stated[1]!r}. "
            "Delete the one that is wrong"
        )
    found = stated[0] if stated else {}
    if not isinstance(found, Mapping):
        raise CheckpointError(f"config.json: rope_parameters must be an object, got {found!r}")
    outer = {key: raw[key] for key in ("rope_theta", _SHARE) if key in raw}
    for key, value in outer.items():
        if found.get(key, value) != value:
            raise CheckpointError(
                f"config.json: {key} {value!r} contradicts {found[key]!r} of rope_parameters. "
                "Delete the one that is wrong"
            )
    return {"rope_theta": default_theta, **outer, **found}


def read_rotary(settings: Mapping[str, object], head_dim: int) -> Rotary:
    """Translate settings as `rope_settings` returns them.

    Raises UnsupportedModelError for a type, or a key, that is not implemented.
    """
    kind = str(settings.get("rope_type", settings.get("type", "default")))
    if kind not in _KEYS:
        raise UnsupportedModelError(
            f"config.json: rotary embeddings of the type {kind!r} are not supported, only "
            f"{', '.join(_KEYS)}. Use another checkpoint"
        )
    if unknown := [key for key in settings if key not in (*_SHARED, *_KEYS[kind])]:
        raise UnsupportedModelError(
            f"config.json: {unknown[0]} of rotary embeddings of the type {kind!r} is not "
            "supported. Use another checkpoint"
        )
    numbers = {key: positive_number(settings, key) for key in _KEYS[kind]}
    size = int(head_dim * positive_number({_SHARE: 1.0, **settings}, _SHARE))
    if size % 2 or not 0 < size <= head_dim:
        raise CheckpointError(
            f"config.json: rotary embeddings rotate pairs of numbers, and cannot rotate {size} of "
            "the "
            f"{head_dim} of a head. Correct its sizes"
        )
    return Rotary(
        theta=positive_number(settings, "rope_theta"),
        size=size,
        factor=numbers.get("factor", 1.0),
        bands=(numbers[_BANDS[0]], numbers[_BANDS[1]], int(numbers[_BANDS[2]]))
        if kind == "llama3"
        else None,
    )


def positive_number(settings: Mapping[str, object], key: str) -> float:
    """Return a number of rope_parameters; raises CheckpointError for anything else."""
    value = settings.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise CheckpointError(
            f"config.json: {key} of rope_parameters must be a positive number, got {value!r}"
        )
    return float(value)
