"""config.json of a merged adapter: its base model's, for the task and the labels of the adapter."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from isobatch.checkpoint.families import family_of
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.label_map import default_labels
from isobatch.checkpoint.lora_settings import LoraSettings

_CLASSES = {"SEQ_CLS": "ForSequenceClassification", "TOKEN_CLS": "ForTokenClassification"}
"""PEFT's name of a task → the ending of the class of transformers."""

_OUTPUTS = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
_WORDS = ("word_embeddings.weight", "tok_embeddings.weight", "embed_tokens.weight")


def write_merged_config(
    place: Path, base: Path, settings: LoraSettings, replaced: Mapping[str, Tensor]
) -> None:
    """Write config.json to the folder `place`.

    replaced: the tensors that the adapter has as a whole: the rows of a head are the number of
    labels, and those of a word table the vocabulary. Labels are LABEL_0 … where their number is not
    the base model's, because PEFT does not save their names.
    """
    raw = read_json(base / "config.json")
    ending = _CLASSES.get(settings.task_type or "")
    if ending is not None:
        raw["architectures"] = [family_of(raw.get("model_type")).class_prefix + ending]
    rows = _rows(replaced, _OUTPUTS)
    if rows is not None and rows != _num_labels(raw):
        labels = default_labels(rows)
        raw.pop("num_labels", None)
        raw["id2label"] = {str(number): label for number, label in enumerate(labels)}
        raw["label2id"] = {label: number for number, label in enumerate(labels)}
    if (words := _rows(replaced, _WORDS)) is not None:
        raw["vocab_size"] = words
    text = json.dumps(raw, indent=2, ensure_ascii=False)
    (place / "config.json").write_text(text + "\n", encoding="utf-8")


def _rows(tensors: Mapping[str, Tensor], endings: tuple[str, ...]) -> int | None:
    return next((len(t) for name, t in tensors.items() if f".{name}".endswith(endings)), None)


def _num_labels(raw: Mapping[str, object]) -> int:
    """Return the number of labels of a config.json; two where it has none, as in transformers."""
    labels, number = raw.get("id2label"), raw.get("num_labels")
    if isinstance(labels, Mapping):
        return len(labels)
    return number if isinstance(number, int) else 2
