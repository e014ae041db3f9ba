"""An encoder and a decoder that reads the same text: config.json of BART to their specification."""

import math
from dataclasses import replace

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.standard_layers import read_encoder, standard_layer
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.specification import AttentionSpec, BlockSpec, PositionRule

_OFFSET = 2
"""Rows of the table of positions before that of the first token."""


def read_encoder_and_decoder(values: ConfigValues) -> EncoderConfig:
    """Read both; they have their tables of words in common.

    Raises UnsupportedModelError where the decoder begins with another token than the end token.
    """
    layer = standard_layer(values)
    layers = [layer] * values.integer("num_layers")
    encoder = read_encoder(values, layers, positions=PositionRule(offset=_OFFSET))
    end, start = values.value("eos_token_id"), values.value("decoder_start_token_id")
    if not isinstance(end, int) or start != end:
        raise UnsupportedModelError(
            f"config.json: decoder_start_token_id {start!r} is not the eos_token_id {end!r}, which "
            "is not supported. Name another checkpoint"
        )
    scaled = values.flag("scale_embedding")
    return replace(
        encoder,
        num_positions=encoder.num_positions + _OFFSET,
        max_tokens=encoder.num_positions,
        word_scale=math.sqrt(encoder.hidden_size) if scaled else 1.0,
        decoder_layers=(_decoder_layer(values, layer),) * values.integer("decoder.num_layers"),
        end_token=end,
    )


def _decoder_layer(values: ConfigValues, layer: BlockSpec) -> BlockSpec:
    heads = values.integer("decoder.num_heads")
    if layer.hidden_size % heads:
        raise CheckpointError(
            f"config.json: d_model {layer.hidden_size} is not a multiple of "
            f"{values.key('decoder.num_heads')} {heads}. Restore the file"
        )
    attention = AttentionSpec(heads, layer.hidden_size // heads)
    return replace(
        layer,
        attention=replace(attention, causal=True),
        cross=attention,
        intermediate_size=values.integer("decoder.intermediate_size"),
        norms=("attention_norm", "cross_norm", "norm"),
    )
