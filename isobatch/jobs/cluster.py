"""The same jobs on Ray Data: one a shard, each worker with one classifier for all of its shards.

Files are read and written by the workers, on storage that all of them see. It knows Ray, and of
jobs only how one is run (`shard_workers`). Invariant: a shard's output is what `run_job` writes on
one machine, for a worker whose answers could differ refuses to work.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

from isobatch.errors import JobError, OptionError
from isobatch.jobs.folder import JobFolder
from isobatch.jobs.joining import joined, root_of
from isobatch.jobs.ledgers import LedgerWatch
from isobatch.jobs.options import ModelOptions
from isobatch.jobs.prepare import FileJob
from isobatch.jobs.run import OnProgress, Outcome
from isobatch.jobs.shard_dataset import map_rows
from isobatch.jobs.shard_workers import (
    Reference,
    ShardRow,
    ShardWorker,
    check_shard,
    describe_worker,
    failed,
    unpack,
)
from isobatch.jobs.summary import Counts, Progress

SECONDS_BETWEEN_LOOKS = 2.0
"""How often the ledgers are read to see how far the workers are."""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Where to run: the cluster at `address`, or None for a Ray of this machine's own.

    Each of `workers` takes `cpus` CPUs, and a GPU for device "cuda". `seconds_to_wait`: how long
    the cluster may take to have room for all of them.
    """

    address: str | None = None
    workers: int = 2
    cpus: int = 1
    seconds_to_wait: float = 60.0

    def __post_init__(self) -> None:
        for name in ("workers", "cpus", "seconds_to_wait"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.address and self.address.startswith("ray://"):
            raise OptionError(
                f"{self.address}: Ray Client is not supported; run on a machine of the cluster, "
                "with --ray-address auto"
            )


def run_on_ray(
    jobs: Sequence[FileJob],
    model: ModelOptions,
    where: RayOptions,
    *,
    restart: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Outcome:
    """Run the jobs, each on some worker; all are checked first, also by workers.

    JobError if Ray cannot be had, has no room for the workers, or fails; other errors as in
    `run_files`. The same call goes on from what was kept.
    """
    absolute = [job.with_absolute_paths() for job in jobs]
    where = replace(where, workers=min(where.workers, len(jobs)))
    with joined(where.address, where.workers * where.cpus) as ray:
        try:
            _await_room(ray, where, model)
            cluster = _Cluster(ray, absolute, replace(model, threads=where.cpus), where)
            return cluster.run(restart=restart, on_progress=on_progress)
        except ray.exceptions.RayError as error:
            raise JobError(
                f"Ray failed: {root_of(error)}; what was kept is kept: the same command goes on "
                "from there"
            ) from error


class _Cluster:
    """Jobs as rows of a Ray dataset: their numbers go out, packed results come back."""

    def __init__(
        self, ray: Any, jobs: Sequence[FileJob], model: ModelOptions, where: RayOptions
    ) -> None:
        self._ray = ray
        self._jobs = jobs
        self._model = model
        self._where = where

    def run(self, *, restart: bool, on_progress: OnProgress) -> Outcome:
        reference = self._reference()
        checked = self._check(reference)
        if restart:
            self._forget()
        num_rows = sum(unpack(row["result"]).num_rows for row in checked)
        watch = LedgerWatch(job.output.path for job in self._jobs)
        began, kept = time.monotonic(), watch.look()

        def tell(total: Counts) -> Progress:
            seconds = time.monotonic() - began
            progress = Progress(num_rows, kept, total - kept, seconds)
            on_progress(progress)
            return progress

        tell(kept)
        with _repeated(lambda: tell(watch.look()), SECONDS_BETWEEN_LOOKS):
            counts = self._compute(checked, reference)
        outputs = tuple(str(job.output.path) for job in self._jobs)
        progress = tell(reduce(add, counts, Counts()))
        return Outcome(outputs, progress, reference.provenance, reference.max_tokens)

    def _reference(self) -> Reference:
        describe = self._ray.remote(describe_worker).options(**_resources(self._where, self._model))
        reference: Reference = unpack(_await(describe.remote(self._model)))
        return reference

    def _check(self, reference: Reference) -> list[ShardRow]:
        """What `check_shard` makes of each; done by tasks, which start sooner than a dataset."""
        check = self._ray.remote(check_shard).options(num_cpus=1)
        jobs = self._ray.put(self._jobs)
        rows = [{"shard": index} for index in range(len(self._jobs))]
        checks = [check.remote(row, jobs, reference) for row in rows]
        return self._sound([_await(each) for each in checks])

    def _forget(self) -> None:
        for job in self._jobs:
            folder = JobFolder(job.output.path)
            with folder.locked():
                folder.forget()

    def _compute(self, checked: Sequence[ShardRow], reference: Reference) -> list[Counts]:
        constants = {
            "jobs": self._jobs,
            "model": self._model,
            "reference": reference,
            "run": uuid.uuid4().hex,
        }
        options = {"fn_constructor_kwargs": constants, **_resources(self._where, self._model)}
        conduct = self._ray.remote(map_rows).options(num_cpus=0, max_retries=0)
        workers = self._where.workers
        done = _await(conduct.remote(ShardWorker, checked, failed, workers, options))
        return [unpack(row["result"]) for row in self._sound(done)]

    def _sound(self, rows: Sequence[ShardRow]) -> list[ShardRow]:
        """The rows, none of which is an error; one that is, is raised here."""
        for row in rows:
            unpack(row["result"])
        return list(rows)


def _await_room(ray: Any, where: RayOptions, model: ModelOptions) -> None:
    """JobError unless all workers fit at one time; Ray itself would wait, and say nothing."""
    import ray.util

    bundle = _bundle(where, model)
    group = ray.util.placement_group([bundle] * where.workers)
    try:
        _await(group.ready(), where.seconds_to_wait)
    except TimeoutError:
        raise JobError(
            f"Ray has no room for {where.workers} workers of {_counted(bundle)} each: it has "
            f"{_counted(ray.cluster_resources())}, of which "
            f"{_counted(ray.available_resources())} are free, and in {where.seconds_to_wait:g} s "
            "that did not change; ask for less (--workers, --threads), free or add some, or wait "
            "longer (--ray-wait)"
        ) from None
    finally:
        ray.util.remove_placement_group(group)


def _await(reference: Any, seconds: float | None = None) -> Any:
    """What a reference of Ray stands for; TimeoutError after so many seconds.

    Not by ray.get, in which a signal handler's SystemExit becomes something else.
    """
    return reference.future().result(timeout=seconds)


def _resources(where: RayOptions, model: ModelOptions) -> dict[str, int]:
    return {f"num_{name.lower()}s": number for name, number in _bundle(where, model).items()}


def _bundle(where: RayOptions, model: ModelOptions) -> dict[str, int]:
    """What one worker takes, by Ray's names."""
    return {"CPU": where.cpus} | ({"GPU": 1} if model.device.startswith("cuda") else {})


def _counted(resources: dict[str, Any]) -> str:
    return ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))


@contextmanager
def _repeated(action: Callable[[], object], seconds: float) -> Iterator[None]:
    """Do something every so often, in a thread, until the context ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
