"""The protocol of one workload: load all sides, choose batch sizes, compare outputs, take turns."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import atomic_folder
from benchmarks.files import run_in_new_process
from benchmarks.result_files import log
from benchmarks.system_info import installed_version
from benchmarks.tasks.exported_side import prepare
from benchmarks.tasks.task_agreement import check_agreement, compare_row_bits
from benchmarks.tasks.task_checkpoints import Shape, task_checkpoint
from benchmarks.tasks.task_process import TaskProcess
from benchmarks.tasks.task_sides import REFERENCES, SIDES, OutputRow, TaskSetup, TaskSide
from benchmarks.tasks.task_workloads import TaskName, TaskPlan, TaskWorkload, make_task_workload

PAUSE_SECONDS = 0.3
"""Before each turn: threads of the last side stop spinning."""

_CONVERTERS = ("onnxruntime", "onnx", "openvino", "torch", "transformers")


@dataclass
class MeasuredSide:
    """One loaded side and what was measured so far; rows: of its last turn."""

    process: TaskProcess
    batch_size: int = 0
    batch_size_seconds: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    rows: list[OutputRow] = field(default_factory=list)
    peak_memory_mb: float = 0.0

    @property
    def side(self) -> TaskSide:
        return self.process.side

    def take_turn(self, workload: TaskWorkload) -> float:
        """Compute the whole workload; return its seconds."""
        time.sleep(PAUSE_SECONDS)
        turn = self.process.run(workload.items, self.batch_size)
        self.rows, self.peak_memory_mb = turn.rows, turn.peak_memory_mb
        return turn.seconds


def measure_task(
    build: Path,
    data: Path,
    task: TaskName,
    shape: Shape,
    plan: TaskPlan,
    tokenizer_from: Path,
    threads: int,
) -> dict[str, Any]:
    """Measure all sides of a task on one shape."""
    checkpoint = task_checkpoint(build, task, shape, tokenizer_from)
    workload = make_task_workload(data, task, plan)
    title = f"{task}, {shape.name}"
    log(f"{title}: {workload.num_rows} rows, loading")
    with ExitStack() as stack:
        sides = [
            MeasuredSide(stack.enter_context(TaskProcess(side, setup)))
            for side, setup in _setups(task, checkpoint, threads)
        ]
        for one in sides:
            one.process.wait_until_loaded()
        for one in sides:
            choose_batch_size(one, workload)
        errors = _errors(task, sides)
        for turn in range(plan.rounds):
            log(f"{title}: round {turn + 1} of {plan.rounds}")
            first = turn % len(sides)
            for one in sides[first:] + sides[:first]:
                one.seconds.append(one.take_turn(workload))
        log(f"{title}: bits")
        results = {one.side.name: _result(one, errors, workload) for one in sides}
    return {
        "task": task,
        "shape": shape.name,
        "num_rows": workload.num_rows,
        **asdict(plan),
        "sides": results,
    }


def _setups(task: TaskName, checkpoint: Path, threads: int) -> list[tuple[TaskSide, TaskSetup]]:
    """Convert the checkpoint for the sides that need another file, once, then describe each."""
    versions = "-".join(f"{each}{installed_version(each)}" for each in _CONVERTERS)
    found = []
    for side in SIDES[task]:
        prepared = checkpoint.parent / f"{checkpoint.name}-{side.conversion}-{versions}"
        if side.conversion and not prepared.is_dir():
            log(f"converting {checkpoint.name} for {side.conversion}")
            with atomic_folder(prepared) as unfinished:
                run_in_new_process(prepare, task, checkpoint, unfinished, side.conversion)
        found.append((side, TaskSetup(task, checkpoint, prepared, threads, side.precision)))
    return found


def choose_batch_size(one: MeasuredSide, workload: TaskWorkload) -> None:
    """Run the workload once untimed, then at each size if there are several; keep the fastest."""
    sizes = one.side.batch_sizes or (0,)
    one.batch_size = sizes[-1]
    one.take_turn(workload)
    if len(sizes) == 1:
        return
    for size in sizes:
        one.batch_size = size
        one.batch_size_seconds[str(size)] = one.take_turn(workload)
    one.batch_size = min(sizes, key=lambda size: one.batch_size_seconds[str(size)])


def _errors(task: TaskName, sides: Sequence[MeasuredSide]) -> Mapping[str, dict[str, float]]:
    reference = next(one for one in sides if one.side is REFERENCES[task]).rows
    return {
        one.side.name: check_agreement(task, one.side.name, one.side.precision, one.rows, reference)
        for one in sides
    }


def _result(
    one: MeasuredSide, errors: Mapping[str, dict[str, float]], workload: TaskWorkload
) -> dict[str, Any]:
    # Read before the bits are compared, which is not part of the workload.
    memory, together = one.peak_memory_mb, [one.rows[index] for index in workload.alone_rows]
    alone = [one.process.run([item], one.batch_size).rows[0] for item in workload.alone]
    return {
        "batch_size": one.batch_size,
        "batch_size_seconds": one.batch_size_seconds,
        "seconds": one.seconds,
        "peak_memory_mb": memory,
        "agreement": errors[one.side.name],
        "bits": compare_row_bits(together, alone),
    }
