"""Ever more texts through `Classifier.stream`: does a token cost more, or memory grow?

It knows the wire, and no engine but Isobatch's. Invariant: each run is a process of its own, so its
peak memory is that of its size; and the texts are made one by one, so they are no part of it.
"""

import statistics
from typing import Any

from benchmarks.bars import judge_scaling
from benchmarks.checkpoints import Checkpoint
from benchmarks.contestants import Bench, lone_process, progress
from benchmarks.engines import OURS, find_engine
from benchmarks.schema import Precision, ScalingResult, ScalingSize


def measure_scaling(
    bench: Bench, checkpoint: Checkpoint, texts: list[str], precision: Precision
) -> ScalingResult:
    """Stream every size as often as the plan says.

    Every size has its turn before any has its second: a machine that slows down for a while slows
    the small sizes too.
    """
    plan = bench.plan
    runs: dict[int, list[dict[str, Any]]] = {size: [] for size in plan.scaling_sizes}
    for turn in range(max(plan.scaling_runs)):
        for size, times in zip(plan.scaling_sizes, plan.scaling_runs, strict=True):
            if turn < times:
                runs[size].append(_run(bench, checkpoint, texts, precision, size))
    sizes = [_size(size, answers) for size, answers in runs.items()]
    return {"precision": precision, "sizes": sizes, "bars": judge_scaling(sizes)}


def _run(
    bench: Bench, checkpoint: Checkpoint, texts: list[str], precision: Precision, size: int
) -> dict[str, Any]:
    progress(checkpoint, f"streaming {size:,} texts in {precision}")
    with lone_process(bench, checkpoint, find_engine(OURS[precision]), "scaling") as worker:
        return worker.ask("stream", texts=texts, count=size)


def _size(size: int, answers: list[dict[str, Any]]) -> ScalingSize:
    seconds = [float(answer["seconds"]) for answer in answers]
    tokens = int(answers[0]["tokens"])
    median = statistics.median(seconds)
    return {
        "texts": size,
        "tokens": tokens,
        "seconds": seconds,
        "median_seconds": median,
        "microseconds_per_token": median / tokens * 1e6,
        "peak_memory_mb": statistics.median(answer["peak_memory_mb"] for answer in answers),
    }
