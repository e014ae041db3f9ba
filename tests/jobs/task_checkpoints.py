"""A tiny checkpoint of each task, with its tokenizer, and the options of `isobatch` for it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import transformers
from tiny_checkpoints import Tiny, fill_randomly, tiny_config, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SIZE = 32
"""Numbers of a vector."""


def _tiny(**options: object) -> Tiny:
    return Tiny("bert", num_layers=1, intermediate_size=16, **options)  # type: ignore[arg-type]


def write_reranker(folder: Path) -> Path:
    """A checkpoint with one label, whose score is a sigmoid."""
    return write_wordpiece_folder(write_checkpoint(folder, _tiny(num_labels=1)))


def write_nli(folder: Path) -> Path:
    """A checkpoint of natural language inference."""
    write_checkpoint(folder, _tiny(num_labels=3))
    names = {"0": "contradiction", "1": "neutral", "2": "entailment"}
    _add(folder / "config.json", {"id2label": names, "label2id": _inverse(names)})
    return write_wordpiece_folder(folder)


def write_token_classifier(folder: Path) -> Path:
    """A checkpoint that tags tokens."""
    tiny = _tiny(num_labels=len(TAGS))
    config = tiny_config(tiny)
    config.id2label = dict(enumerate(TAGS))
    config.label2id = {tag: index for index, tag in enumerate(TAGS)}
    model = transformers.AutoModelForTokenClassification.from_config(config)
    fill_randomly(model).eval().save_pretrained(folder)
    return write_wordpiece_folder(folder)


def write_embedder(folder: Path) -> Path:
    """A folder of sentence-transformers: mean pooling, normalized, with prompts."""
    write_wordpiece_folder(write_checkpoint(folder, _tiny()))
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.{kind}"}
        for index, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": SIZE, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    prompts = {"prompts": {"query": "nice: ", "passage": "day: "}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "ranking": write_reranker,
    "zero-shot": write_nli,
    "entities": write_token_classifier,
    "vectors": write_embedder,
}

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "ranking": ("run", "--query", "Is it a nice day?", "--logits"),
    "zero-shot": ("run", "--labels", 'good,bad,"so, so"', "--scores"),
    "entities": ("run",),
    "vectors": ("embed",),
}
"""The command and its options for a checkpoint of each kind."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "ranking": ("score", "logits"),
    "zero-shot": ("label", "score", "score_good", "score_bad", "score_so, so"),
    "entities": ("entities",),
    "vectors": ("embedding",),
}
"""The columns that they add, before those of every task."""


def _add(path: Path, more: Mapping[str, object]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def _inverse(names: Mapping[str, str]) -> dict[str, int]:
    return {name: int(index) for index, name in names.items()}
