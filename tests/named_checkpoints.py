"""Tiny checkpoints under the hub ids that documents name: a folder is read before the hub."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from embedding_folders import write_embedding_folder
from pair_checkpoints import NLI_LABELS, write_classifier
from tiny_checkpoints import Tiny
from tiny_token_models import BIO, write_token_checkpoint


def _embedder(folder: Path) -> None:
    shutil.move(write_embedding_folder(folder.with_name("made")), folder)


WRITERS: Mapping[str, Callable[[Path], object]] = {
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english": lambda folder: write_classifier(
        folder, Tiny("distilbert"), ("NEGATIVE", "POSITIVE")
    ),
    "cross-encoder/ms-marco-MiniLM-L6-v2": lambda folder: write_classifier(
        folder, Tiny("bert", num_labels=1)
    ),
    "sentence-transformers/all-MiniLM-L6-v2": _embedder,
    "dslim/bert-base-NER": lambda folder: write_token_checkpoint(folder, Tiny("bert"), BIO),
    "cross-encoder/nli-distilroberta-base": lambda folder: write_classifier(
        folder, Tiny("bert", num_labels=3), NLI_LABELS
    ),
}
"""One of each task."""


def write_named_checkpoints(folder: Path, document: str) -> list[str]:
    """Write those that a document names into a folder; return their names."""
    named = [name for name in WRITERS if f'"{name}"' in document]
    for name in named:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        WRITERS[name](folder / name)
    return named
