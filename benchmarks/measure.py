"""The protocol on one checkpoint: warm up, check the answers, ask in turn, compare bits.

It knows what is asked and in which order, and no engine's code. Invariant: one process works at a
time, and no figure is taken of an engine whose answers are not those of transformers.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.answers import Agreement, agree, refuse_another_model
from benchmarks.bars import judge
from benchmarks.checkpoints import Checkpoint
from benchmarks.client import WorkerProcess
from benchmarks.contestants import Bench, Contestant, gather, progress
from benchmarks.engines import EngineSpec, Logits
from benchmarks.schema import Bits, CheckpointResult, EngineResult, OneText
from benchmarks.texts import Job

_REFERENCE = "transformers-arrival"
_LARGEST_IDLE_SHARE = 0.05
# Intel's OpenMP (in CTranslate2's wheel) spins for 0.2 s after a parallel region: the next engine
# waits until the last one's threads are asleep.
_SETTLE_SECONDS = 0.3


def measure(bench: Bench, checkpoint: Checkpoint, specs: Sequence[EngineSpec]) -> CheckpointResult:
    """Run the whole protocol on one checkpoint."""
    with ExitStack() as stack:
        contestants = gather(bench, checkpoint, specs, stack)
        progress(checkpoint, "warming up, comparing the answers")
        agreements = _warm_up(bench.job, contestants)
        for number in range(bench.plan.rounds):
            progress(checkpoint, f"round {number + 1} of {bench.plan.rounds}")
            # Each round starts with another engine, so that none always follows the same one.
            start = number % len(contestants)
            _round(bench.job, contestants[start:] + contestants[:start])
        engines: dict[str, EngineResult] = {}
        for one in contestants:
            progress(checkpoint, f"comparing bits of {one.spec.name}")
            engines[one.spec.name] = _result(bench, one, agreements[one.spec.name])
    return {
        "title": checkpoint.title,
        "sha256": checkpoint.sha256,
        "mix": {"SST-2": bench.plan.sst2_texts, "AG News": bench.plan.agnews_texts},
        "engines": engines,
        "bars": judge(checkpoint.name, engines),
    }


def _warm_up(job: Job, contestants: Sequence[Contestant]) -> dict[str, Agreement | None]:
    """Run the job once untimed; return how far each engine's logits are from transformers'."""
    logits = {one.spec.name: _rows(one.worker.ask("bulk", texts=job.bulk)) for one in contestants}
    if _REFERENCE not in logits:
        print(f"{_REFERENCE} is left out: the answers are not checked", file=sys.stderr)
        return dict.fromkeys(logits)
    agreements: dict[str, Agreement | None] = {}
    for one in contestants:
        agreement = agree(logits[one.spec.name], logits[_REFERENCE])
        refuse_another_model(one.spec.name, one.spec.precision, agreement)
        agreements[one.spec.name] = agreement
    return agreements


def _round(job: Job, contestants: Sequence[Contestant]) -> None:
    for one in contestants:
        time.sleep(_SETTLE_SECONDS)
        answer = one.worker.ask("bulk", texts=job.bulk)
        one.bulk_seconds.append(answer["seconds"])
        one.peak_mb.append(answer["peak_memory_mb"])
    for one in contestants:
        time.sleep(_SETTLE_SECONDS)
        answer = one.worker.ask("each", texts=job.one_text, warm_up=job.warm_up)
        one.one_text_milliseconds.append([seconds * 1e3 for seconds in answer["seconds"]])


def _result(bench: Bench, one: Contestant, agreement: Agreement | None) -> EngineResult:
    seconds = statistics.median(one.bulk_seconds)
    # Taken before the bits are compared, which is no part of the job.
    memory_mb, idle = one.peak_mb[-1], one.worker.idle()
    _warn_if_busy(one, idle["cpu_seconds"], idle["seconds"])
    return {
        "label": one.spec.label,
        "precision": one.spec.precision,
        "batch_size": one.batch_size,
        "batch_size_seconds": {str(size): spent for size, spent in one.batch_size_seconds.items()},
        "settings": one.settings,
        "details": one.details,
        "difference_from_reference": agreement.largest_difference if agreement else None,
        "error_over_spread": agreement.error_over_spread if agreement else None,
        "bulk": {
            "seconds": one.bulk_seconds,
            "median_seconds": seconds,
            "texts_per_second": len(bench.job.bulk) / seconds,
        },
        "one_text": _one_text(one.one_text_milliseconds),
        "memory": {"after_load_mb": one.after_load_mb, "after_bulk_mb": memory_mb},
        "bits": compare_bits(one.worker, bench.job),
        "idle": idle,
    }


def _one_text(milliseconds: list[list[float]]) -> OneText:
    p50, p95 = np.percentile(np.asarray(milliseconds), [50, 95])
    return {"milliseconds": milliseconds, "p50": float(p50), "p95": float(p95)}


def compare_bits(worker: WorkerProcess, job: Job) -> Bits:
    """Compare each text's logits alone with those in every batch that it is put into."""
    alone = _rows(worker.ask("each", texts=job.bits, warm_up=[]))
    changed = np.zeros(len(alone), dtype=bool)
    flipped = np.zeros(len(alone), dtype=bool)
    largest = 0.0
    for rows in (rows for partition in job.partitions for rows in partition):
        together = _rows(worker.ask("bulk", texts=[job.bits[row] for row in rows]))
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
    """View float32 as the bits they are: 0.0 and -0.0 differ, a NaN equals itself."""
    return logits.view(np.int32)


def _rows(answer: dict[str, Any]) -> Logits:
    return np.asarray(answer["logits"], dtype=np.float32)


def _warn_if_busy(one: Contestant, cpu_seconds: float, seconds: float) -> None:
    share = cpu_seconds / seconds
    if share > _LARGEST_IDLE_SHARE:
        print(
            f"warning: {one.spec.name} used {share:.0%} of a core while others had their turn",
            file=sys.stderr,
        )
