"""From an engine's name to its loaded process: convert once, choose a batch size, load.

It knows the requests of a worker and no engine's code. Invariant: conversions and trials happen in
processes that are gone before the measured one starts, so they count in no figure.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import Checkpoint, appears_when_complete, prepared_folder
from benchmarks.client import WorkerProcess
from benchmarks.engines import EngineSpec
from benchmarks.texts import Job, Plan


@dataclass(frozen=True)
class Bench:
    """What a run holds fixed: the plan, its texts, threads, and where conversions are kept."""

    plan: Plan
    job: Job
    threads: int
    build: Path


@dataclass(frozen=True)
class Contestant:
    """A loaded engine, and the samples that each round adds to."""

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


def gather(
    bench: Bench, checkpoint: Checkpoint, specs: Sequence[EngineSpec], stack: ExitStack
) -> list[Contestant]:
    """Load every engine, each in its own process, which `stack` ends."""
    for spec in specs:
        _prepare(bench, checkpoint, spec)
    trials = [_try_batch_sizes(bench, checkpoint, spec) for spec in specs]
    return [
        _load(bench, checkpoint, spec, seconds, stack)
        for spec, seconds in zip(specs, trials, strict=True)
    ]


@contextmanager
def lone_process(
    bench: Bench, checkpoint: Checkpoint, spec: EngineSpec, task: str
) -> Iterator[WorkerProcess]:
    """Load an engine that converts nothing and plans its own batches, and lend its process."""
    with _worker(bench, checkpoint, spec, task) as worker:
        _ask_load(bench, checkpoint, spec, 0, worker)
        yield worker


def progress(checkpoint: Checkpoint, what: str) -> None:
    """Say on stderr what the run is at."""
    print(f"{checkpoint.name}: {what}", file=sys.stderr, flush=True)


def _prepare(bench: Bench, checkpoint: Checkpoint, spec: EngineSpec) -> None:
    folder = prepared_folder(bench.build, checkpoint, spec)
    if not spec.conversion or folder.is_dir():
        return
    progress(checkpoint, f"converting for {spec.name}")
    with (
        appears_when_complete(folder) as unfinished,
        _worker(bench, checkpoint, spec, "prepare") as worker,
    ):
        worker.ask(
            "prepare", engine=spec.name, checkpoint=str(checkpoint.folder), out=str(unfinished)
        )


def _try_batch_sizes(bench: Bench, checkpoint: Checkpoint, spec: EngineSpec) -> dict[int, float]:
    """Time one pass of the job at each batch size, where there is a choice."""
    seconds: dict[int, float] = {}
    if len(spec.batch_sizes) < 2:
        return seconds
    progress(checkpoint, f"choosing a batch size for {spec.name}")
    with _worker(bench, checkpoint, spec, "trial") as worker:
        for size in spec.batch_sizes:
            _ask_load(bench, checkpoint, spec, size, worker)
            worker.ask("bulk", texts=bench.job.bulk[: max(spec.batch_sizes)])
            seconds[size] = worker.ask("bulk", texts=bench.job.bulk)["seconds"]
    return seconds


def _load(
    bench: Bench,
    checkpoint: Checkpoint,
    spec: EngineSpec,
    seconds: dict[int, float],
    stack: ExitStack,
) -> Contestant:
    progress(checkpoint, f"loading {spec.name}")
    sizes = sorted(spec.batch_sizes, key=lambda size: seconds.get(size, 0.0)) or [0]
    worker = stack.enter_context(_worker(bench, checkpoint, spec, "run"))
    answer = _ask_load(bench, checkpoint, spec, sizes[0], worker)
    return Contestant(
        spec=spec,
        worker=worker,
        batch_size=sizes[0],
        batch_size_seconds=seconds,
        settings=answer["settings"],
        details=answer["details"],
        after_load_mb=answer["peak_memory_mb"],
    )


def _ask_load(
    bench: Bench, checkpoint: Checkpoint, spec: EngineSpec, batch_size: int, worker: WorkerProcess
) -> dict[str, Any]:
    return worker.ask(
        "load",
        engine=spec.name,
        checkpoint=str(checkpoint.folder),
        prepared=str(prepared_folder(bench.build, checkpoint, spec)),
        threads=bench.threads,
        batch_size=batch_size,
    )


def _worker(bench: Bench, checkpoint: Checkpoint, spec: EngineSpec, task: str) -> WorkerProcess:
    log = bench.build / "logs" / f"{checkpoint.name}-{spec.name}-{task}.log"
    return WorkerProcess(spec.name, log)
