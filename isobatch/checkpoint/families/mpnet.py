"""MPNet: "mpnet", BERT with a number added to each score by distance, the same in all layers.

transformers: models/mpnet/modeling_mpnet.py, which fixes the padding's position at 1 and 32 groups
of distances, also where config.json says otherwise.
"""

from dataclasses import replace
from functools import partial

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.bert import BERT_KEYS
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.family import (
    BUFFERS,
    EMBEDDINGS,
    TWO_STEP_HEAD,
    Family,
    dense_features,
)
from isobatch.checkpoint.families.standard_layers import read_encoder, standard_layer
from isobatch.specification import DistanceTable, PositionRule

_PADDING_IDX = 1
_NUM_GROUPS = 32


def _read_encoder(values: ConfigValues) -> EncoderConfig:
    layer = standard_layer(values)
    attention = replace(layer.attention, positions="toeplitz")
    layers = [replace(layer, attention=attention)] * values.integer("num_layers")
    encoder = read_encoder(values, layers, positions=PositionRule(_PADDING_IDX))
    rows = values.integer("num_distances", _NUM_GROUPS)
    return replace(encoder, distances=DistanceTable("toeplitz", rows, attention.num_heads))


MPNET = Family(
    model_type="mpnet",
    class_prefix="MPNet",
    tokenizer_class="MPNetTokenizer",
    config_keys={
        **{key: BERT_KEYS[key] for key in BERT_KEYS if key != "type_vocab_size"},
        "vocab_size": ("vocab_size", 30527),
        "pad_token_id": ("pad_token_id", 1),
        "num_distances": ("relative_attention_num_buckets", _NUM_GROUPS),
        "dropout.classifier": ("hidden_dropout_prob", 0.1),
    },
    fixed={"type_vocab_size": 0},
    prefix="mpnet.",
    names=EMBEDDINGS
    | {
        "relative_positions.table": "encoder.relative_attention_bias",
        "blocks.{i}.attention.query": "encoder.layer.{i}.attention.attn.q",
        "blocks.{i}.attention.key": "encoder.layer.{i}.attention.attn.k",
        "blocks.{i}.attention.value": "encoder.layer.{i}.attention.attn.v",
        "blocks.{i}.attention.output": "encoder.layer.{i}.attention.attn.o",
        "blocks.{i}.attention_norm": "encoder.layer.{i}.attention.LayerNorm",
        "blocks.{i}.up": "encoder.layer.{i}.intermediate.dense",
        "blocks.{i}.down": "encoder.layer.{i}.output.dense",
        "blocks.{i}.norm": "encoder.layer.{i}.output.LayerNorm",
    },
    head=TWO_STEP_HEAD,
    features=partial(dense_features, "tanh"),
    ignored=(*BUFFERS, "lm_head.*", "mpnet.pooler.*"),
    head_drops_input=True,
    encoder=_read_encoder,
)
