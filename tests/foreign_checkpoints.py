"""Tiny checkpoints of architectures that Isobatch does not have, with a tiny WordPiece tokenizer.

They are written by transformers, the reference; a folder loads with engine="transformers" only.
"""

from collections.abc import Mapping
from pathlib import Path

import transformers
from tiny_checkpoints import fill_randomly
from tokenizer_folders import write_wordpiece_folder

VOCAB_SIZE = 400
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 160,
}
ARCHITECTURES: Mapping[str, Mapping[str, object]] = {
    "fnet": _SIZES,
    "convbert": _SIZES | {"embedding_size": 32},
    "big_bird": _SIZES | {"attention_type": "original_full"},
    "funnel": {"block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48},
    "squeezebert": _SIZES | {"embedding_size": 32},
    "mobilebert": _SIZES
    | {
        "embedding_size": 32,
        "intra_bottleneck_size": 32,
        "true_hidden_size": 32,
        "num_feedforward_networks": 2,
    },
    "data2vec-text": _SIZES,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 160, "pad_token_id": 0},
}
"""Fourier transforms, convolutions, sparse attention, pooling of tokens, RoBERTa's positions, and a
decoder."""

TEXTS = [
    "",
    "Today",
    "Today is a nice day!",
    "But what about tomorrow? Im not sure.",
    "a nice day, a nice film",
    "A gripping film, with a cast that is better than its plot.",
    "It doesn't work, and they've said: 'never again'",
    "naïve Café, 今日 is good 😀",
    "film plot cast day",
    "cast film day plot",
    "a nice film with a good plot " * 9,
]
"""Some have equal lengths; the last one is longer than the tokenizer's limit of 48 tokens."""


def write_foreign(
    folder: Path,
    model_type: str,
    auto: str = "AutoModelForSequenceClassification",
    *,
    options: Mapping[str, object] | None = None,
    **settings: object,
) -> Path:
    """Write the checkpoint of an architecture; `options` are the tokenizer's."""
    sizes = {"vocab_size": VOCAB_SIZE, "pad_token_id": 0, **ARCHITECTURES[model_type], **settings}
    config = transformers.AutoConfig.for_model(model_type, **sizes)
    model = getattr(transformers, auto).from_config(config)
    fill_randomly(model).eval().save_pretrained(folder)
    return write_wordpiece_folder(folder, options=options)
