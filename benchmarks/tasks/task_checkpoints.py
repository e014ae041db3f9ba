"""Checkpoints of each task with seeded random weights and the bundled model's tokenizer.

They are written by a process of their own, so that the driver does not import torch. Invariant: a
cache folder is named by everything that it depends on, and is written atomically.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import atomic_folder
from benchmarks.engines import peer
from benchmarks.files import run_in_new_process
from benchmarks.system_info import installed_version
from benchmarks.tasks.task_workloads import TaskName

SEED = 0
MAX_TOKENS = 512
_LABELS: dict[TaskName, list[str]] = {
    "embeddings": [],
    "reranking": ["LABEL_0"],
    "zero-shot": ["contradiction", "neutral", "entailment"],
    "tokens": ["O", "I-PER", "I-ORG", "I-LOC", "I-MISC"],
}
"""Entities have no B- labels: within a word Isobatch ignores those of random weights, which the
pipeline's "simple" does not (docs/entities.md)."""

_MODELS: dict[TaskName, str] = {
    "embeddings": "AutoModel",
    "reranking": "AutoModelForSequenceClassification",
    "zero-shot": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
}
_OUTSIDE_BIAS = 1.0
"""Added to the logit of "O": otherwise random weights would find an entity at every token."""


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder. classified: the checkpoint of `python -m benchmarks` of these sizes."""

    name: str
    title: str
    classified: str
    config: dict[str, Any]


SMALL = Shape(
    "small",
    "MiniLM-L6 shape (BERT, 6 layers, 384/1536)",
    "bundled",
    {
        "model_type": "bert",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
    },
)
BASE = Shape(
    "base", "DistilBERT-base shape (6 layers, 768/3072)", "base", {"model_type": "distilbert"}
)
SHAPES = {shape.name: shape for shape in (SMALL, BASE)}


def task_checkpoint(build: Path, task: TaskName, shape: Shape, tokenizer_from: Path) -> Path:
    """Write the checkpoint of a task, once; return its folder."""
    digest = hashlib.sha256((tokenizer_from / "tokenizer.json").read_bytes())
    digest.update(Path(__file__).read_bytes())
    digest.update(repr((shape, installed_version("transformers"))).encode())
    folder = build / "tasks" / f"{task}-{shape.name}-seed{SEED}-{digest.hexdigest()[:12]}"
    if not folder.is_dir():
        with atomic_folder(folder) as unfinished:
            run_in_new_process(write_checkpoint, unfinished, task, shape, tokenizer_from)
    return folder


def write_checkpoint(folder: Path, task: TaskName, shape: Shape, tokenizer_from: Path) -> None:
    """Write the configuration, random weights, tokenizer, and what sentence-transformers reads."""
    import torch

    transformers = peer("transformers")
    tokenizer = json.loads((tokenizer_from / "tokenizer.json").read_text(encoding="utf-8"))
    labels = _LABELS[task]
    sizes = dict(shape.config)
    config = transformers.AutoConfig.for_model(
        sizes.pop("model_type"), vocab_size=len(tokenizer["model"]["vocab"]), **sizes
    )
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
    torch.manual_seed(SEED)
    model = getattr(transformers, _MODELS[task]).from_config(config)
    if task == "tokens":
        model.classifier.bias.data[0] += _OUTSIDE_BIAS
    model.save_pretrained(folder)
    _write_tokenizer(folder, shape, tokenizer, tokenizer_from)
    if task == "embeddings":
        _write_modules(folder, config.hidden_size)


def _write_tokenizer(
    folder: Path, shape: Shape, tokenizer: dict[str, Any], tokenizer_from: Path
) -> None:
    # A fixed length or padding in the file would slow some sides and not others.
    tokenizer |= {"truncation": None, "padding": None}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    shutil.copy(tokenizer_from / path.name, path)
    if shape.config["model_type"] == "bert":  # which reads token types
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings |= {"tokenizer_class": "BertTokenizer"}
        settings.pop("model_input_names", None)
        path.write_text(json.dumps(settings), encoding="utf-8")


def _write_modules(folder: Path, size: int) -> None:
    """Write the modules of all-MiniLM-L6-v2: the encoder, mean pooling, vectors of length 1."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "2_Normalize").mkdir()
    (folder / "1_Pooling").mkdir()
    for name, content in {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": size,
            "pooling_mode_mean_tokens": True,
        },
    }.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
