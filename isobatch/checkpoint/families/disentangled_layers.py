"""The encoder of DeBERTa-v2 and v3: BERT whose scores also have products with rows for distances.

transformers: models/deberta_v2/modeling_deberta_v2.py. The scores are divided by √(size of a head
× number of products), also where no distances are read.
"""

from dataclasses import replace
from typing import cast

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.standard_layers import read_encoder, standard_layer
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.specification import (
    AttentionSpec,
    Disentangled,
    DistanceProduct,
    DistanceTable,
    NormSpec,
)


def read_disentangled_encoder(values: ConfigValues) -> EncoderConfig:
    """Read an encoder with BERT's layers, a table of distances and perhaps one of positions."""
    layer, products = standard_layer(values), _products(values)
    values.reject_others(
        {
            "embedding_size": (layer.hidden_size,),
            "pooler_hidden_size": (layer.hidden_size,),
            "attention_head_size": (layer.attention.head_dim, None),
        }
    )
    scale = (layer.attention.head_dim * (1 + len(products))) ** -0.5
    attention = replace(layer.attention, scale=scale)
    table = None
    if values.flag("reads_distances"):
        attention, table = _with_distances(values, attention, products)
    layers = [replace(layer, attention=attention)] * values.integer("num_layers")
    encoder = replace(read_encoder(values, layers, least_types=0), distances=table)
    has_positions = values.flag("position_biased_input")
    return encoder if has_positions else replace(encoder, num_positions=0)


def _with_distances(
    values: ConfigValues, attention: AttentionSpec, products: tuple[DistanceProduct, ...]
) -> tuple[AttentionSpec, DistanceTable]:
    longest, groups = _integer(values, "max_distance"), _integer(values, "num_groups")
    longest = longest if longest > 0 else values.integer("num_positions")
    span = groups if groups > 0 else longest
    if not products or (groups > 0 and not 0 < groups // 2 < longest - 1):
        raise CheckpointError(
            "config.json: relative_attention needs a pos_att_type, and position_buckets of less "
            f"than 2 × {longest - 1}. Restore the file"
        )
    rule = Disentangled(
        span, longest if groups > 0 else None, products, values.flag("shares_projections")
    )
    norm = None
    if "layer_norm" in [each.strip() for each in values.text("distance_norm").lower().split("|")]:
        norm = NormSpec(values.number("layer_norm_eps"))
    table = DistanceTable("disentangled", 2 * span, values.integer("hidden_size"), norm)
    return replace(attention, positions="disentangled", distances=rule), table


def _products(values: ConfigValues) -> tuple[DistanceProduct, ...]:
    stated = values.value("products")
    listed = stated.lower().split("|") if isinstance(stated, str) else stated or []
    names = [str(each).strip() for each in listed] if isinstance(listed, list) else [str(stated)]
    known = [each for each in ("c2p", "p2c") if each in names]
    if unknown := [name for name in names if name not in known]:
        raise UnsupportedModelError(
            f"config.json: pos_att_type {unknown[0]!r} is not supported; supported: c2p, p2c"
        )
    return cast("tuple[DistanceProduct, ...]", tuple(known))


def _integer(values: ConfigValues, name: str) -> int:
    """Return a number of which -1 means that it is not set."""
    return values.integer(name, least=-1)
