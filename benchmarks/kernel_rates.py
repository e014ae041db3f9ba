"""The roof row: products and blocks of each instruction set over the peak of its instructions.

Each set and precision has a process of its own. Peak, products and block take turns in rounds, and
the best of each counts: on a machine that other programs use, a mean measures them. Invariant: no
peak is used for kernels that do not use its instructions.
"""

from collections.abc import Sequence

from benchmarks import UnsupportedError
from benchmarks.checkpoints import Checkpoint
from benchmarks.engines import OURS, find_engine
from benchmarks.instruction_sets import FLAGS, environment_of
from benchmarks.loaded_engines import BenchmarkRun, load_isobatch, log_progress
from benchmarks.peak_share import BLOCK
from benchmarks.roof import compile_roof, measure_peaks
from benchmarks.schema import InstructionSetRates, KernelRates, Precision, Rates
from benchmarks.worker_process import WorkerProcess


def runnable_sets(run: BenchmarkRun) -> list[str]:
    """Return the instruction sets whose kernels were built and run here, the fastest first."""
    with WorkerProcess("isobatch", run.build / "logs" / "instruction-sets.log") as worker:
        names: list[str] = worker.request("instruction_sets")["names"]
    return names


def measure_kernels(
    run: BenchmarkRun, checkpoint: Checkpoint, precisions: Sequence[Precision]
) -> KernelRates:
    """Measure every instruction set in every precision that it supports."""
    result: KernelRates = {"block": str(BLOCK), "sets": {}, "left_out": {}}
    for name in runnable_sets(run):
        if name not in FLAGS:
            result["left_out"][name] = "it has no instructions of its own to compare with"
            continue
        of = result["sets"].setdefault(name, {})
        for precision in precisions:
            try:
                of[precision] = _measure(run, checkpoint, name, precision)
            except UnsupportedError as error:
                result["left_out"][f"{name}, {precision}"] = str(error)
    return result


def _measure(
    run: BenchmarkRun, checkpoint: Checkpoint, name: str, precision: Precision
) -> InstructionSetRates:
    program = compile_roof(name, run.build)
    spec = find_engine(OURS[precision])
    log_progress(checkpoint, f"peak, products and block with {name} in {precision}")
    best: dict[str, Rates] = {}
    instructions = ""
    with load_isobatch(run, checkpoint, spec, f"rates-{name}", environment_of(name)) as (worker, _):
        for threads in sorted({1, run.threads}):
            worker.request("set_threads", threads=threads)
            for _ in range(run.plan.roof_rounds):
                peaks = measure_peaks(program, threads, run.plan.roof_seconds)
                if precision not in peaks:
                    raise UnsupportedError(f"{name} has no instructions for {precision}")
                instructions = peaks[precision].instructions
                reply = worker.request("rates", seconds=run.plan.roof_seconds)
                rates: Rates = {
                    "peak": peaks[precision].rate,
                    "fp32_peak": peaks["fp32"].rate,
                    "products": reply["products"],
                    "block_seconds": reply["block_seconds"],
                }
                best[str(threads)] = better(best.get(str(threads), rates), rates)
    return {"instructions": instructions, "threads": best}


def better(one: Rates, other: Rates) -> Rates:
    """Return the best of each figure."""
    return {
        "peak": max(one["peak"], other["peak"]),
        "fp32_peak": max(one["fp32_peak"], other["fp32_peak"]),
        "products": {
            shape: max(rate, other["products"][shape]) for shape, rate in one["products"].items()
        },
        "block_seconds": min(one["block_seconds"], other["block_seconds"]),
    }
