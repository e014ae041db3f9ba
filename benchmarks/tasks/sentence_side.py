"""sentence-transformers: `SentenceTransformer.encode` and `CrossEncoder.predict`; both sort."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from benchmarks.engines import peer
from benchmarks.tasks.task_sides import OutputRow, TaskSetup
from benchmarks.tasks.task_workloads import Item, Question


class SentenceTask:
    """The library on the CPU with default settings but for the batch size; logits for scores."""

    def __init__(self, setup: TaskSetup) -> None:
        library, torch = peer("sentence_transformers"), peer("torch")
        torch.set_num_threads(setup.threads)
        self._reranks = setup.task == "reranking"
        folder = str(setup.checkpoint)
        self._model: Any = (
            library.CrossEncoder(folder, device="cpu", activation_fn=torch.nn.Identity())
            if self._reranks
            else library.SentenceTransformer(folder, device="cpu")
        )

    def run(self, items: Sequence[Item], batch_size: int) -> list[OutputRow]:
        """Embed all texts in one call, or score all candidates of a query in one."""
        options = {"batch_size": batch_size, "show_progress_bar": False}
        if not self._reranks:
            return list(self._model.encode(list(items), **options).astype(np.float64))
        rows: list[OutputRow] = []
        for query, texts in cast("Sequence[Question]", items):
            logits = self._model.predict([(query, text) for text in texts], **options)
            rows += list(logits.astype(np.float64).reshape(-1, 1))
        return rows


def load(setup: TaskSetup) -> SentenceTask:
    """Load the checkpoint."""
    return SentenceTask(setup)
