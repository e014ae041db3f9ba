"""Gated pre-norm layers of several kinds: the parts that ModernBERT and the decoders share."""

from collections.abc import Iterable, Sequence

from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.specification import PRE_NORM, AttentionSpec, BlockSpec, NormSpec


def pre_norm_layer(
    values: ConfigValues, attention: AttentionSpec, norm: NormSpec, biases: tuple[str, ...]
) -> BlockSpec:
    """Read a gated layer with both norms, around an attention that is read already."""
    return BlockSpec(
        hidden_size=values.integer("hidden_size"),
        attention=attention,
        intermediate_size=values.integer("intermediate_size"),
        activation=values.text("hidden_act"),
        norm=norm,
        norms=PRE_NORM,
        gated=True,
        biases=biases,
    )


def stated_biases(values: ConfigValues) -> tuple[str, ...]:
    """Name the linears with a bias, as attention_bias and mlp_bias say."""
    return (
        *(("query", "key", "value", "output") if values.flag("attention_bias") else ()),
        *(("up", "gate", "down") if values.flag("mlp_bias") else ()),
    )


def stated_layer_types(
    values: ConfigValues, known: Iterable[str], reason: str = ""
) -> Sequence[str] | None:
    """Return the kind of each layer as layer_types lists them; None where it does not.

    reason: why no other kinds are known, for the message. Raises CheckpointError for a list of
    another length, UnsupportedModelError for a kind that is not known.
    """
    count, stated = values.integer("num_layers"), values.raw.get("layer_types")
    if stated is None:
        return None
    if not isinstance(stated, list) or len(stated) != count:
        raise CheckpointError(f"config.json: layer_types must list {count} layers, got {stated!r}")
    if unknown := [kind for kind in stated if kind not in known]:
        raise UnsupportedModelError(
            f"config.json: layer_types has {unknown[0]!r}; supported: {', '.join(known)}{reason}"
        )
    return stated
