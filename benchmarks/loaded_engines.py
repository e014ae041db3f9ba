"""Loading engines: convert the checkpoint once, choose a batch size, start the measured process.

Invariant: conversion and batch size selection run in processes that end before the measured one
starts, so they affect no figure. An engine that this machine does not support is left out, with the
reason.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import UnsupportedError
from benchmarks.checkpoints import Checkpoint, atomic_folder, prepared_folder
from benchmarks.engines import PRECISIONS, EngineSpec
from benchmarks.result_files import log
from benchmarks.schema import Precision, Turn
from benchmarks.worker_process import WorkerProcess
from benchmarks.workload import BenchmarkPlan, Workload


@dataclass(frozen=True)
class BenchmarkRun:
    """Settings of a run; `build` is the folder of converted checkpoints.

    `turns` are what is timed in each precision. `reuses_batch_sizes`: those of an earlier run with
    the same engine and workload are used, if there was one.
    """

    plan: BenchmarkPlan
    workload: Workload
    threads: int
    build: Path
    turns: Mapping[Precision, Sequence[Turn]] = field(
        default_factory=lambda: dict.fromkeys(PRECISIONS, ("bulk", "one"))
    )
    compares_bits: bool = True
    reuses_batch_sizes: bool = False


@dataclass(frozen=True)
class LoadedEngine:
    """An engine in its process, and the samples of all rounds so far."""

    spec: EngineSpec
    worker: WorkerProcess
    batch_size: int
    batch_size_seconds: dict[int, float]
    settings: str
    details: dict[str, Any]
    after_load_mb: float
    bulk_seconds: list[float] = field(default_factory=list)
    one_text_milliseconds: list[list[float]] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)


def load_engines(
    run: BenchmarkRun, checkpoint: Checkpoint, specs: Sequence[EngineSpec], stack: ExitStack
) -> tuple[list[LoadedEngine], dict[str, str]]:
    """Load every engine in its own process; `stack` ends the processes.

    Also returns the names of the engines that this machine does not support, with the reasons.
    """
    left_out: dict[str, str] = {}
    seconds_by_size = {}
    for spec in specs:
        _prepare(run, checkpoint, spec)
    for spec in specs:
        try:
            seconds_by_size[spec] = _batch_sizes(run, checkpoint, spec)
        except UnsupportedError as error:
            left_out[spec.name] = str(error)
    engines = []
    for spec, seconds in seconds_by_size.items():
        try:
            engines.append(_load(run, checkpoint, spec, seconds, stack))
        except UnsupportedError as error:
            left_out[spec.name] = str(error)
    for name, reason in left_out.items():
        log_progress(checkpoint, f"{name} is left out: {reason}")
    return engines, left_out


@contextmanager
def load_isobatch(
    run: BenchmarkRun,
    checkpoint: Checkpoint,
    spec: EngineSpec,
    task: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[WorkerProcess, dict[str, Any]]]:
    """Load an engine that needs no conversion and no batch size; yield its process and description.

    Raises UnsupportedError if this machine does not support the precision.
    """
    with _worker(run, checkpoint, spec, task, environment) as worker:
        yield worker, _request_load(run, checkpoint, spec, 0, worker)


def log_progress(checkpoint: Checkpoint, step: str) -> None:
    """Log a step of the run."""
    log(f"{checkpoint.name}: {step}")


def _prepare(run: BenchmarkRun, checkpoint: Checkpoint, spec: EngineSpec) -> None:
    folder = prepared_folder(run.build, checkpoint, spec)
    if not spec.conversion or folder.is_dir():
        return
    log_progress(checkpoint, f"converting for {spec.name}")
    with (
        atomic_folder(folder) as unfinished,
        _worker(run, checkpoint, spec, "prepare") as worker,
    ):
        worker.request(
            "prepare", engine=spec.name, checkpoint=str(checkpoint.folder), out=str(unfinished)
        )


def _batch_sizes(run: BenchmarkRun, checkpoint: Checkpoint, spec: EngineSpec) -> dict[int, float]:
    """Return the seconds of each batch size: of an earlier run, where the plan allows it."""
    path = prepared_folder(run.build, checkpoint, spec).parent / "batch-sizes.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    key = f"{spec.name} {len(run.workload.bulk)} texts, {run.threads} threads"
    if run.reuses_batch_sizes and key in known:
        return {int(size): float(seconds) for size, seconds in known[key].items()}
    seconds = _try_batch_sizes(run, checkpoint, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known | {key: seconds}, indent=1) + "\n", encoding="utf-8")
    return seconds


def _try_batch_sizes(
    run: BenchmarkRun, checkpoint: Checkpoint, spec: EngineSpec
) -> dict[int, float]:
    """Time one pass of the workload at each batch size, where there is a choice."""
    seconds: dict[int, float] = {}
    if len(spec.batch_sizes) < 2:
        return seconds
    log_progress(checkpoint, f"choosing a batch size for {spec.name}")
    with _worker(run, checkpoint, spec, "batch-size") as worker:
        _request_load(run, checkpoint, spec, spec.batch_sizes[0], worker)
        for size in spec.batch_sizes:
            worker.request("set_batch_size", batch_size=size)
            worker.request("bulk", texts=run.workload.bulk[: max(spec.batch_sizes)])
            seconds[size] = worker.request("bulk", texts=run.workload.bulk)["seconds"]
    return seconds


def _load(
    run: BenchmarkRun,
    checkpoint: Checkpoint,
    spec: EngineSpec,
    seconds: dict[int, float],
    stack: ExitStack,
) -> LoadedEngine:
    log_progress(checkpoint, f"loading {spec.name}")
    sizes = sorted(spec.batch_sizes, key=lambda size: seconds.get(size, 0.0)) or [0]
    worker = stack.enter_context(_worker(run, checkpoint, spec, "run"))
    reply = _request_load(run, checkpoint, spec, sizes[0], worker)
    return LoadedEngine(
        spec=spec,
        worker=worker,
        batch_size=sizes[0],
        batch_size_seconds=seconds,
        settings=reply["settings"],
        details=reply["details"],
        after_load_mb=reply["peak_memory_mb"],
    )


def _request_load(
    run: BenchmarkRun,
    checkpoint: Checkpoint,
    spec: EngineSpec,
    batch_size: int,
    worker: WorkerProcess,
) -> dict[str, Any]:
    return worker.request(
        "load",
        engine=spec.name,
        checkpoint=str(checkpoint.folder),
        prepared=str(prepared_folder(run.build, checkpoint, spec)),
        threads=run.threads,
        batch_size=batch_size,
    )


def _worker(
    run: BenchmarkRun,
    checkpoint: Checkpoint,
    spec: EngineSpec,
    task: str,
    environment: Mapping[str, str] | None = None,
) -> WorkerProcess:
    log_file = run.build / "logs" / f"{checkpoint.name}-{spec.name}-{task}.log"
    return WorkerProcess(spec.name, log_file, environment)
