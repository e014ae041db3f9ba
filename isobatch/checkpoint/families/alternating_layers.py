"""Pre-norm layers that alternate between attention to the whole sequence and to a window.

Each kind has a theta of its own, and the first layer no norm before its attention (ModernBERT).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.family import count_layers
from isobatch.checkpoint.families.pre_norm_layers import (
    pre_norm_layer,
    stated_biases,
    stated_layer_types,
)
from isobatch.checkpoint.families.rotary_settings import read_rotary, rope_settings
from isobatch.checkpoint.families.standard_layers import head_size, read_encoder
from isobatch.errors import CheckpointError
from isobatch.specification import AttentionSpec, BlockSpec, NormSpec

_THETAS = {
    "full_attention": ("global_rope_theta", 160_000.0),
    "sliding_attention": ("local_rope_theta", 10_000.0),
}
"""Kinds of layers, each with the key of its theta before rope_parameters, and the default."""


def read_alternating_encoder(values: ConfigValues) -> EncoderConfig:
    """Read an encoder whose norms all have one kind, also those outside of its layers."""
    norm = read_norm(values)
    layers = [_layer(values, kind, norm) for kind in _layer_types(values)]
    layers[0] = replace(layers[0], norms=("feed_forward_input_norm",))
    return replace(read_encoder(values, layers), embedding_norm=norm, final_norm=norm)


def read_norm(values: ConfigValues) -> NormSpec:
    """Read the norm, which may have no bias."""
    return NormSpec(values.number("layer_norm_eps"), bias=values.flag("norm_bias"))


def _layer(values: ConfigValues, kind: str, norm: NormSpec) -> BlockSpec:
    is_local, head_dim = kind == "sliding_attention", head_size(values)
    attention = AttentionSpec(
        values.integer("num_heads"),
        head_dim,
        window=_window(values) if is_local else None,
        rotary=read_rotary(_rope_settings(values.raw, kind), head_dim),
    )
    return pre_norm_layer(values, attention, norm, stated_biases(values))


def _window(values: ConfigValues) -> int:
    """Return how far a query reads to each side, inclusive: half the width, or as stated."""
    half = values.raw.get("sliding_window", values.integer("local_attention") // 2)
    if type(half) is not int or half < 1:
        raise CheckpointError(f"config.json: sliding_window must be a positive integer: {half!r}")
    return half


def _layer_types(values: ConfigValues) -> Sequence[str]:
    """Read which kind each layer is; before layer_types every third was of the full one."""
    stated = stated_layer_types(values, _THETAS)
    if stated is not None:
        return stated
    every = values.raw.get("global_attn_every_n_layers", 3)
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise CheckpointError(
            f"config.json: global_attn_every_n_layers must be a positive integer, got {every!r}"
        )
    count = values.integer("num_layers")
    return [tuple(_THETAS)[bool(index % every)] for index in range(count)]


def _rope_settings(raw: Mapping[str, object], kind: str) -> dict[str, object]:
    key, default = _THETAS[kind]
    stated = raw.get("rope_parameters") or {}
    of_kind = stated.get(kind) if isinstance(stated, Mapping) else stated
    section = {"rope_parameters": of_kind, "rope_scaling": raw.get("rope_scaling")}
    theta = {"rope_theta": raw[key]} if key in raw else {}
    return rope_settings(section | theta, default)


def keep_kinds(values: ConfigValues, kept: Sequence[int]) -> Mapping[str, object]:
    """Return the keys of config.json that say that there are the layers `kept` only."""
    kinds = _layer_types(values)
    return {**count_layers(values, kept), "layer_types": [kinds[index] for index in kept]}
