"""A tiny model of each task with a tokenizer, for tests of the server's routes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import transformers
from serve.served import THREE_LABELS, write_tiny
from tiny_checkpoints import Tiny, fill_randomly, tiny_config
from tiny_token_models import write_word_tagger
from tokenizer_folders import write_wordpiece_folder

from isobatch.tasks import Pipeline, load_pipeline

NLI_LABELS = ("contradiction", "neutral", "entailment")
TAGGED = {"nice": "B-PER", "day": "I-PER", "film": "B-LOC", "not": "B-LOC", "sure": "I-LOC"}
PROMPTS = {"query": "is it good? ", "passage": "day: "}


def write_reranker(folder: Path) -> Path:
    """A checkpoint with one label."""
    return write_tiny(folder, Tiny("bert", num_labels=1))


def write_nli(folder: Path) -> Path:
    """A checkpoint with the labels of natural language inference."""
    return _with_labels(write_tiny(folder, THREE_LABELS), NLI_LABELS)


def write_embedder(folder: Path, *, normalizes: bool = True) -> Path:
    """A sentence-transformers folder: the mean of all tokens, perhaps normalized; two prompts."""
    tiny = Tiny("bert")
    model = transformers.AutoModel.from_config(tiny_config(tiny))
    fill_randomly(model, tiny.seed).eval().save_pretrained(folder)
    write_wordpiece_folder(folder, "bert")
    modules = ["Transformer", "Pooling"] + ["Normalize"] * normalizes
    listed = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(modules)
    ]
    _write(folder / "modules.json", listed)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"prompts": PROMPTS})
    pooling = {"word_embedding_dimension": tiny.hidden_size, "pooling_mode_mean_tokens": True}
    _write(folder / "1_Pooling/config.json", pooling)
    return folder


def write_plain_embedder(folder: Path) -> Path:
    """As write_embedder, without a Normalize module."""
    return write_embedder(folder, normalizes=False)


def write_tagger(folder: Path) -> Path:
    """A checkpoint that gives each word of TAGGED its tag, and "O" to all others."""
    return write_word_tagger(folder, TAGGED)


WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "three labels": write_tiny,
    "reranker": write_reranker,
    "nli": write_nli,
    "tagger": write_tagger,
    "embedder": write_embedder,
    "plain embedder": write_plain_embedder,
}


def load_kind(kind: str, folder: Path, **options: Any) -> Pipeline[Any]:
    """The pipeline of a model of that kind, which is written to `folder`."""
    return load_pipeline(WRITERS[kind](folder), **options)


def _with_labels(folder: Path, labels: tuple[str, ...]) -> Path:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["id2label"] = {str(index): label for index, label in enumerate(labels)}
    config["label2id"] = {label: index for index, label in enumerate(labels)}
    _write(path, config)
    return folder


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
