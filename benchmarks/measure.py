"""The protocol on one checkpoint: warm up, equivalence check, timed rounds, bit comparison.

Invariant: one process works at a time, and an engine that fails the equivalence check is not timed.
"""

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.checkpoints import Checkpoint
from benchmarks.engines import EngineSpec, Logits
from benchmarks.equivalence import LogitError, compare_with_reference, reject_another_model
from benchmarks.loaded_engines import BenchmarkRun, LoadedEngine, load_engines, log_progress
from benchmarks.result_files import log
from benchmarks.schema import Bits, Bulk, CheckpointResult, EngineResult, OneText
from benchmarks.worker_process import WorkerProcess
from benchmarks.workload import Workload

_REFERENCE = "transformers-arrival"
_LARGEST_IDLE_SHARE = 0.05
# Intel's OpenMP (in CTranslate2's wheel) spins for 0.2 s after a parallel region: the next engine
# waits until the threads of the last one are asleep.
_PAUSE_SECONDS = 0.3


def measure(
    run: BenchmarkRun, checkpoint: Checkpoint, specs: Sequence[EngineSpec]
) -> CheckpointResult:
    """Run the whole protocol on one checkpoint."""
    with ExitStack() as stack:
        engines, left_out = load_engines(run, checkpoint, specs, stack)
        log_progress(checkpoint, "warming up, equivalence check")
        errors = _warm_up(run.workload, engines)
        for number in range(run.plan.rounds):
            log_progress(checkpoint, f"round {number + 1} of {run.plan.rounds}")
            # Each round starts with another engine, so that none always follows the same one.
            start = number % max(1, len(engines))
            _run_round(run, engines[start:] + engines[:start])
        results: dict[str, EngineResult] = {}
        for one in engines:
            log_progress(checkpoint, f"comparing bits of {one.spec.name}")
            results[one.spec.name] = _result(run, one, errors[one.spec.name])
    return {
        "title": checkpoint.title,
        "sha256": checkpoint.sha256,
        "mix": {"SST-2": run.plan.sst2_texts, "AG News": run.plan.agnews_texts},
        "engines": results,
        "left_out": left_out,
    }


def _warm_up(workload: Workload, engines: Sequence[LoadedEngine]) -> dict[str, LogitError | None]:
    """Run the workload once untimed; compare each engine's logits with those of transformers."""
    logits = {
        one.spec.name: _logits(one.worker.request("bulk", texts=workload.bulk)) for one in engines
    }
    if _REFERENCE not in logits:
        log(f"{_REFERENCE} is left out: no equivalence check")
        return dict.fromkeys(logits)
    errors: dict[str, LogitError | None] = {}
    for one in engines:
        error = compare_with_reference(logits[one.spec.name], logits[_REFERENCE])
        reject_another_model(one.spec.name, one.spec.precision, error)
        errors[one.spec.name] = error
    return errors


def _run_round(run: BenchmarkRun, engines: Sequence[LoadedEngine]) -> None:
    workload = run.workload
    for one in engines:
        if "bulk" not in run.turns[one.spec.precision]:
            continue
        time.sleep(_PAUSE_SECONDS)
        reply = one.worker.request("bulk", texts=workload.bulk)
        one.bulk_seconds.append(reply["seconds"])
        one.peak_mb.append(reply["peak_memory_mb"])
    for one in engines:
        if "one" not in run.turns[one.spec.precision]:
            continue
        time.sleep(_PAUSE_SECONDS)
        reply = one.worker.request("each", texts=workload.one_text, warm_up=workload.warm_up)
        one.one_text_milliseconds.append([seconds * 1e3 for seconds in reply["seconds"]])


def _result(run: BenchmarkRun, one: LoadedEngine, error: LogitError | None) -> EngineResult:
    # Read before the bits are compared, which is not part of the workload.
    memory_mb, idle = one.peak_mb[-1] if one.peak_mb else None, one.worker.idle()
    _warn_if_busy(one, idle["cpu_seconds"], idle["seconds"])
    return {
        "label": one.spec.label,
        "precision": one.spec.precision,
        "batch_size": one.batch_size,
        "batch_size_seconds": {str(size): spent for size, spent in one.batch_size_seconds.items()},
        "settings": one.settings,
        "details": one.details,
        "difference_from_reference": error.largest_difference if error else None,
        "error_over_spread": error.error_over_spread if error else None,
        "bulk": _bulk(one.bulk_seconds, len(run.workload.bulk)),
        "one_text": _one_text(one.one_text_milliseconds),
        "memory": {"after_load_mb": one.after_load_mb, "after_bulk_mb": memory_mb},
        "bits": compare_bits(one.worker, run.workload) if run.compares_bits else None,
        "idle": idle,
    }


def _bulk(seconds: list[float], num_texts: int) -> Bulk | None:
    if not seconds:
        return None
    median = statistics.median(seconds)
    return {
        "seconds": seconds,
        "median_seconds": median,
        "texts_per_second": num_texts / median,
    }


def _one_text(milliseconds: list[list[float]]) -> OneText | None:
    if not milliseconds:
        return None
    p50, p95 = np.percentile(np.asarray(milliseconds), [50, 95])
    return {"milliseconds": milliseconds, "p50": float(p50), "p95": float(p95)}


def compare_bits(worker: WorkerProcess, workload: Workload) -> Bits:
    """Compare each text's logits alone with those in every batch that contains it."""
    alone = _logits(worker.request("each", texts=workload.bits, warm_up=[]))
    changed = np.zeros(len(alone), dtype=bool)
    flipped = np.zeros(len(alone), dtype=bool)
    largest = 0.0
    for rows in (rows for partition in workload.partitions for rows in partition):
        together = _logits(worker.request("bulk", texts=[workload.bits[row] for row in rows]))
        changed[rows] |= (bit_pattern(together) != bit_pattern(alone[rows])).any(axis=1)
        flipped[rows] |= together.argmax(axis=1) != alone[rows].argmax(axis=1)
        largest = max(largest, float(np.abs(together - alone[rows]).max()))
    return {
        "rows": len(alone),
        "changed": int(changed.sum()),
        "largest_difference": largest,
        "label_flips": int(flipped.sum()),
    }


def bit_pattern(logits: Logits) -> npt.NDArray[np.int32]:
    """View float32 as integers: 0.0 and -0.0 differ, a NaN equals itself."""
    return logits.view(np.int32)


def _logits(reply: dict[str, Any]) -> Logits:
    return np.asarray(reply["logits"], dtype=np.float32)


def _warn_if_busy(one: LoadedEngine, cpu_seconds: float, seconds: float) -> None:
    share = cpu_seconds / seconds
    if share > _LARGEST_IDLE_SHARE:
        log(f"warning: {one.spec.name} used {share:.0%} of a core during other engines' turns")
