"""The pipelines of `transformers`; a batch size of 1 is their default."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from benchmarks.engines import peer
from benchmarks.tasks.task_sides import OutputRow, TaskSetup
from benchmarks.tasks.task_workloads import ZERO_SHOT_LABELS, Item, Question, TaskName

_TASKS: dict[TaskName, str] = {
    "reranking": "text-classification",
    "zero-shot": "zero-shot-classification",
    "tokens": "token-classification",
}
_OPTIONS: dict[TaskName, dict[str, Any]] = {
    "reranking": {"function_to_apply": "none"},
    "zero-shot": {},
    "tokens": {"aggregation_strategy": "simple"},
}


class PipelineTask:
    """One pipeline on the CPU in fp32."""

    def __init__(self, setup: TaskSetup) -> None:
        transformers, torch = peer("transformers"), peer("torch")
        torch.set_num_threads(setup.threads)
        transformers.logging.set_verbosity_error()
        self._task = setup.task
        self._pipeline: Any = transformers.pipeline(
            _TASKS[setup.task],
            model=str(setup.checkpoint),
            device="cpu",
            dtype=torch.float32,
            **_OPTIONS[setup.task],
        )
        self._kinds = {
            label[2:]: number for label, number in self._pipeline.model.config.label2id.items()
        }

    def run(self, items: Sequence[Item], batch_size: int) -> list[OutputRow]:
        """Compute all texts in one call, or all candidates of a query in one."""
        if self._task == "reranking":
            return [
                np.array([each["score"]])
                for query, texts in cast("Sequence[Question]", items)
                for each in self._pipeline(
                    [{"text": query, "text_pair": text} for text in texts],
                    batch_size=batch_size,
                    truncation=True,
                )
            ]
        if self._task == "zero-shot":
            labels = list(ZERO_SHOT_LABELS)
            found = self._pipeline(list(items), candidate_labels=labels, batch_size=batch_size)
            scores = [dict(zip(each["labels"], each["scores"], strict=True)) for each in found]
            return [np.array([each[label] for label in labels]) for each in scores]
        return [
            np.array(
                [
                    (e["start"], e["end"], self._kinds[e["entity_group"]], e["score"])
                    for e in entities
                ],
                np.float64,
            ).ravel()
            for entities in self._pipeline(list(items), batch_size=batch_size)
        ]


def load(setup: TaskSetup) -> PipelineTask:
    """Load the checkpoint."""
    return PipelineTask(setup)
