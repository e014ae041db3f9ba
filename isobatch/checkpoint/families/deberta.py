"""DeBERTa-v2 and v3: "deberta-v2", BERT with disentangled attention and a pooler of its own.

transformers: models/deberta_v2/modeling_deberta_v2.py.
"""

from isobatch.checkpoint.families.bert import BERT_KEYS, BERT_NAMES
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.disentangled_layers import read_disentangled_encoder
from isobatch.checkpoint.families.family import BUFFERS, Family
from isobatch.specification import HeadStep, LinearStep


def _features(values: ConfigValues) -> tuple[HeadStep, ...]:
    size = values.integer("hidden_size")
    return (LinearStep("dense", size, size, values.text("pooler_act")),)


_SELF = "encoder.layer.{i}.attention.self"

DEBERTA_V2 = Family(
    model_type="deberta-v2",
    class_prefix="DebertaV2",
    tokenizer_class="DebertaV2Tokenizer",
    config_keys=BERT_KEYS
    | {
        "vocab_size": ("vocab_size", 128100),
        "embedding_size": ("hidden_size", 1536),
        "hidden_size": ("hidden_size", 1536),
        "num_layers": ("num_hidden_layers", 24),
        "num_heads": ("num_attention_heads", 24),
        "intermediate_size": ("intermediate_size", 6144),
        "layer_norm_eps": ("layer_norm_eps", 1e-7),
        "type_vocab_size": ("type_vocab_size", 0),
        "reads_distances": ("relative_attention", False),
        "products": ("pos_att_type", None),
        "num_groups": ("position_buckets", -1),
        "max_distance": ("max_relative_positions", -1),
        "shares_projections": ("share_att_key", False),
        "distance_norm": ("norm_rel_ebd", "none"),
        "position_biased_input": ("position_biased_input", True),
        "pooler_act": ("pooler_hidden_act", "gelu"),
        "dropout.pooler": ("pooler_dropout", 0.0),
        "dropout.classifier": ("cls_dropout", None),
        "dropout.tokens": ("hidden_dropout_prob", 0.1),
    },
    only={"conv_kernel_size": (0,)},
    prefix="deberta.",
    names=BERT_NAMES
    | {
        "relative_positions.table": "encoder.rel_embeddings",
        "relative_positions.norm": "encoder.LayerNorm",
        "blocks.{i}.attention.query": f"{_SELF}.query_proj",
        "blocks.{i}.attention.key": f"{_SELF}.key_proj",
        "blocks.{i}.attention.value": f"{_SELF}.value_proj",
        "blocks.{i}.attention.position_key": f"{_SELF}.pos_key_proj",
        "blocks.{i}.attention.position_query": f"{_SELF}.pos_query_proj",
    },
    head={"head.dense": "pooler.dense", "head.output": "classifier"},
    features=_features,
    ignored=(
        *(*BUFFERS, "cls.*", "lm_predictions.*", "mask_predictions.*"),
        "deberta.embeddings.position_embeddings.*",  # of checkpoints that do not read them
    ),
    encoder=read_disentangled_encoder,
    has_pooler=False,
    takes_token_types=True,
)
