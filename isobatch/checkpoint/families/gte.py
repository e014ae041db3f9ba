"""GTE: "gte" of transformers, and "new", as its checkpoints name it that have their own code.

BERT with rotary positions and a gated feed-forward, whose second half is activated. Both spellings
of the tensors exist: transformers reads one and writes the other.
"""

from functools import partial

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.family import Family, Names, Spelling
from isobatch.checkpoint.families.rotary_encoders import (
    EMBEDDING_NAMES,
    SPLIT_NAMES,
    read_rotary_encoder,
    rotary_family,
)
from isobatch.checkpoint.families.rotary_settings import (
    positive_number,
    read_rotary,
    rope_settings,
)
from isobatch.checkpoint.families.shared_names import fused, fused_attention
from isobatch.specification import Rotary


def _read_encoder(default_theta: float, values: ConfigValues) -> EncoderConfig:
    biases = ("query", "key", "value", "output", "down")
    return read_rotary_encoder(values, partial(_rotary, values, default_theta), biases)


def _rotary(values: ConfigValues, default_theta: float, head_dim: int) -> Rotary:
    """Read the angles; "ntk" is of the checkpoints' own code.

    It multiplies theta by the factor, and divides the angles by factor^(2 / size); transformers
    writes the same as "linear".
    """
    settings = rope_settings(values.raw, default_theta)
    if "ntk" in (settings.get("rope_type"), settings.get("type")):
        factor = positive_number(settings, "factor")
        settings["rope_theta"] = positive_number(settings, "rope_theta") * factor
        settings |= {"rope_type": "linear", "factor": factor ** (2 / head_dim)}
    return read_rotary(settings, head_dim)


_NAMES: Names = {
    **EMBEDDING_NAMES,
    "embeddings.norm": "embeddings.LayerNorm",
    **fused_attention("encoder.layer.{i}.attention.qkv_proj"),
    "blocks.{i}.attention.output": "encoder.layer.{i}.attention.o_proj",
    "blocks.{i}.attention_norm": "encoder.layer.{i}.attn_ln",
    **fused(("blocks.{i}.up", "blocks.{i}.gate"), "encoder.layer.{i}.mlp.up_gate_proj"),
    "blocks.{i}.down": "encoder.layer.{i}.mlp.down_proj",
    "blocks.{i}.norm": "encoder.layer.{i}.mlp_ln",
}


def _gte(
    model_type: str, other: str, tokenizer_class: str, vocab_size: int, theta: float
) -> Family:
    return rotary_family(
        model_type,
        model_type.capitalize(),
        tokenizer_class,
        config_keys={
            "vocab_size": ("vocab_size", vocab_size),
            "max_tokens": ("max_position_embeddings", 8192),
            "type_vocab_size": ("type_vocab_size", 1),
            "pad_token_id": ("pad_token_id", 1),
            "dropout.activation": ("hidden_dropout_prob", 0.1),
        },
        only={
            "position_embedding_type": ("rope",),
            "layer_norm_type": ("layer_norm",),
            **dict.fromkeys(("logn_attention_scale", "logn_attention_clip1"), (False,)),
        },
        names=_NAMES,
        spellings=(
            Spelling(f"{model_type}.", SPLIT_NAMES),
            Spelling(f"{other}.", _NAMES),
            Spelling(f"{other}.", SPLIT_NAMES),
        ),
        ignored=("lm_head.*",),
        encoder=partial(_read_encoder, theta),
    )


GTE = _gte("gte", "new", "XLMRobertaTokenizer", 250048, 160_000.0)
NEW = _gte("new", "gte", "BertTokenizer", 30528, 10_000.0)
