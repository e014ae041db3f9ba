"""Tiny checkpoints with a tokenizer, as a training starts from them."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import load_file, save_file
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import WRITERS, write_wordpiece_folder


def write_whole(folder: Path, tiny: Tiny, tiny_folder: TinyFolder, **options: Any) -> Path:
    """A copy of the tiny checkpoint, with a tokenizer of its family."""
    shutil.copytree(tiny_folder(tiny), folder)
    return WRITERS.get(tiny.model_type, write_wordpiece_folder)(folder, tiny.model_type, **options)


def edit_config(folder: Path, removed: Collection[str] = (), **changes: object) -> None:
    path = folder / "config.json"
    raw = {key: value for key, value in json.loads(path.read_text()).items() if key not in removed}
    path.write_text(json.dumps(raw | changes))


def make_encoder(folder: Path, *, prefix: bool = True, pooler: bool = True) -> None:
    """Remove the head from a checkpoint of BERT, as `BertModel` and embedding models have none."""
    tensors = load_file(folder / "model.safetensors")
    kept = {name: each for name, each in tensors.items() if name.startswith("bert.")}
    if not pooler:
        kept = {name: each for name, each in kept.items() if "pooler" not in name}
    if not prefix:
        kept = {name.removeprefix("bert."): each for name, each in kept.items()}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    edit_config(folder, ("id2label", "label2id", "problem_type"), architectures=["BertModel"])


def reference_logits(folder: Path, texts: list[str]) -> list[list[float]]:
    """The logits of transformers, one text at a time."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return [
        model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0].tolist()
        for text in texts
    ]
