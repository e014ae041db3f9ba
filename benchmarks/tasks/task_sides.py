"""The sides of each task: Isobatch, and the libraries that users run it by.

A side's module is imported only in its own process. It has `load(setup) -> LoadedTask`. Invariant:
`run` returns the rows in the caller's order, in whichever order the side computes them.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.schema import Precision
from benchmarks.tasks.task_workloads import Item, TaskName

TASK_TITLES: dict[TaskName, str] = {
    "embeddings": "Embeddings",
    "reranking": "Reranking",
    "zero-shot": "Zero-shot classification",
    "tokens": "Token classification",
}

OutputRow = NDArray[np.float64]
"""A vector; a logit; the score of each label; or each entity's start, end, label and score."""


@dataclass(frozen=True)
class TaskSide:
    """A way to run a task.

    batch_sizes: those that are tried before the run, of which the fastest is used; empty: the side
    plans its own batches. conversion: the kind of file that it loads, if not the checkpoint.
    """

    name: str
    title: str
    module: str
    precision: Precision = "fp32"
    batch_sizes: tuple[int, ...] = ()
    conversion: str = ""


@dataclass(frozen=True)
class TaskSetup:
    """Settings for loading a side; `prepared` is the folder of its converted checkpoint."""

    task: TaskName
    checkpoint: Path
    prepared: Path
    threads: int
    precision: Precision


class LoadedTask(Protocol):
    """A loaded side."""

    def run(self, items: Sequence[Item], batch_size: int) -> list[OutputRow]:
        """Compute one row for each text or candidate, from strings."""


SIZES = (8, 16, 32, 64)
PADDED_SIZES = (2, 4, 8, 16, 32)
ISOBATCH = TaskSide("isobatch", "**Isobatch**", "isobatch_side")
ISOBATCH_INT8 = TaskSide("isobatch-int8", "**Isobatch**", "isobatch_side", precision="int8")
SENTENCE_32 = TaskSide("sentence-32", "`sentence-transformers`", "sentence_side", batch_sizes=(32,))
SENTENCE_BEST = TaskSide(
    "sentence-best", "`sentence-transformers`, best size", "sentence_side", batch_sizes=SIZES
)
PIPELINE = TaskSide(
    "pipeline", "`transformers` pipeline, default", "pipeline_side", batch_sizes=(1,)
)
PIPELINE_32 = TaskSide("pipeline-32", "`transformers` pipeline", "pipeline_side", batch_sizes=(32,))
ONNXRUNTIME = TaskSide(
    "onnxruntime",
    "ONNX Runtime, fused, sorted",
    "exported_side",
    batch_sizes=PADDED_SIZES,
    conversion="onnxruntime",
)
OPENVINO = TaskSide(
    "openvino", "OpenVINO, sorted", "exported_side", batch_sizes=PADDED_SIZES, conversion="openvino"
)
ONNXRUNTIME_INT8 = TaskSide(
    "onnxruntime-int8",
    "ONNX Runtime, fused, sorted",
    "exported_side",
    precision="int8",
    batch_sizes=PADDED_SIZES,
    conversion="onnxruntime-int8",
)
_EXPORTED = (ONNXRUNTIME, OPENVINO, ISOBATCH_INT8, ONNXRUNTIME_INT8)

SIDES: dict[TaskName, tuple[TaskSide, ...]] = {
    "embeddings": (ISOBATCH, SENTENCE_32, SENTENCE_BEST, *_EXPORTED),
    "reranking": (ISOBATCH, SENTENCE_32, SENTENCE_BEST, PIPELINE, PIPELINE_32, *_EXPORTED),
    "zero-shot": (ISOBATCH, PIPELINE, PIPELINE_32),
    "tokens": (ISOBATCH, PIPELINE, PIPELINE_32),
}
REFERENCES: dict[TaskName, TaskSide] = {
    "embeddings": SENTENCE_32,
    "reranking": SENTENCE_32,
    "zero-shot": PIPELINE,
    "tokens": PIPELINE,
}
"""The side that all others must agree with."""

BASELINES: dict[Precision, TaskSide] = {"fp32": ISOBATCH, "int8": ISOBATCH_INT8}


def side_module(side: TaskSide) -> Any:
    """Import a side's module and its library."""
    return importlib.import_module(f"benchmarks.tasks.{side.module}")
