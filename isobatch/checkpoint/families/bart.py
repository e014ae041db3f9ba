"""BART: "bart", an encoder and a decoder that reads the same text; the head reads its last token.

transformers: models/bart/modeling_bart.py. The head reads the last end token of a text.
"""

from functools import partial

from isobatch.checkpoint.families.encoder_decoder_layers import read_encoder_and_decoder
from isobatch.checkpoint.families.family import Family, dense_features, last_row
from isobatch.checkpoint.families.shared_names import attention_projections


def _attention(ours: str, theirs: str) -> dict[str, str]:
    return attention_projections(theirs, ours=ours, output="out_proj")


def _layer_names(ours: str, theirs: str) -> dict[str, str]:
    return _attention(f"{ours}.{{i}}.attention", f"{theirs}.{{i}}.self_attn") | {
        f"{ours}.{{i}}.attention_norm": f"{theirs}.{{i}}.self_attn_layer_norm",
        f"{ours}.{{i}}.up": f"{theirs}.{{i}}.fc1",
        f"{ours}.{{i}}.down": f"{theirs}.{{i}}.fc2",
        f"{ours}.{{i}}.norm": f"{theirs}.{{i}}.final_layer_norm",
    }


BART = Family(
    model_type="bart",
    class_prefix="Bart",
    tokenizer_class="RobertaTokenizer",
    config_keys={
        "vocab_size": ("vocab_size", 50265),
        "embedding_size": ("d_model", 1024),
        "hidden_size": ("d_model", 1024),
        "num_layers": ("encoder_layers", 12),
        "num_heads": ("encoder_attention_heads", 16),
        "intermediate_size": ("encoder_ffn_dim", 4096),
        "decoder.num_layers": ("decoder_layers", 12),
        "decoder.num_heads": ("decoder_attention_heads", 16),
        "decoder.intermediate_size": ("decoder_ffn_dim", 4096),
        "hidden_act": ("activation_function", "gelu"),
        "num_positions": ("max_position_embeddings", 1024),
        "pad_token_id": ("pad_token_id", 1),
        "eos_token_id": ("eos_token_id", 2),
        "decoder_start_token_id": ("decoder_start_token_id", 2),
        "scale_embedding": ("scale_embedding", False),
        "dropout.hidden": ("dropout", 0.1),
        "dropout.attention": ("attention_dropout", 0.0),
        "dropout.activation": ("activation_dropout", 0.0),
        "dropout.classifier": ("classifier_dropout", 0.0),
    },
    fixed={"layer_norm_eps": 1e-5, "type_vocab_size": 0},
    only={
        "add_final_layer_norm": (False,),
        **dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop"), (0.0, 0)),
        "is_causal": (None,),  # of both halves in transformers
        "is_encoder_decoder": (True,),
        "normalize_before": (False,),
        "normalize_embedding": (True,),
        "static_position_embeddings": (False,),
    },
    prefix="model.",
    names={
        "embeddings.word": "shared",
        "embeddings.position": "encoder.embed_positions",
        "embeddings.norm": "encoder.layernorm_embedding",
        **_layer_names("blocks", "encoder.layers"),
        "decoder.position": "decoder.embed_positions",
        "decoder.norm": "decoder.layernorm_embedding",
        **_layer_names("decoder.blocks", "decoder.layers"),
        **_attention("decoder.blocks.{i}.cross_attention", "decoder.layers.{i}.encoder_attn"),
        "decoder.blocks.{i}.cross_norm": "decoder.layers.{i}.encoder_attn_layer_norm",
    },
    head={"head.dense": "classification_head.dense", "head.output": "classification_head.out_proj"},
    features=partial(dense_features, "tanh"),
    pool=last_row,
    ignored=(
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "lm_head.*",
        "final_logits_bias",
    ),
    encoder=read_encoder_and_decoder,
    has_pooler=False,
    head_drops_input=True,
)
