"""Tiny embedding models of every family, saved by sentence-transformers, the reference.

The encoder is a tiny random one with a tiny tokenizer, whose limit is 48 tokens. Modules that
have weights get them from a seed, as wide as those of the encoder.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import transformers
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tiny_checkpoints import Tiny, fill_randomly, tiny_config
from tokenizer_folders import WRITERS, write_tokenizer, write_wordpiece_folder
from torch import nn

Vectors = NDArray[np.float32]

SIZE = Tiny("bert").hidden_size
TEXTS = [
    "",
    "Today",
    "Today is a nice day!",
    "But what about tomorrow? Im not sure.",
    "A gripping film, with a cast that is better than its plot.",
    "It doesn't work, and they've said: 'never again'",
    "naïve Café, 今日 is good 😀",
    "a nice film with a good plot " * 9,
]
"""One is empty, one is longer than the tokenizer's limit."""

Modules = Sequence[nn.Module]
EmbeddingFolder = Callable[..., Path]
"""(model_type, pooling modes…) → the folder of a tiny embedding model; a fixture has this type."""


def write_encoder(folder: Path, model_type: str = "bert", *, lowercase: bool = True) -> Path:
    """Write a tiny encoder without a head, and its tokenizer."""
    config = tiny_config(Tiny(model_type))
    model = fill_randomly(transformers.AutoModel.from_config(config)).eval()
    model.save_pretrained(folder)
    if model_type in WRITERS:
        return write_tokenizer(folder, model_type)
    return write_wordpiece_folder(folder, model_type, lowercase=lowercase)


def write_embedding_folder(
    folder: Path,
    model_type: str = "bert",
    modules: Modules | None = None,
    *,
    lowercase: bool = True,
    **options: object,
) -> Path:
    """Write an embedding model; modules: those after the encoder, else mean pooling and a norm.

    options: of SentenceTransformer, such as prompts.
    """
    encoder = Transformer(str(write_encoder(folder / "encoder", model_type, lowercase=lowercase)))
    if modules is None:
        modules = [Pooling(SIZE, "mean"), Normalize()]
    for seed, module in enumerate(modules):
        fill_randomly(module, seed)
    model = SentenceTransformer(modules=[encoder, *modules], device="cpu", **options)
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def reference_vectors(folder: Path, texts: Sequence[str] = TEXTS, **options: object) -> Vectors:
    """Return the vectors of sentence-transformers; options: of `encode`."""
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    vectors: Vectors = model.encode(list(texts), show_progress_bar=False, **options)
    return vectors


def edit_json(path: Path, **changes: object) -> None:
    """Write keys into a JSON file that may not exist; None deletes one."""
    raw = json.loads(path.read_text("utf-8")) if path.exists() else {}
    kept = {key: value for key, value in (raw | changes).items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept), encoding="utf-8")
