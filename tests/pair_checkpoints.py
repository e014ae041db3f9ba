"""Tiny checkpoints that read pairs: rerankers of both kinds, and models of language inference.

Each has a tokenizer of its family. A modular reranker is saved by sentence-transformers itself.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
from tiny_checkpoints import DECODERS, Tiny, fill_randomly, tiny_config, write_checkpoint
from tokenizer_folders import write_tokenizer
from torch import nn

NLI_LABELS = ("contradiction", "neutral", "entailment")
NLI_LABELS_REVERSED = ("entailment", "neutral", "contradiction")

QUERY = "is it a nice day today?"
TEXTS = [
    "Today is a nice day!",
    "But what about tomorrow? Im not sure.",
    "a gripping film, with a cast that is better than its plot, and that is " * 4,
    "",
    "day day day",
    "Café naïve: l'été n'est pas fini",
    "3.14 % of 2,718",
    "nice",
]
"""Some are longer than the 48 tokens of a tiny tokenizer, and one is empty."""


def write_classifier(
    folder: Path, tiny: Tiny, labels: Sequence[str] | None = None, **settings: object
) -> Path:
    """Write a checkpoint with a tokenizer, with these labels and settings of config.json."""
    write_tokenizer(write_checkpoint(folder, tiny), tiny.model_type)
    if labels is not None:
        by_id = {str(index): label for index, label in enumerate(labels)}
        settings |= {"id2label": by_id, "label2id": {v: int(k) for k, v in by_id.items()}}
    return add_settings(folder / "config.json", settings).parent


def add_settings(path: Path, settings: Mapping[str, object]) -> Path:
    """Add settings to a JSON file, which may not exist."""
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | dict(settings)))
    return path


def write_modular_reranker(
    folder: Path, tiny: Tiny, pooling: str = "cls", activation: nn.Module | None = None
) -> Path:
    """Write a reranker of modules; activation: sentence-transformers' default without one."""
    encoder = fill_randomly(transformers.AutoModel.from_config(tiny_config(tiny)), tiny.seed)
    base = folder.parent / f"{folder.name} encoder"
    encoder.save_pretrained(base)
    write_tokenizer(base, tiny.model_type)
    size = tiny.hidden_size
    if tiny.model_type in DECODERS:
        pooling = "lasttoken"  # their first token has read no other
    modules = [
        Transformer(str(base)),
        Pooling(size, pooling),
        Dense(size, 2 * size, activation_function=nn.GELU()),
        LayerNorm(2 * size),
        Dense(
            2 * size, 1, activation_function=nn.Identity(), bias=False, module_output_name="scores"
        ),
    ]
    for number, module in enumerate(modules[2:]):
        fill_randomly(module, tiny.seed + 1 + number)  # type: ignore[arg-type]
    made = CrossEncoder(modules=modules, activation_fn=activation, device="cpu")
    made.save_pretrained(str(folder), create_model_card=False)
    return folder


def cross_encoder(folder: Path) -> CrossEncoder:
    """sentence-transformers' model of the checkpoint, float32, on the CPU."""
    return CrossEncoder(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
