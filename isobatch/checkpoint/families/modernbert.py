"""ModernBERT: "modernbert", pre-norm and gated, whose layers alternate between two kinds.

Its heads have a norm. transformers: models/modernbert/modeling_modernbert.py.
"""

from isobatch.checkpoint.families.alternating_layers import (
    keep_kinds,
    read_alternating_encoder,
    read_norm,
)
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.family import Family
from isobatch.checkpoint.families.shared_names import fused, fused_attention
from isobatch.errors import UnsupportedModelError
from isobatch.specification import HeadStep, LinearStep, NormStep, Pool

_POOLS: dict[object, Pool] = {"cls": "first", "mean": "mean"}
_HEAD = {"head.dense": "head.dense", "head.norm": "head.norm", "head.output": "classifier"}


def _features(values: ConfigValues) -> tuple[HeadStep, ...]:
    size, bias = values.integer("hidden_size"), values.flag("classifier_bias")
    dense = LinearStep("dense", size, size, values.text("classifier_activation"), bias)
    return dense, NormStep("norm", size, read_norm(values))


def _pool(values: ConfigValues) -> Pool:
    stated = values.value("classifier_pooling")
    if stated not in _POOLS:
        raise UnsupportedModelError(
            f"config.json: classifier_pooling {stated!r} is not supported; supported: cls, mean"
        )
    return _POOLS[stated]


MODERNBERT = Family(
    model_type="modernbert",
    class_prefix="ModernBert",
    tokenizer_class="PreTrainedTokenizerFast",
    config_keys={
        "vocab_size": ("vocab_size", 50368),
        "embedding_size": ("hidden_size", 768),
        "hidden_size": ("hidden_size", 768),
        "num_layers": ("num_hidden_layers", 22),
        "num_heads": ("num_attention_heads", 12),
        "intermediate_size": ("intermediate_size", 1152),
        "hidden_act": ("hidden_activation", "gelu"),
        "layer_norm_eps": ("norm_eps", 1e-5),
        "max_tokens": ("max_position_embeddings", 8192),
        "pad_token_id": ("pad_token_id", 50283),
        "local_attention": ("local_attention", 128),
        "norm_bias": ("norm_bias", False),
        "attention_bias": ("attention_bias", False),
        "mlp_bias": ("mlp_bias", False),
        "classifier_bias": ("classifier_bias", False),
        "classifier_activation": ("classifier_activation", "gelu"),
        "classifier_pooling": ("classifier_pooling", "cls"),
        "dropout.embeddings": ("embedding_dropout", 0.0),
        "dropout.activation": ("mlp_dropout", 0.0),
        "dropout.attention": ("attention_dropout", 0.0),
        "dropout.attention_output": ("attention_dropout", 0.0),
        "dropout.classifier": ("classifier_dropout", 0.0),
    },
    fixed={"num_positions": 0, "type_vocab_size": 0},
    prefix="model.",
    names={
        "embeddings.word": "embeddings.tok_embeddings",
        "embeddings.norm": "embeddings.norm",
        "blocks.{i}.attention_input_norm": "layers.{i}.attn_norm",
        **fused_attention("layers.{i}.attn.Wqkv"),
        "blocks.{i}.attention.output": "layers.{i}.attn.Wo",
        "blocks.{i}.feed_forward_input_norm": "layers.{i}.mlp_norm",
        # the first half is activated
        **fused(("blocks.{i}.gate", "blocks.{i}.up"), "layers.{i}.mlp.Wi"),
        "blocks.{i}.down": "layers.{i}.mlp.Wo",
        "final_norm": "final_norm",
    },
    head=_HEAD,
    token_head=_HEAD,
    features=_features,
    token_features=_features,
    pool=_pool,
    change_depth=keep_kinds,
    pretrained_head=("head.dense", "head.norm"),
    ignored=("decoder.*",),
    encoder=read_alternating_encoder,
    has_pooler=False,
)
