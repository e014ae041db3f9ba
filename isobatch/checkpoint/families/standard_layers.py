"""The encoder of most families: tables with a norm, then equal post-norm layers."""

from collections.abc import Sequence
from typing import cast

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.errors import CheckpointError
from isobatch.specification import AttentionSpec, BlockSpec, NormSpec, PositionRule


def read_standard_encoder(values: ConfigValues) -> EncoderConfig:
    """Read an encoder with BERT's layers."""
    return read_encoder(values, [standard_layer(values)] * values.integer("num_layers"))


def read_encoder_counted_from_padding(values: ConfigValues) -> EncoderConfig:
    """Read an encoder with BERT's layers and RoBERTa's rule of positions."""
    pad = values.value("pad_token_id")
    if not isinstance(pad, int):
        raise CheckpointError(
            "config.json: pad_token_id is missing, and positions are counted from it"
        )
    layers = [standard_layer(values)] * values.integer("num_layers")
    return read_encoder(values, layers, positions=PositionRule(pad))


def standard_layer(values: ConfigValues) -> BlockSpec:
    """Read BERT's layer: post-norm, with every bias."""
    return BlockSpec(
        hidden_size=values.integer("hidden_size"),
        attention=AttentionSpec(values.integer("num_heads"), head_size(values)),
        intermediate_size=values.integer("intermediate_size"),
        activation=values.text("hidden_act"),
        norm=NormSpec(values.number("layer_norm_eps")),
    )


def head_size(values: ConfigValues) -> int:
    """Return how many numbers a head has: as stated, or those of the model shared evenly."""
    if values.has("head_dim"):
        return values.integer("head_dim")
    hidden_size, num_heads = values.integer("hidden_size"), values.integer("num_heads")
    if hidden_size % num_heads:
        raise CheckpointError(
            f"config.json: hidden_size {hidden_size} is not a multiple of the {num_heads} heads"
        )
    return hidden_size // num_heads


def read_encoder(
    values: ConfigValues,
    layers: Sequence[BlockSpec],
    *,
    positions: PositionRule = PositionRule(),  # noqa: B008  # immutable
    least_types: int = 1,
) -> EncoderConfig:
    """Read what is not in a layer; a norm after the embeddings, and none after the last layer.

    A family without a position table fixes num_positions to 0, and has a key for max_tokens.
    least_types: the fewest types that a checkpoint may have.
    """
    pad, vocab_size = values.value("pad_token_id"), values.integer("vocab_size")
    if isinstance(pad, int) and pad >= vocab_size:
        raise CheckpointError(
            f"config.json: pad_token_id {pad} is not an id of the {vocab_size} tokens. "
            "Write the id of the tokenizer's padding token"
        )
    num_positions = values.integer("num_positions")
    return EncoderConfig(
        vocab_size=vocab_size,
        embedding_size=values.integer("embedding_size"),
        hidden_size=values.integer("hidden_size"),
        layers=tuple(layers),
        max_tokens=num_positions - positions.first
        if num_positions
        else values.integer("max_tokens"),
        num_positions=num_positions,
        type_vocab_size=values.integer("type_vocab_size", least_types),
        pad_token_id=cast("int | None", pad),
        positions=positions,
        embedding_norm=NormSpec(values.number("layer_norm_eps")),
    )
