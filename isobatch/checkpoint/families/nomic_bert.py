"""NomicBERT: "nomic_bert", BERT with rotary positions, a gated feed-forward and no biases.

Older config.json files have the keys of GPT-2, newer ones those of BERT, and some have both.
"""

from dataclasses import replace
from functools import partial

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.family import Names, Spelling
from isobatch.checkpoint.families.rotary_encoders import (
    EMBEDDING_NAMES,
    SPLIT_NAMES,
    read_rotary_encoder,
    rotary_family,
)
from isobatch.checkpoint.families.rotary_settings import read_rotary, rope_settings
from isobatch.checkpoint.families.shared_names import fused_attention
from isobatch.errors import CheckpointError


def _read_encoder(values: ConfigValues) -> EncoderConfig:
    older, newer = values.raw.get("activation_function"), values.text("hidden_act")
    if older == "swiglu" and newer != "silu":
        raise CheckpointError(
            f"config.json: activation_function {older!r} contradicts hidden_act {newer!r}. Delete "
            "the one that is wrong"
        )
    rotary = partial(read_rotary, rope_settings(values.raw, 1000.0))
    encoder = read_rotary_encoder(values, rotary, biases=())
    # Beyond the length of its training the checkpoints' own code changes the angles by the text's
    # length, which transformers does not.
    trained = values.raw.get("max_trained_positions")
    longest = [encoder.max_tokens, *([trained] if isinstance(trained, int) else [])]
    return replace(encoder, max_tokens=min(longest))


_NAMES: Names = {
    **EMBEDDING_NAMES,
    "embeddings.norm": "emb_ln",
    **fused_attention("encoder.layers.{i}.attn.Wqkv"),
    "blocks.{i}.attention.output": "encoder.layers.{i}.attn.out_proj",
    "blocks.{i}.attention_norm": "encoder.layers.{i}.norm1",
    "blocks.{i}.up": "encoder.layers.{i}.mlp.fc11",
    "blocks.{i}.gate": "encoder.layers.{i}.mlp.fc12",
    "blocks.{i}.down": "encoder.layers.{i}.mlp.fc2",
    "blocks.{i}.norm": "encoder.layers.{i}.norm2",
}

_NEVER = (
    *("causal", "mlp_fc1_bias", "mlp_fc2_bias", "parallel_block", "prenorm", "qkv_proj_bias"),
    *("rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx"),
)

NOMIC_BERT = rotary_family(
    "nomic_bert",
    "NomicBert",
    "BertTokenizer",
    config_keys={
        "vocab_size": ("vocab_size", 30528),
        "hidden_act": ("hidden_act", "silu"),
        "head_dim": ("head_dim", None),
        "max_tokens": ("max_position_embeddings", 2048),
        "dropout.hidden": ("hidden_dropout_prob", 0.0),
    },
    old_keys={
        "n_embd": "hidden_size",
        "n_head": "num_attention_heads",
        "n_inner": "intermediate_size",
        "n_layer": "num_hidden_layers",
        "layer_norm_epsilon": "layer_norm_eps",
        "rotary_emb_base": "rope_theta",
        "resid_pdrop": "hidden_dropout_prob",
        "attn_pdrop": "attention_probs_dropout_prob",
    },
    only={
        "activation_function": ("swiglu",),
        "rotary_emb_fraction": (1.0, 1),
        "rotary_emb_scale_base": (None,),
        "scale_attn_weights": (True,),
        **dict.fromkeys(_NEVER, (False,)),
        **dict.fromkeys(("moe_every_n_layers", "num_experts", "use_rms_norm"), (False, 0, None)),
    },
    names=_NAMES,
    spellings=(Spelling("nomic_bert.", SPLIT_NAMES), Spelling("bert.", _NAMES)),
    ignored=("cls.*",),
    encoder=_read_encoder,
)
