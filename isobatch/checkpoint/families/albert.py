"""ALBERT: "albert", whose layers share the weights of few blocks, and whose tables are narrow."""

from dataclasses import replace
from functools import partial

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.bert import BERT_KEYS
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.family import (
    BUFFERS,
    EMBEDDINGS,
    Family,
    Names,
    dense_features,
)
from isobatch.checkpoint.families.standard_layers import read_standard_encoder
from isobatch.errors import CheckpointError

_BLOCK = "encoder.albert_layer_groups.{i}.albert_layers.0"
_NAMES: Names = {
    **EMBEDDINGS,
    "embeddings.token_type": "embeddings.token_type_embeddings",
    "embeddings.project": "encoder.embedding_hidden_mapping_in",
    "blocks.{i}.attention.query": f"{_BLOCK}.attention.query",
    "blocks.{i}.attention.key": f"{_BLOCK}.attention.key",
    "blocks.{i}.attention.value": f"{_BLOCK}.attention.value",
    "blocks.{i}.attention.output": f"{_BLOCK}.attention.dense",
    "blocks.{i}.attention_norm": f"{_BLOCK}.attention.LayerNorm",
    "blocks.{i}.up": f"{_BLOCK}.ffn",
    "blocks.{i}.down": f"{_BLOCK}.ffn_output",
    "blocks.{i}.norm": f"{_BLOCK}.full_layer_layer_norm",
}


def _read_encoder(values: ConfigValues) -> EncoderConfig:
    """Read an encoder whose layers go through the groups in order, as many for each.

    Where the division leaves a rest, as transformers rounds it.
    """
    encoder = replace(read_standard_encoder(values), always_projects=True)
    layers, groups = encoder.num_layers, values.integer("num_groups")
    if groups > layers:
        raise CheckpointError(
            f"config.json: num_hidden_groups {groups} is more than the {layers} layers. "
            "Restore the file"
        )
    shared = tuple(int(layer / (layers / groups)) for layer in range(layers))
    return replace(encoder, weights_of=shared)


ALBERT = Family(
    model_type="albert",
    class_prefix="Albert",
    tokenizer_class="AlbertTokenizer",
    config_keys=BERT_KEYS
    | {
        "vocab_size": ("vocab_size", 30000),
        "embedding_size": ("embedding_size", 128),
        "hidden_size": ("hidden_size", 4096),
        "num_groups": ("num_hidden_groups", 1),
        "num_heads": ("num_attention_heads", 64),
        "intermediate_size": ("intermediate_size", 16384),
        "hidden_act": ("hidden_act", "gelu_new"),
        "dropout.hidden": ("hidden_dropout_prob", 0.0),
        "dropout.attention": ("attention_probs_dropout_prob", 0.0),
        "dropout.classifier": ("classifier_dropout_prob", 0.1),
    },
    fixed={"dropout.feed_forward": 0.0},
    only={"inner_group_num": (1,)},
    prefix="albert.",
    names=_NAMES,
    head={"head.dense": "albert.pooler", "head.output": "classifier"},
    features=partial(dense_features, "tanh"),
    ignored=(*BUFFERS, "predictions.*", "sop_classifier.*"),
    encoder=_read_encoder,
    pooler="pooler",
    takes_token_types=True,
)
