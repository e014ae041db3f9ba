"""`make bench-train`: one training by Isobatch and by `transformers`' Trainer: speed and memory.

`--accuracy` compares whole trainings instead, which takes an hour; the same command resumes.
"""

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError
from benchmarks.arguments import BUILD, bundled_checkpoint
from benchmarks.checkpoints import Checkpoint, random_base_checkpoint
from benchmarks.engines import peer
from benchmarks.result_files import RESULTS, log, write_result_by_kind
from benchmarks.system_info import describe_machine, installed_version, usable_cores
from benchmarks.training.accuracy import PACKAGES, TRAIN_TEXTS, measure_accuracy
from benchmarks.training.speed import SpeedPlan, measure_workload
from benchmarks.training.training_table import render_accuracy, render_speed
from benchmarks.workload import DEFAULT_DATA

ROUNDS = 3
PLANS = {
    ("bundled", "sst2"): SpeedPlan(10, ROUNDS),
    ("bundled", "agnews"): SpeedPlan(6, ROUNDS),
    ("base", "sst2"): SpeedPlan(4, ROUNDS),
    ("base", "agnews"): SpeedPlan(3, ROUNDS),
}
"""A few seconds of the fastest side a round, a quarter of an hour in all on two cores."""

QUICK_PLANS = {
    ("bundled", "sst2"): SpeedPlan(4, 2, warm_up=1),
    ("bundled", "agnews"): SpeedPlan(3, 2, warm_up=1),
}
QUICK_TEXTS = 96


def measure_speed(data: Path, quick: bool) -> dict[str, Any]:
    """Measure all workloads; return the result."""
    machine, threads = describe_machine(), usable_cores()
    plans = QUICK_PLANS if quick else PLANS
    bundled = bundled_checkpoint()
    checkpoints: dict[str, Checkpoint] = {"bundled": bundled}
    if not quick:
        checkpoints["base"] = random_base_checkpoint(BUILD, bundled.folder)
    with tempfile.TemporaryDirectory() as scratch:
        workloads = [
            measure_workload(
                data, corpus, checkpoints[name], threads, plan, Path(scratch) / f"{name}-{corpus}"
            )
            for (name, corpus), plan in plans.items()
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
    for package in ("transformers", "accelerate"):
        peer(package)  # reports a missing one before anything is measured
    if options.accuracy:
        texts = QUICK_TEXTS if options.quick else TRAIN_TEXTS
        seeds = 1 if options.quick else options.seeds
        result = measure_accuracy(options.data, usable_cores(), seeds, texts)
        folder, table = "training-accuracy", render_accuracy(result)
    else:
        result = measure_speed(options.data, options.quick)
        folder, table = "training", render_speed(result)
    parent = BUILD / "results" if options.quick else RESULTS
    path = write_result_by_kind(result, parent / folder)
    print(table)
    log(f"written to {path}")


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="Path to the texts. Default: ISOBATCH_DATA"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="Few steps of the bundled model, in three minutes; changes no document",
    )
    parser.add_argument(
        "--accuracy", action="store_true", help="Compare whole trainings instead of steps"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="Trainings of --accuracy. Default: %(default)s"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        raise SystemExit(f"error: {error}") from None
