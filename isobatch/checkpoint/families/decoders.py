"""Decoders with a head: "qwen3", "qwen2" and "llama", which read only what is before a token.

Pre-norm layers with RMS norms, rotary positions, a gated feed-forward and fewer heads of keys than
of queries. A text is classified by its last token (transformers: modeling_layers.py).
"""

from isobatch.checkpoint.families.causal_layers import read_causal_encoder
from isobatch.checkpoint.families.family import Family, Keys, Names, last_row, no_features
from isobatch.checkpoint.families.shared_names import GATED_PROJECTIONS, attention_projections

_NAMES: Names = {
    "embeddings.word": "embed_tokens",
    "blocks.{i}.attention_input_norm": "layers.{i}.input_layernorm",
    **attention_projections("layers.{i}.self_attn"),
    "blocks.{i}.attention.query_norm": "layers.{i}.self_attn.q_norm",
    "blocks.{i}.attention.key_norm": "layers.{i}.self_attn.k_norm",
    "blocks.{i}.feed_forward_input_norm": "layers.{i}.post_attention_layernorm",
    **GATED_PROJECTIONS,
    "final_norm": "norm",
}


def _decoder(model_type: str, tokenizer_class: str, keys: Keys, **fixed: object) -> Family:
    return Family(
        model_type=model_type,
        class_prefix=model_type.capitalize(),
        tokenizer_class=tokenizer_class,
        config_keys={
            "vocab_size": ("vocab_size", 151936),
            "embedding_size": ("hidden_size", 4096),
            "hidden_size": ("hidden_size", 4096),
            "num_layers": ("num_hidden_layers", 32),
            "num_heads": ("num_attention_heads", 32),
            "num_key_heads": ("num_key_value_heads", 32),
            "head_dim": ("head_dim", None),
            "intermediate_size": ("intermediate_size", 22016),
            "hidden_act": ("hidden_act", "silu"),
            "layer_norm_eps": ("rms_norm_eps", 1e-6),
            "max_tokens": ("max_position_embeddings", 32768),
            "is_causal": ("is_causal", True),
            "use_sliding_window": ("use_sliding_window", False),
            "sliding_window": ("sliding_window", 4096),
            "max_window_layers": ("max_window_layers", 28),
            "pad_token_id": ("pad_token_id", None),
            "dropout.attention": ("attention_dropout", 0.0),
            "dropout.tokens": ("classifier_dropout", 0.1),
            **keys,
        },
        fixed={"num_positions": 0, "type_vocab_size": 0, **fixed},
        only={
            "is_decoder": (False, True),
            "token_classification_bias": (True,),
            "hidden_dropout": (None,),
        },
        prefix="model.",
        names=_NAMES,
        head={"head.output": "score"},
        token_head={"head.output": "score"},
        features=no_features,
        has_output_bias=False,
        pool=last_row,
        ignored=("lm_head.*", "*.rotary_emb.inv_freq"),
        encoder=read_causal_encoder,
        has_pooler=False,
    )


QWEN3 = _decoder(
    "qwen3",
    "Qwen2Tokenizer",
    {"head_dim": ("head_dim", 128), "attention_bias": ("attention_bias", False)},
    head_norm=True,
    mlp_bias=False,
)
QWEN2 = _decoder("qwen2", "Qwen2Tokenizer", {}, head_norm=False, mlp_bias=False)
LLAMA = _decoder(
    "llama",
    "PreTrainedTokenizerFast",
    {
        "vocab_size": ("vocab_size", 32000),
        "num_key_heads": ("num_key_value_heads", None),
        "intermediate_size": ("intermediate_size", 11008),
        "max_tokens": ("max_position_embeddings", 2048),
        "attention_bias": ("attention_bias", False),
        "mlp_bias": ("mlp_bias", False),
    },
    head_norm=False,
    use_sliding_window=False,
)
