"""Isobatch through its public API, with default settings but for threads and precision."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from benchmarks.tasks.task_sides import OutputRow, TaskSetup
from benchmarks.tasks.task_workloads import ZERO_SHOT_LABELS, Item, Question
from isobatch import Embedder, Reranker, TokenClassifier, ZeroShotClassifier


class IsobatchTask:
    """One pipeline; it plans its own batches."""

    def __init__(self, setup: TaskSetup) -> None:
        kinds: dict[str, tuple[Any, Callable[[Sequence[Item]], list[OutputRow]]]] = {
            "embeddings": (Embedder, self._embed),
            "reranking": (Reranker, self._rank),
            "zero-shot": (ZeroShotClassifier, self._zero_shot),
            "tokens": (TokenClassifier, self._entities),
        }
        kind, self._run = kinds[setup.task]
        self._pipeline: Any = kind.from_pretrained(
            setup.checkpoint, threads=setup.threads, precision=setup.precision
        )

    def run(self, items: Sequence[Item], batch_size: int) -> list[OutputRow]:
        """Compute all texts in one call, or all candidates of a query in one."""
        del batch_size  # its own
        return self._run(items)

    def _embed(self, items: Sequence[Item]) -> list[OutputRow]:
        return list(self._pipeline(list(items)).astype(np.float64))

    def _rank(self, items: Sequence[Item]) -> list[OutputRow]:
        rows = []
        for query, texts in cast("Sequence[Question]", items):
            logits = np.empty((len(texts), 1))
            for ranked in self._pipeline.rank(query, list(texts)):
                logits[ranked.index] = ranked.logit
            rows += list(logits)
        return rows

    def _zero_shot(self, items: Sequence[Item]) -> list[OutputRow]:
        predictions = self._pipeline(list(items), list(ZERO_SHOT_LABELS))
        return [np.array([*each.scores.values()]) for each in predictions]

    def _entities(self, items: Sequence[Item]) -> list[OutputRow]:
        kinds = {label[2:]: number for number, label in enumerate(self._pipeline.labels)}
        return [
            np.array([(e.start, e.end, kinds[e.label], e.score) for e in each.entities]).ravel()
            for each in self._pipeline(list(items))
        ]


def load(setup: TaskSetup) -> IsobatchTask:
    """Load the checkpoint."""
    return IsobatchTask(setup)
