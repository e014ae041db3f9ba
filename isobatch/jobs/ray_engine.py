"""Runs jobs on Ray, one shard per job: plain actors that each load one model.

Workers read and write the files themselves, on storage that all of them share. Invariant: a shard's
output has the bytes that `run_job` writes on one machine, because a worker whose arithmetic, or
anything else that the bits of a prediction depend on, differs from that of the reference worker
refuses to run. Workers of several kinds of processors compute the same arithmetic.
"""

import json
import platform
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from functools import reduce, wraps
from operator import add
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from isobatch.batching.cache import OutputCache
from isobatch.errors import IsobatchError, JobError, OptionError
from isobatch.jobs.folder import JobFolder
from isobatch.jobs.job import FileJob, ModelOptions
from isobatch.jobs.manifest import Manifest, Provenance, describe_provenance, differences
from isobatch.jobs.output_digest import output_digest
from isobatch.jobs.prepare import PreparedJob, prepare_job
from isobatch.jobs.ray_connection import SECONDS_TO_CONNECT, await_room, connected, root_cause
from isobatch.jobs.runner import JobReport, run_job
from isobatch.kernels import ARITHMETIC
from isobatch.scoring import (
    ProgressCallback,
    RowCounts,
    RowScorer,
    ScoringOptions,
    ScoringProgress,
)
from isobatch.tasks import RowFormat

P = ParamSpec("P")
T = TypeVar("T")

SECONDS_BETWEEN_POLLS = 2.0
"""How often the ledgers are read for the progress of the workers."""

MAX_CRASHES = 3
"""How many workers may crash on a shard without saving another row before the run gives up."""

SHARED = "All workers must see inputs, outputs and model under the same paths"


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The cluster at `address`, or None for a local Ray on this machine.

    Each of `workers` takes `cpus` CPUs, and a GPU for device "cuda". `seconds_to_wait`: how long
    the cluster may take to have room for all of them.
    """

    address: str | None = None
    workers: int = 2
    cpus: int = 1
    seconds_to_wait: float = 60.0

    def __post_init__(self) -> None:
        for name in ("workers", "cpus", "seconds_to_wait"):
            if not getattr(self, name) >= 1:  # written so that NaN is refused too
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.address and self.address.startswith("ray://"):
            raise OptionError(
                f"{self.address}: Ray Client is not supported. Run on a machine of the cluster, "
                "with --ray-address auto"
            )


def run_on_ray(
    jobs: Sequence[FileJob],
    model: ModelOptions,
    options: RayOptions,
    *,
    restart: bool = False,
    on_progress: ProgressCallback = lambda progress: None,
) -> JobReport:
    """Run each job on some worker, after all of them have been checked.

    JobError if Ray cannot be reached, has no room for the workers, or fails; other errors as in
    `run_files`. The same call resumes from the saved chunks.
    """
    absolute = [job.with_absolute_paths() for job in jobs]
    options = replace(options, workers=min(options.workers, len(jobs)))
    with connected(options.address, options.workers * options.cpus) as ray:
        try:
            driver = RayDriver(ray, absolute, replace(model, threads=options.cpus), options)
            return driver.run(restart=restart, on_progress=on_progress)
        except ray.exceptions.RayError as error:
            raise JobError(
                f"Ray failed: {root_cause(error)}. Run the same command again to resume from the "
                "saved chunks"
            ) from error


# ------------------------------------------------------------------------------------ the driver


class RayDriver:
    """Assigns shards to workers, and replaces workers that crash."""

    def __init__(
        self, ray: Any, jobs: Sequence[FileJob], model: ModelOptions, options: RayOptions
    ) -> None:
        self._ray = ray
        self._jobs = jobs
        self._model = model
        self._options = options
        self._resources = {"CPU": options.cpus, "GPU": int(model.device.startswith("cuda"))}
        self._ledgers = [LedgerReader(job.output.path) for job in jobs]
        self._crashes: dict[int, tuple[int, int]] = {}

    def run(self, *, restart: bool, on_progress: ProgressCallback) -> JobReport:
        """Check all shards, run them, and report; errors as in `run_on_ray`."""
        options = self._options
        await_room(self._ray, options.workers, self._resources, options.seconds_to_wait)
        described = self._remote(describe_worker).remote(self._model, self._jobs[0].options)
        reference: Reference = _await(described)
        check = self._ray.remote(check_shard).options(num_cpus=1)
        checks = [check.remote(job, reference) for job in self._jobs]
        checked: list[tuple[int, Manifest]] = [_await(each) for each in checks]
        if restart:
            for folder in [JobFolder(job.output.path) for job in self._jobs]:
                with folder.locked():
                    folder.discard()
        num_rows = sum(rows for rows, _ in checked)
        start, saved = time.monotonic(), self._saved()

        def report(total: RowCounts) -> ScoringProgress:
            seconds = time.monotonic() - start
            progress = ScoringProgress(num_rows, saved, total - saved, seconds)
            on_progress(progress)
            return progress

        report(saved)
        manifests = [manifest for _, manifest in checked]
        total = self._run_shards(manifests, reference, lambda: report(self._saved()))
        outputs = tuple(str(job.output.path) for job in self._jobs)
        digests = tuple(output_digest(job.output) for job in self._jobs)
        described = reference.provenance, reference.max_tokens
        return JobReport(outputs, report(total), *described, digests)

    def _run_shards(
        self, manifests: Sequence[Manifest], reference: "Reference", on_poll: Callable[[], object]
    ) -> RowCounts:
        """Run every shard; an error of one ends the run."""
        waiting, total = deque(range(len(self._jobs))), RowCounts()
        running: dict[Future[Any], tuple[Any, int]] = {}

        def assign(worker: Any, shard: int) -> None:
            result = worker.run.remote(self._jobs[shard], manifests[shard])
            running[result.future()] = worker, shard

        def start_worker() -> Any:
            # A crash is handled here: Ray would restart and retry without end.
            once = {"max_restarts": 0, "max_task_retries": 0}
            return self._remote(ShardWorker, **once).remote(self._model, reference)

        for _ in range(self._options.workers):
            assign(start_worker(), waiting.popleft())
        while running:
            for future in wait(running, SECONDS_BETWEEN_POLLS, FIRST_COMPLETED).done:
                worker, shard = running.pop(future)
                try:
                    total += _raise_error(future.result())
                except self._ray.exceptions.RayActorError as error:
                    if error.actor_init_failed:
                        raise
                    self._check_head()
                    self._ray.kill(worker)  # it may be alive, though it cannot be reached
                    self.record_crash(shard)
                    assign(start_worker(), shard)
                    continue
                if waiting:
                    assign(worker, waiting.popleft())
                else:
                    self._ray.kill(worker)  # frees its CPUs for the replacement of a crashed one
            on_poll()
        return total

    def _check_head(self) -> None:
        """Raise a JobError if the head node is gone; Ray would wait, then end the process."""
        host, _, port = self._ray.get_runtime_context().gcs_address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
        except OSError as error:
            raise JobError(
                f"the head node of the Ray cluster is gone: {error}. Start a cluster and run the "
                "same command again to resume from the saved chunks"
            ) from error

    def record_crash(self, shard: int) -> None:
        """Count the crash of a worker; JobError after several without another saved row."""
        rows = self._ledgers[shard].poll().rows
        rows_before, times = self._crashes.get(shard, (rows, 0))
        times = times + 1 if rows == rows_before else 1
        self._crashes[shard] = rows, times
        if times == MAX_CRASHES:
            raise JobError(
                f"{self._jobs[shard].output.path}: {times} workers crashed on this shard after "
                f"{rows:,} saved rows (out of memory?). See Ray's logs; run the same command again "
                "to resume"
            )

    def _saved(self) -> RowCounts:
        return reduce(add, (ledger.poll() for ledger in self._ledgers), RowCounts())

    def _remote(self, action: Any, **options: Any) -> Any:
        """Wrap a function or class for Ray, with the resources of a worker."""
        cpus, gpus = self._resources["CPU"], self._resources["GPU"]
        return self._ray.remote(action).options(num_cpus=cpus, num_gpus=gpus, **options)


def _await(reference: Any, seconds: float | None = None) -> Any:
    """Return the result of a Ray reference; TimeoutError after `seconds`.

    Not by ray.get, which turns a signal handler's SystemExit into another error.
    """
    return _raise_error(reference.future().result(timeout=seconds))


def _raise_error(result: T | IsobatchError) -> T:
    if isinstance(result, IsobatchError):
        raise result
    return result


class LedgerReader:
    """Reads the progress of a job that another process runs.

    Read-only. Each poll reads only the bytes appended since the last one, so that a thousand
    finished jobs cost a thousand calls of stat.
    """

    def __init__(self, output: Path) -> None:
        self._folder = JobFolder(output)
        self._size = 0
        self._counts = RowCounts()

    def poll(self) -> RowCounts:
        """Return the counts of all saved chunks."""
        ledger = self._folder.ledger
        try:
            size = ledger.stat().st_size if ledger.exists() else 0
            if size < self._size:
                self._size, self._counts = 0, RowCounts()
            if size > self._size:
                self._read_appended(ledger)
        except (OSError, ValueError, LookupError, TypeError):
            pass  # the worker that uses the ledger reports the error; the last counts stay valid
        # A job whose output was deleted starts over: the rows in its ledger are not saved.
        deleted = not self._folder.output.exists() and self._folder.finished.exists()
        return RowCounts() if deleted else self._counts

    def _read_appended(self, ledger: Path) -> None:
        with ledger.open("rb") as file:
            file.seek(self._size)
            appended = file.read()
        whole = appended[: appended.rfind(b"\n") + 1]
        counts = (RowCounts(**json.loads(line)["counts"]) for line in whole.splitlines())
        self._counts = reduce(add, counts, self._counts)
        self._size += len(whole)


# ----------------------------------------------------------------------------------- the workers


@dataclass(frozen=True, slots=True)
class Reference:
    """The properties that every worker's model must have."""

    provenance: Provenance
    row_format: RowFormat[Any]
    max_tokens: int


def returns_errors(function: Callable[P, T]) -> Callable[P, T | IsobatchError]:
    """Make a function return its error, as a JobError if it is not one of Isobatch's.

    Ray would wrap an error that is raised in a type of its own.
    """

    @wraps(function)
    def result_or_error(*args: P.args, **kwargs: P.kwargs) -> T | IsobatchError:
        try:
            return function(*args, **kwargs)
        except IsobatchError as error:
            return error
        except OSError as error:
            return JobError(f"on worker {platform.node()}: {error}. {SHARED}")
        except Exception as error:  # noqa: BLE001 - its type may not exist where the driver runs
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
            return JobError(f"on worker {platform.node()}: {reason}")

    return result_or_error


@returns_errors
def describe_worker(model: ModelOptions, scoring: ScoringOptions | None = None) -> Reference:
    """Describe the worker that this runs on; errors as in `load`."""
    scorer = model.load(scoring)
    provenance = _provenance(scorer, model)
    return Reference(provenance, scorer.row_format, scorer.pipeline.max_tokens)


@returns_errors
def check_shard(job: FileJob, reference: Reference) -> tuple[int, Manifest]:
    """Do everything that needs no model; return the number of rows and the manifest."""
    prepared = _prepare(job, reference)
    return prepared.num_rows, prepared.manifest


class ShardWorker:
    """Runs one job after the other with one model and one cache."""

    def __init__(self, model: ModelOptions, reference: Reference) -> None:
        self._model = model
        self._reference = reference
        self._loaded: tuple[RowScorer, Provenance] | None = None
        self._cache = OutputCache()

    @returns_errors
    def run(self, job: FileJob, checked: Manifest) -> RowCounts:
        """Run a job whose check gave the manifest `checked`; return the counts of all its rows."""
        # Loaded here and not in the constructor, where Ray would wrap an error in its own.
        self._loaded = self._loaded or self._load()
        scorer, own = self._loaded
        prepared = _prepare(job, replace(self._reference, provenance=own))
        if different := differences(checked, prepared.manifest):
            raise JobError(
                f"{job.output.path}: inputs or settings changed after the check, or differ between "
                "machines: " + "; ".join(different)
            )
        return run_job(prepared, scorer, cache=self._cache).total

    def _load(self) -> tuple[RowScorer, Provenance]:
        scorer = self._model.load()
        own = _provenance(scorer, self._model)
        if different := differences(self._reference.provenance.compared(), own.compared()):
            raise JobError(
                f"predictions of the workers could differ: on {platform.node()} "
                + "; ".join(different)
                + f". {_fix(self._reference.provenance, own)}"
            )
        return scorer, own


def _provenance(scorer: RowScorer, model: ModelOptions) -> Provenance:
    return describe_provenance(scorer, model.model, model.revision)


def _fix(reference: Provenance, own: Provenance) -> str:
    """Return how to give workers the same bits, by the kind of their difference."""
    if reference.arithmetic == own.arithmetic:
        return "Give all machines the same checkpoint, and the same versions"
    return (
        f"The arithmetic {ARITHMETIC} has the same bits on every processor: on each machine, "
        "`isobatch info` says why a kernel is not compiled. Compile them on all machines, or use "
        "machines of one kind"
    )


def _prepare(job: FileJob, reference: Reference) -> PreparedJob:
    """Prepare a job; JobError if this machine does not see the inputs."""
    for table in job.inputs:
        if not table.path.exists():
            raise JobError(f"on worker {platform.node()}: {table.path}: does not exist. {SHARED}")
    return prepare_job(job, reference.row_format, reference.provenance)
