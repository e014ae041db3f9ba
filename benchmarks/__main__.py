"""`python -m benchmarks`: measure the engines, the kernels, their bits, cold start and scaling.

Writes one JSON file and prints its tables. Exit status: 0 measured (acceptance criteria met or
missed), 1 a run that could not be finished.
"""

import argparse
import sys
from datetime import UTC, datetime

from benchmarks import BenchmarkError
from benchmarks.arguments import (
    BUILD,
    base_checkpoint,
    bundled_checkpoint,
    choose_checkpoints,
    choose_engines,
    choose_parts,
    choose_precisions,
    choose_turns,
    make_plan,
    parse_options,
    result_folder,
)
from benchmarks.cold_start import measure_cold_start
from benchmarks.equivalence import LARGEST_ERROR_OVER_SPREAD, TOLERANCE
from benchmarks.instruction_set_bits import compare_instruction_sets
from benchmarks.kernel_rates import measure_kernels
from benchmarks.loaded_engines import BenchmarkRun
from benchmarks.measure import measure
from benchmarks.precision_accuracy import measure_accuracy
from benchmarks.result_files import log, write_result_by_kind
from benchmarks.scaling import measure_scaling
from benchmarks.schema import AccuracyResult, Result, ScalingResult
from benchmarks.system_info import describe_machine, library_versions
from benchmarks.table import render
from benchmarks.workload import make_text_pool, make_workload, read_labelled


def measure_parts(options: argparse.Namespace) -> Result:
    """Measure the parts that --only names, or all."""
    plan, specs, parts = make_plan(options), choose_engines(options), choose_parts(options)
    precisions = choose_precisions(options)
    run = BenchmarkRun(
        plan,
        make_workload(options.data, plan),
        options.threads,
        BUILD,
        choose_turns(options),
        compares_bits="bits" in parts,
        reuses_batch_sizes=options.quick,
    )
    machine = describe_machine()
    checkpoints = choose_checkpoints(options) if specs else []
    return {
        "machine": machine,
        "versions": library_versions(),
        "protocol": {
            "threads": options.threads,
            "tolerance": TOLERANCE,
            "largest_error_over_spread": LARGEST_ERROR_OVER_SPREAD,
            **vars(plan),
        },
        "checkpoints": {one.name: measure(run, one, specs) for one in checkpoints},
        "kernels": measure_kernels(run, base_checkpoint(options), precisions)
        if "roof" in parts
        else None,
        "bits": compare_instruction_sets(run, bundled_checkpoint(), precisions)
        if "bits" in parts
        else None,
        "cold_start": measure_cold_start(plan.cold_starts) if "cold-start" in parts else None,
        "accuracy": _accuracy(run, options) if "accuracy" in parts else None,
        "scaling": _scaling(run, options) if "scaling" in parts else None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _accuracy(run: BenchmarkRun, options: argparse.Namespace) -> AccuracyResult:
    labelled = read_labelled(options.data, run.plan.accuracy_texts)
    return measure_accuracy(run, bundled_checkpoint(), labelled, choose_precisions(options))


def _scaling(run: BenchmarkRun, options: argparse.Namespace) -> ScalingResult:
    pool = make_text_pool(options.data, run.plan)
    return measure_scaling(run, bundled_checkpoint(), pool, options.scaling_precision)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    try:
        options = parse_options(arguments)
        result = measure_parts(options)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = write_result_by_kind(result, result_folder(options))
    print(render(result))
    log(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
