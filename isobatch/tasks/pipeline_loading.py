"""Which class loads a checkpoint: that of the task which its files state, or of one that is named.

Invariant: a class is chosen by what a file or the caller says, never by names of tensors.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from isobatch.checkpoint import locate_checkpoint, read_stated_task
from isobatch.errors import OptionError
from isobatch.tasks.pipeline import Pipeline
from isobatch.types import Task

PipelineTask = Task | Literal["text-ranking", "zero-shot-classification"]
"""The task of a pipeline, by Hugging Face's names: those of heads, and two that are other uses of a
head for text-classification."""

CLASSES: Mapping[PipelineTask, tuple[str, str]] = {
    "text-classification": ("isobatch.tasks.classification", "Classifier"),
    "text-ranking": ("isobatch.tasks.reranking", "Reranker"),
    "zero-shot-classification": ("isobatch.tasks.zero_shot", "ZeroShotClassifier"),
    "token-classification": ("isobatch.tasks.token_classification", "TokenClassifier"),
    "feature-extraction": ("isobatch.tasks.embedding", "Embedder"),
}
"""Module and name of the class of each task; it is imported when it is needed."""


def load_pipeline(
    path: str | Path | None = None,
    task: PipelineTask | None = None,
    *,
    revision: str | None = None,
    **options: Any,
) -> Pipeline[Any]:
    """Load a checkpoint by the class for `task`, or for the task that its files state.

    Where they state none, that is text-classification. path, revision: as in
    `Pipeline.from_pretrained`. options: those of the class's `from_pretrained`. Raises OptionError
    for an unknown task, MissingHeadError for one that the checkpoint is not for, and the errors of
    `from_pretrained`.
    """
    if task is not None and task not in CLASSES:
        raise OptionError(f"task {task!r} is not supported. Use one of: {', '.join(CLASSES)}")
    folder = locate_checkpoint(path, revision)
    module, name = CLASSES[task or stated_or_default(folder)]
    kind = cast("type[Pipeline[Any]]", getattr(import_module(module), name))
    return kind.from_pretrained(folder, **options)


def stated_or_default(folder: Path) -> Task:
    """Return the task that the files in `folder` state, or text-classification.

    Raises CheckpointError for a configuration that cannot be read.
    """
    return read_stated_task(folder) or "text-classification"
