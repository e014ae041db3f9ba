"""The driver: `python -m benchmarks` measures every engine on every checkpoint, then the rest.

It writes one JSON file and prints its tables. It knows no protocol. Exit status: 0 measured (bars
met or missed), 1 a run that could not be finished.
"""

import argparse
import sys
from datetime import UTC, datetime

from benchmarks.accuracy import measure_accuracy
from benchmarks.answers import LARGEST_ERROR_OVER_SPREAD, TOLERANCE
from benchmarks.contestants import Bench
from benchmarks.errors import BenchError
from benchmarks.machine import describe_machine, library_versions
from benchmarks.measure import measure
from benchmarks.options import (
    BUILD,
    bundled_checkpoint,
    choose_checkpoints,
    choose_engines,
    choose_parts,
    choose_precisions,
    make_plan,
    parse_options,
)
from benchmarks.scaling import measure_scaling
from benchmarks.schema import AccuracyResult, Result, ScalingResult
from benchmarks.table import render
from benchmarks.texts import make_job, make_pool, read_labelled
from benchmarks.writing import write_result


def run(options: argparse.Namespace) -> Result:
    """Measure, and return the whole result."""
    plan, specs, parts = make_plan(options), choose_engines(options), choose_parts(options)
    bench = Bench(plan, make_job(options.data, plan), options.threads, BUILD)
    machine = describe_machine()
    checkpoints = choose_checkpoints(options) if "speed" in parts else []
    return {
        "machine": machine,
        "versions": library_versions(),
        "protocol": {
            "threads": options.threads,
            "tolerance": TOLERANCE,
            "largest_error_over_spread": LARGEST_ERROR_OVER_SPREAD,
            **vars(plan),
        },
        "checkpoints": {one.name: measure(bench, one, specs) for one in checkpoints},
        "accuracy": _accuracy(bench, options) if "accuracy" in parts else None,
        "scaling": _scaling(bench, options) if "scaling" in parts else None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _accuracy(bench: Bench, options: argparse.Namespace) -> AccuracyResult:
    labelled = read_labelled(options.data, bench.plan.accuracy_texts)
    return measure_accuracy(bench, bundled_checkpoint(), labelled, choose_precisions(options))


def _scaling(bench: Bench, options: argparse.Namespace) -> ScalingResult:
    pool = make_pool(options.data, bench.plan)
    return measure_scaling(bench, bundled_checkpoint(), pool, options.scaling_precision)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    try:
        options = parse_options(arguments)
        result = run(options)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = write_result(result, options.out)
    print(render(result))
    print(f"written to {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
