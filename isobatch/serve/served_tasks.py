"""The tasks that a model can be served for, by Hugging Face's names.

Invariant: a route answers exactly where one of its tasks is among those of the served model.
"""

from collections.abc import Mapping
from typing import Any

from isobatch.tasks import Pipeline
from isobatch.tasks.candidate_labels import find_nli_labels
from isobatch.tasks.pipeline_loading import PipelineTask

_NEEDS: Mapping[PipelineTask, str] = {
    "text-classification": "a head for sequence classification",
    "text-ranking": "one label",
    "zero-shot-classification": "labels for entailment and contradiction, as NLI checkpoints have",
    "token-classification": "a head for token classification",
    "feature-extraction": "a checkpoint that was loaded for vectors (--task feature-extraction)",
}


def served_tasks(pipeline: Pipeline[Any]) -> tuple[PipelineTask, ...]:
    """List the tasks that `pipeline` can be served for, its own first."""
    if pipeline.task != "text-classification":
        return (pipeline.task,)
    labels = pipeline.config.head.labels
    if len(labels) == 1:
        return ("text-ranking", "text-classification")
    if find_nli_labels(labels) is not None:
        return ("text-classification", "zero-shot-classification")
    return ("text-classification",)


def missing_for(tasks: tuple[PipelineTask, ...], pipeline: Pipeline[Any]) -> str:
    """Say what a route for `tasks` needs, and what the served model has instead."""
    needed = " or ".join(_NEEDS[task] for task in tasks)
    mine = served_tasks(pipeline)[0]
    labels = pipeline.config.head.labels
    has = f" ({len(labels)} {'label' if len(labels) == 1 else 'labels'})" if labels else ""
    return f"is for {' or '.join(tasks)} and needs {needed}; the served model is for {mine}{has}"
