"""`make bench-tasks`: embeddings, reranking, zero-shot and tokens by Isobatch and by others."""

import argparse
import importlib.util
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError
from benchmarks.arguments import BUILD, bundled_checkpoint
from benchmarks.machine_kinds import kind_of
from benchmarks.result_files import RESULTS, log, newest_by_kind, write_result_by_kind
from benchmarks.system_info import describe_machine, installed_version, usable_cores
from benchmarks.tasks.task_checkpoints import SHAPES
from benchmarks.tasks.task_sides import SIDES
from benchmarks.tasks.task_speed import measure_task
from benchmarks.tasks.task_table import render_tasks
from benchmarks.tasks.task_workloads import TaskName, TaskPlan
from benchmarks.workload import DEFAULT_DATA

PACKAGES = (
    "isobatch",
    "torch",
    "sentence-transformers",
    "transformers",
    "onnxruntime",
    "openvino",
)
_MODULES = ("sentence_transformers", "transformers", "onnxruntime", "onnx", "openvino")
ROUNDS = 3
PLANS: dict[tuple[TaskName, str], TaskPlan] = {
    ("embeddings", "small"): TaskPlan(220, 60, ROUNDS, alone=60),
    ("embeddings", "base"): TaskPlan(110, 30, ROUNDS, alone=60),
    ("reranking", "small"): TaskPlan(220, 60, ROUNDS, alone=60, questions=3),
    ("reranking", "base"): TaskPlan(220, 60, ROUNDS, alone=30, questions=1),
    ("zero-shot", "small"): TaskPlan(32, 8, ROUNDS, alone=20),
    ("zero-shot", "base"): TaskPlan(16, 4, ROUNDS, alone=10),
    ("tokens", "small"): TaskPlan(220, 60, ROUNDS, alone=60),
    ("tokens", "base"): TaskPlan(110, 30, ROUNDS, alone=30),
}
"""A few seconds a turn of the slowest side, a quarter of an hour in all on two cores."""

QUICK_PLANS: dict[tuple[TaskName, str], TaskPlan] = {
    ("embeddings", "small"): TaskPlan(66, 18, 2, alone=20),
    ("reranking", "small"): TaskPlan(66, 18, 2, alone=20, questions=1),
    ("zero-shot", "small"): TaskPlan(8, 2, 2, alone=5),
    ("tokens", "small"): TaskPlan(66, 18, 2, alone=20),
}


def measure(data: Path, plans: Mapping[tuple[TaskName, str], TaskPlan]) -> dict[str, Any]:
    """Measure the workloads of all plans; return the result."""
    machine, threads = describe_machine(), usable_cores()
    tokenizer = bundled_checkpoint().folder
    workloads = [
        measure_task(BUILD, data, task, SHAPES[shape], plan, tokenizer, threads)
        for (task, shape), plan in plans.items()
    ]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": {each: installed_version(each) for each in PACKAGES},
        "threads": threads,
        "rounds": next(iter(plans.values())).rounds,
        "workloads": workloads,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the result, and print it."""
    options = parse_options(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"  # inherited by the processes that convert
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchmarkError(
            f"{', '.join(missing)}: not installed. Run pip install 'isobatch[bench]'"
        )
    plans = QUICK_PLANS if options.quick else PLANS
    chosen = {key: plan for key, plan in plans.items() if key[0] in options.only}
    result = measure(options.data, chosen)
    # A part of a run replaces no document's tables.
    complete = not options.quick and len(chosen) == len(plans)
    path = write_result_by_kind(result, (RESULTS if complete else BUILD / "results") / "tasks")
    classification = dict(newest_by_kind()).get(kind_of(result["machine"]))
    print(render_tasks(result, classification))
    log(f"written to {path}")


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; an unknown task is rejected."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tasks", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="Path to the texts. Default: ISOBATCH_DATA"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="Few texts on the small shape, in three minutes; changes no document",
    )
    parser.add_argument(
        "--only",
        type=_task_names,
        default=tuple(SIDES),
        metavar="TASK,…",
        help=f"Of {', '.join(SIDES)}; changes no document",
    )
    return parser.parse_args(arguments)


def _task_names(given: str) -> tuple[str, ...]:
    names = tuple(given.split(","))
    unknown = [name for name in names if name not in SIDES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown task {unknown[0]!r}. Available: {', '.join(SIDES)}"
        )
    return names


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        raise SystemExit(f"error: {error}") from None
