"""Loading engines: convert the checkpoint once, choose a batch size, start the measured process.

Invariant: conversion and batch size selection run in processes that end before the measured one
starts, so they affect no figure.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import Checkpoint, atomic_folder, prepared_folder
from benchmarks.engines import EngineSpec
from benchmarks.result_files import log
from benchmarks.worker_process import WorkerProcess
from benchmarks.workload import BenchmarkPlan, Workload


@dataclass(frozen=True)
class BenchmarkRun:
    """Settings of a run; `build` is the folder of converted checkpoints."""

    plan: BenchmarkPlan
    workload: Workload
    threads: int
    build: Path


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
) -> list[LoadedEngine]:
    """Load every engine in its own process; `stack` ends the processes."""
    for spec in specs:
        _prepare(run, checkpoint, spec)
    seconds_by_size = [_try_batch_sizes(run, checkpoint, spec) for spec in specs]
    return [
        _load(run, checkpoint, spec, seconds, stack)
        for spec, seconds in zip(specs, seconds_by_size, strict=True)
    ]


@contextmanager
def load_isobatch(
    run: BenchmarkRun, checkpoint: Checkpoint, spec: EngineSpec, task: str
) -> Iterator[WorkerProcess]:
    """Load an engine that needs no conversion and no batch size; yield its process."""
    with _worker(run, checkpoint, spec, task) as worker:
        _request_load(run, checkpoint, spec, 0, worker)
        yield worker


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


def _try_batch_sizes(
    run: BenchmarkRun, checkpoint: Checkpoint, spec: EngineSpec
) -> dict[int, float]:
    """Time one pass of the workload at each batch size, where there is a choice."""
    seconds: dict[int, float] = {}
    if len(spec.batch_sizes) < 2:
        return seconds
    log_progress(checkpoint, f"choosing a batch size for {spec.name}")
    with _worker(run, checkpoint, spec, "batch-size") as worker:
        for size in spec.batch_sizes:
            _request_load(run, checkpoint, spec, size, worker)
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
    run: BenchmarkRun, checkpoint: Checkpoint, spec: EngineSpec, task: str
) -> WorkerProcess:
    log_file = run.build / "logs" / f"{checkpoint.name}-{spec.name}-{task}.log"
    return WorkerProcess(spec.name, log_file)
