"""Pre-norm layers with RMS norms: config.json of the decoders to their specification.

They are causal, but for decoders that were trained to read on both sides (is_causal).
"""

from collections.abc import Sequence
from dataclasses import replace

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.pre_norm_layers import (
    pre_norm_layer,
    stated_biases,
    stated_layer_types,
)
from isobatch.checkpoint.families.rotary_settings import read_rotary, rope_settings
from isobatch.checkpoint.families.standard_layers import head_size, read_encoder
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.specification import AttentionSpec, BlockSpec, NormSpec

_DEFAULT_THETA = 10_000.0
_FULL, _WINDOWED = "full_attention", "sliding_attention"
_KINDS = (_FULL, _WINDOWED)


def read_causal_encoder(values: ConfigValues) -> EncoderConfig:
    """Read an encoder of causal layers, without a norm of its embeddings."""
    norm = NormSpec(values.number("layer_norm_eps"), "rms", bias=False)
    layers = [_layer(values, kind, norm) for kind in _layer_kinds(values)]
    return replace(read_encoder(values, layers), embedding_norm=None, final_norm=norm)


def _layer(values: ConfigValues, kind: str, norm: NormSpec) -> BlockSpec:
    head_dim, num_heads = head_size(values), values.integer("num_heads")
    attention = AttentionSpec(
        num_heads,
        head_dim,
        num_key_heads=_key_heads(values, num_heads),
        causal=values.flag("is_causal"),
        # transformers counts the query's own token as one of the window
        window=values.integer("sliding_window") - 1 if kind == _WINDOWED else None,
        rotary=read_rotary(rope_settings(values.raw, _DEFAULT_THETA), head_dim),
        head_norm=values.flag("head_norm"),
    )
    # Qwen2 has no setting, and no bias of the output.
    is_fixed = not values.has("attention_bias")
    biases = ("query", "key", "value") if is_fixed else stated_biases(values)
    return pre_norm_layer(values, attention, norm, biases)


def _key_heads(values: ConfigValues, num_heads: int) -> int | None:
    """Return the heads of keys and values; None for as many as of queries."""
    if not values.has("num_key_heads"):
        return None
    number = values.integer("num_key_heads")
    if num_heads % number:
        raise CheckpointError(
            f"config.json: num_attention_heads {num_heads} is not a multiple of "
            f"{values.key('num_key_heads')} {number}. Restore the file"
        )
    return None if number == num_heads else number


def _layer_kinds(values: ConfigValues) -> Sequence[str]:
    """Read which layers have a window: as layer_types says, or from max_window_layers on."""
    count, is_windowed = values.integer("num_layers"), values.flag("use_sliding_window")
    if is_windowed and not values.flag("is_causal"):
        raise UnsupportedModelError(
            "config.json: use_sliding_window is not supported where is_causal is false. Name "
            "another checkpoint"
        )
    known = _KINDS if is_windowed else (_FULL,)
    reason = "" if is_windowed else ", as use_sliding_window is false"
    stated = stated_layer_types(values, known, reason)
    if stated is not None:
        return stated
    first = values.integer("max_window_layers", least=0) if is_windowed else count
    return [_KINDS[index >= first] for index in range(count)]
