"""Rotary encoders: the part that GTE and NomicBERT share, BERT with a gated feed-forward.

transformers reads and writes the same names for both, next to those of their own code.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.bert import BERT_KEYS
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.family import Family, Keys, Names, Spelling, dense_features
from isobatch.checkpoint.families.shared_names import GATED_PROJECTIONS, attention_projections
from isobatch.checkpoint.families.standard_layers import read_encoder, standard_layer
from isobatch.specification import Rotary

EMBEDDING_NAMES: Names = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.token_type": "embeddings.token_type_embeddings",
}
SPLIT_NAMES: Names = {
    **EMBEDDING_NAMES,
    "embeddings.norm": "embeddings.LayerNorm",
    **attention_projections("layers.{i}.self_attn"),
    "blocks.{i}.attention_norm": "layers.{i}.post_attention_layernorm",
    **GATED_PROJECTIONS,
    "blocks.{i}.norm": "layers.{i}.post_mlp_layernorm",
}
"""Those of transformers, which fuses no tensors."""


def read_rotary_encoder(
    values: ConfigValues, rotary: Callable[[int], Rotary], biases: tuple[str, ...]
) -> EncoderConfig:
    """Read an encoder of equal post-norm layers.

    rotary: of the size of a head. biases: the linears that have one.
    """
    layer = standard_layer(values)
    values.reject_others({"head_dim": (layer.attention.head_dim, None)})
    attention = replace(layer.attention, rotary=rotary(layer.attention.head_dim))
    layer = replace(layer, attention=attention, gated=True, biases=biases)
    return read_encoder(values, [layer] * values.integer("num_layers"), least_types=0)


def rotary_family(
    model_type: str,
    class_prefix: str,
    tokenizer_class: str,
    *,
    config_keys: Keys,
    only: Mapping[str, tuple[object, ...]],
    names: Names,
    spellings: tuple[Spelling, ...],
    ignored: tuple[str, ...],
    encoder: Callable[[ConfigValues], EncoderConfig],
    old_keys: Mapping[str, str] | None = None,
) -> Family:
    """Make the family; its keys are BERT's but for those of `config_keys`, and no positions'.

    The others are as in Family.
    """
    prefix = f"{model_type}."
    keys = {key: BERT_KEYS[key] for key in BERT_KEYS if key != "num_positions"}
    keys["dropout.attention"] = ("attention_probs_dropout_prob", 0.0)
    return Family(
        model_type=model_type,
        class_prefix=class_prefix,
        tokenizer_class=tokenizer_class,
        config_keys={**keys, **config_keys},
        fixed={"num_positions": 0},
        old_keys=old_keys or {},
        only=only,
        prefix=prefix,
        names=names,
        spellings=spellings,
        modules=Spelling(prefix, SPLIT_NAMES),
        head={"head.dense": f"{prefix}pooler.dense", "head.output": "classifier"},
        features=partial(dense_features, "tanh"),
        ignored=ignored,
        encoder=encoder,
        has_pooler=False,
        takes_token_types=True,
    )
