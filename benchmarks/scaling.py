"""Scaling: an increasing number of texts through `Classifier.stream`, time a token and memory.

Invariant: each run is a process of its own, so its peak memory is that of its size; the texts are
generated one by one, so they do not count in it.
"""

import statistics
from typing import Any

from benchmarks.checkpoints import Checkpoint
from benchmarks.engines import OURS, find_engine
from benchmarks.loaded_engines import BenchmarkRun, load_isobatch, log_progress
from benchmarks.schema import Precision, ScalingResult, ScalingSize


def measure_scaling(
    run: BenchmarkRun, checkpoint: Checkpoint, texts: list[str], precision: Precision
) -> ScalingResult:
    """Stream every size as often as the plan says.

    Every size has its turn before any has its second: a machine that slows down for a while slows
    the small sizes too.
    """
    plan = run.plan
    replies: dict[int, list[dict[str, Any]]] = {size: [] for size in plan.scaling_sizes}
    for turn in range(max(plan.scaling_runs)):
        for size, times in zip(plan.scaling_sizes, plan.scaling_runs, strict=True):
            if turn < times:
                replies[size].append(_stream(run, checkpoint, texts, precision, size))
    sizes = [_summarize(size, each) for size, each in replies.items()]
    return {"precision": precision, "sizes": sizes}


def _stream(
    run: BenchmarkRun, checkpoint: Checkpoint, texts: list[str], precision: Precision, size: int
) -> dict[str, Any]:
    log_progress(checkpoint, f"streaming {size:,} texts in {precision}")
    with load_isobatch(run, checkpoint, find_engine(OURS[precision]), "scaling") as (worker, _):
        return worker.request("stream", texts=texts, count=size)


def _summarize(size: int, replies: list[dict[str, Any]]) -> ScalingSize:
    seconds = [float(reply["seconds"]) for reply in replies]
    tokens = int(replies[0]["tokens"])
    median = statistics.median(seconds)
    return {
        "texts": size,
        "tokens": tokens,
        "seconds": seconds,
        "median_seconds": median,
        "microseconds_per_token": median / tokens * 1e6,
        "peak_memory_mb": statistics.median(reply["peak_memory_mb"] for reply in replies),
    }
