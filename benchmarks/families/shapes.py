"""The shapes that are measured: one known checkpoint for each family, with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_VOCAB = 2_000
"""Rows of every word table: looking tokens up takes no time, and large tables take memory."""


@dataclass(frozen=True)
class Shape:
    """A family's configuration in transformers, as `checkpoint` has it.

    quick: the changes of a quick run. examples, heads: for the documentation.
    """

    model_type: str
    checkpoint: str
    heads: str
    examples: str
    settings: Mapping[str, object] = field(default_factory=dict)
    quick: Mapping[str, object] = field(default_factory=lambda: {"num_hidden_layers": 1})

    def configuration(self, *, quick: bool) -> dict[str, object]:
        """Return the arguments of transformers' configuration."""
        shared = {"vocab_size": _VOCAB, "num_labels": 2}
        return {**shared, **self.settings, **(self.quick if quick else {})}


_ALL = "classification, tokens, embeddings, reranking"
_QWEN = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_hidden_layers": 28,
    "intermediate_size": 3072,
    "pad_token_id": 0,
    "use_cache": False,
}
_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
_SPECIALS = dict.fromkeys(
    ("pad_token_id", "bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), 0
)

SHAPES = (
    Shape(
        "distilbert",
        "distilbert-base-uncased",
        _ALL,
        "distilbert-base-uncased-finetuned-sst-2-english",
        quick={"n_layers": 1},
    ),
    Shape(
        "bert", "bert-base-uncased", _ALL, "all-MiniLM-L6-v2, bge-*, ms-marco-MiniLM, bert-base-NER"
    ),
    Shape("roberta", "roberta-base", _ALL, "twitter-roberta-base-sentiment, go_emotions"),
    Shape("xlm-roberta", "xlm-roberta-base", _ALL, "bge-m3, bge-reranker, multilingual-e5"),
    Shape("camembert", "camembert-base", _ALL, "camembert-ner"),
    Shape(
        "electra",
        "electra-base-discriminator",
        _ALL,
        "ms-marco-electra-base",
        _BASE | {"intermediate_size": 3072, "embedding_size": 768},
    ),
    Shape(
        "albert",
        "albert-base-v2",
        _ALL,
        "albert-base-v2 fine-tunes",
        _BASE | {"intermediate_size": 3072, "hidden_dropout_prob": 0.0},
    ),
    Shape("mpnet", "all-mpnet-base-v2", _ALL, "all-mpnet-base-v2, multi-qa-mpnet, SetFit models"),
    Shape(
        "deberta-v2",
        "deberta-v3-base",
        _ALL,
        "Prompt-Guard, nli-deberta-v3, mxbai-rerank-v1, zeroshot-v2.0",
        {
            **_BASE,
            "intermediate_size": 3072,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    Shape(
        "modernbert",
        "ModernBERT-base",
        _ALL,
        "gte-reranker-modernbert-base, ModernBERT-large-zeroshot-v2.0",
        _SPECIALS,
        quick={"num_hidden_layers": 4},
    ),
    Shape("gte", "gte-base-en-v1.5", _ALL, 'gte-*-en-v1.5, gte-multilingual (also as "new")'),
    Shape("nomic_bert", "nomic-embed-text-v1.5", _ALL, "nomic-embed-text-v1.5"),
    Shape(
        "bart",
        "bart-base",
        "classification",
        "bart-large-mnli, distilbart-mnli",
        {
            "num_labels": 3,  # which the class fixes
            "use_cache": False,
            "d_model": 768,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
        },
        quick={"encoder_layers": 1, "decoder_layers": 1},
    ),
    Shape(
        "qwen3", "Qwen3-0.6B", f"{_ALL}, yes/no reranking", "Qwen3-Embedding, Qwen3-Reranker", _QWEN
    ),
    Shape(
        "qwen2",
        "Qwen2-0.5B",
        f"{_ALL}, yes/no reranking",
        "mxbai-rerank-v2",
        _QWEN
        | {
            "hidden_size": 896,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "num_hidden_layers": 24,
            "intermediate_size": 4864,
            "head_dim": 64,
        },
    ),
    Shape(
        "llama",
        "Llama-3.2-1B, 4 of 16 layers",
        f"{_ALL}, yes/no reranking",
        "reward and guard models",
        _QWEN
        | {
            "hidden_size": 2048,
            "num_attention_heads": 32,
            "head_dim": 64,
            "num_hidden_layers": 4,
            "intermediate_size": 8192,
        },
    ),
)
