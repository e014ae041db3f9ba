"""Bits between instruction sets: the same texts with each, in other batches, orders and threads.

Compared are float32 logits, to the bit, with those that the first instruction set of the same
arithmetic gives in one call. Invariant: where two sets have the same arithmetic, they are compared;
a set that has an arithmetic of its own is compared with itself only, and shown with its name.
"""

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks import UnsupportedError
from benchmarks.checkpoints import Checkpoint
from benchmarks.engines import OURS, Logits, find_engine
from benchmarks.instruction_sets import environment_of
from benchmarks.kernel_rates import runnable_sets
from benchmarks.loaded_engines import BenchmarkRun, load_isobatch, log_progress
from benchmarks.measure import bit_pattern
from benchmarks.schema import EqualBits, InstructionSetBits, Precision
from benchmarks.worker_process import WorkerProcess
from benchmarks.workload import random_partition

_SLOW_SETS = {"reference"}
_PASSIVE = {"OMP_WAIT_POLICY": "passive"}
"""Three threads that spin on two cores take ten times as long, and speed is not measured here."""
PASSES = (
    "in one call; each text alone; in reverse order; in random batches; with 1, and with 3 threads"
)


def compare_instruction_sets(
    run: BenchmarkRun, checkpoint: Checkpoint, precisions: Sequence[Precision]
) -> InstructionSetBits:
    """Classify the same texts with every instruction set that runs here, in every precision."""
    result: InstructionSetBits = {"passes": PASSES, "sets": {}, "left_out": {}}
    first: dict[tuple[Precision, str], Logits] = {}
    for name in runnable_sets(run):
        texts = run.workload.bits[: run.plan.slow_texts if name in _SLOW_SETS else None]
        for precision in precisions:
            log_progress(checkpoint, f"bits with {name} in {precision}")
            try:
                arithmetic, passes = _passes(run, checkpoint, name, precision, texts)
            except UnsupportedError as error:
                result["left_out"][f"{name}, {precision}"] = str(error)
                continue
            expected = first.setdefault((precision, arithmetic), passes[0])
            result["sets"].setdefault(name, {})[precision] = count_changed(
                arithmetic, expected[: len(texts)], passes
            )
    return result


def count_changed(arithmetic: str, expected: Logits, passes: Sequence[Logits]) -> EqualBits:
    """Count the rows whose bits differ from the expected ones in any of the passes."""
    changed: npt.NDArray[np.bool_] = np.zeros(len(expected), dtype=bool)
    for logits in passes:
        changed |= (bit_pattern(logits) != bit_pattern(expected)).any(axis=1)
    return {"arithmetic": arithmetic, "rows": len(expected), "changed": int(changed.sum())}


def _passes(
    run: BenchmarkRun, checkpoint: Checkpoint, name: str, precision: Precision, texts: list[str]
) -> tuple[str, list[Logits]]:
    """Return the name of the arithmetic, and the logits of the texts in each pass."""
    spec = find_engine(OURS[precision])
    count = len(texts)
    batches = random_partition(random.Random(run.plan.seed), count, max(2, count // 3))
    environment = environment_of(name) | _PASSIVE
    with load_isobatch(run, checkpoint, spec, f"bits-{name}", environment) as (worker, loaded):
        passes = [
            _in_batches(worker, texts, [list(range(count))]),
            _in_batches(worker, texts, [[row] for row in range(count)]),
            _in_batches(worker, texts, [list(reversed(range(count)))]),
            _in_batches(worker, texts, batches),
        ]
        for threads in (1, 3):
            worker.request("set_threads", threads=threads)
            passes.append(_in_batches(worker, texts, batches))
    arithmetic: str = loaded["details"]["arithmetic"]
    return arithmetic, passes


def _in_batches(worker: WorkerProcess, texts: list[str], batches: list[list[int]]) -> Logits:
    """Classify the texts in these batches; return the logits in the order of the texts."""
    rows: dict[int, list[float]] = {}
    for batch in batches:
        reply = worker.request("bulk", texts=[texts[row] for row in batch])
        rows |= dict(zip(batch, reply["logits"], strict=True))
    return np.asarray([rows[row] for row in range(len(texts))], dtype=np.float32)
