"""The same jobs on Ray Data: one a shard, each worker with one classifier for all of its shards.

Files are read and written by the workers, on storage that all of them see. It knows Ray, and of
jobs only how one is run (`shard_workers`). Invariant: a shard's output is what `run_job` writes on
one machine, for a worker whose answers could differ refuses to work.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

from isobatch.errors import JobError, OptionError
from isobatch.jobs.folder import JobFolder, count_kept
from isobatch.jobs.options import ModelOptions
from isobatch.jobs.prepare import FileJob
from isobatch.jobs.run import OnProgress, Outcome
from isobatch.jobs.shard_workers import ShardWorker, count_rows, describe_worker, unpack
from isobatch.jobs.summary import Counts, Progress

SECONDS_BETWEEN_LOOKS = 2.0
"""How often the ledgers are read to see how far the workers are."""

SPARE_CPUS = 2
"""Logical CPUs of a local Ray beside its workers': with none for reading, Ray Data never begins."""


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


def run_on_ray(
    jobs: Sequence[FileJob],
    model: ModelOptions,
    where: RayOptions,
    *,
    restart: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Outcome:
    """Run the jobs, each on some worker; all inputs are read through first, also by workers.

    JobError if Ray cannot be had, has no room for the workers, or fails; other errors as in
    `run_files`. The same call goes on from what was kept.
    """
    absolute = [job.with_absolute_paths() for job in jobs]
    with _joined(where) as ray:
        _await_room(ray, where, model)
        cluster = _Cluster(ray, absolute, replace(model, threads=where.cpus), where)
        try:
            return cluster.run(restart=restart, on_progress=on_progress)
        except ray.exceptions.RayError as error:
            raise JobError(
                f"Ray failed: {error}; what was kept is kept: the same command goes on from there"
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
        describe = self._ray.remote(describe_worker).options(**_resources(self._where, self._model))
        reference, max_tokens = unpack(self._ray.get(describe.remote(self._model)))
        num_rows = sum(self._map(count_rows, fn_kwargs={"jobs": self._jobs}, num_cpus=1))
        if restart:
            for job in self._jobs:
                folder = JobFolder(job.output.path)
                with folder.locked():
                    folder.forget()
        began, kept = time.monotonic(), self._count()

        def tell() -> Progress:
            seconds = time.monotonic() - began
            progress = Progress(num_rows, kept, self._count() - kept, seconds)
            on_progress(progress)
            return progress

        constants = {"jobs": self._jobs, "model": self._model, "reference": reference}
        workers = min(self._where.workers, len(self._jobs))
        with _repeated(tell, SECONDS_BETWEEN_LOOKS):
            for _ in self._map(
                ShardWorker,
                fn_constructor_kwargs=constants,
                compute=self._ray.data.ActorPoolStrategy(size=workers),
                **_resources(self._where, self._model),
            ):
                pass
        outputs = tuple(str(job.output.path) for job in self._jobs)
        return Outcome(outputs, tell(), reference, max_tokens)

    def _count(self) -> Counts:
        return reduce(add, (count_kept(job.output.path) for job in self._jobs), Counts())

    def _map(self, do: Callable[..., Any], **options: Any) -> Iterator[Any]:
        """What `do` makes of each shard, as they come; an error of Isobatch is raised here."""
        shards = [{"shard": index} for index in range(len(self._jobs))]
        dataset = self._ray.data.from_items(shards, override_num_blocks=len(shards))
        for row in dataset.map(do, **options).iter_rows():
            yield unpack(row["result"])


@contextmanager
def _joined(where: RayOptions) -> Iterator[Any]:
    """Ray's module, joined to a cluster or to a local Ray that ends with the context."""
    try:
        import ray
        import ray.data
        import ray.util
    except ImportError as error:
        raise OptionError(
            f"--engine ray needs Ray ({error}); install it: pip install isobatch[ray]"
        ) from error
    on_sigterm = signal.getsignal(signal.SIGTERM)
    local = {"address": "local", "num_cpus": where.workers * where.cpus + SPARE_CPUS}
    try:
        ray.init(
            **({"address": where.address} if where.address else local),
            include_dashboard=False if where.address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise JobError(
            f"Ray cannot be joined at {where.address or 'this machine'}: {error}"
        ) from error
    try:
        # ray.init puts a handler of its own in place, which would change the exit code.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
    finally:
        ray.shutdown()


def _await_room(ray: Any, where: RayOptions, model: ModelOptions) -> None:
    """JobError unless all workers, and the reading of their shard numbers, fit at one time.

    Ray itself would wait without end, and say nothing.
    """
    needed = [_bundle(where, model)] * where.workers + [{"CPU": 1}]
    group = ray.util.placement_group(needed)
    try:
        ray.get(group.ready(), timeout=where.seconds_to_wait)
    except ray.exceptions.GetTimeoutError:
        raise JobError(
            f"Ray has no room for {where.workers} workers of {_bundle(where, model)} and one more "
            f"CPU to feed them: it has {_counted(ray.cluster_resources())}, of which "
            f"{_counted(ray.available_resources())} are free, and in {where.seconds_to_wait:g} s "
            "that did not change; ask for fewer workers (--workers, --threads), or free some"
        ) from None
    finally:
        ray.util.remove_placement_group(group)


def _resources(where: RayOptions, model: ModelOptions) -> dict[str, int]:
    return {f"num_{name.lower()}s": number for name, number in _bundle(where, model).items()}


def _bundle(where: RayOptions, model: ModelOptions) -> dict[str, int]:
    """What one worker takes, by Ray's names."""
    return {"CPU": where.cpus} | ({"GPU": 1} if model.device.startswith("cuda") else {})


def _counted(resources: dict[str, float]) -> str:
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
