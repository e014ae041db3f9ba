"""The process of one side: it trains, and waits for the driver before each round of steps.

Invariant: a round is timed from one end of a step to another, in the middle of one training.
"""

import importlib
import multiprocessing
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.training.workloads import TrainingWorkload
from benchmarks.worker import peak_memory_mb

SECONDS_TO_STOP = 30


@dataclass(frozen=True)
class Side:
    """A way to train. function: of a module of this package, imported in its own process.

    target: of Isobatch's speed over this one's; grouped: its steps are grouped by length.
    """

    name: str
    title: str
    module: str
    function: str
    target: float | None = None
    grouped: bool = False


ISOBATCH = Side("isobatch", "**Isobatch**", "isobatch_training", "train")
DYNAMIC = Side("dynamic", "`Trainer`, dynamic padding", "trainer_training", "train", target=1.5)
GROUPED = Side(
    "grouped",
    "`Trainer`, dynamic padding, `group_by_length`",
    "trainer_training",
    "train",
    target=1.2,
    grouped=True,
)
SIDES = (
    ISOBATCH,
    DYNAMIC,
    GROUPED,
    Side(
        "padded-128",
        "`Trainer`, padded to 128 (default of `run_classification.py`)",
        "trainer_training",
        "train_padded_to_128",
    ),
    Side(
        "no-promise",
        "Isobatch's packed step without the promise",
        "isobatch_training",
        "train_without_promise",
    ),
)


@dataclass(frozen=True)
class Round:
    """Consecutive steps. tokens: the real ones; computed: with padding. peak_memory_mb: so far."""

    seconds: float
    tokens: int
    computed: int
    peak_memory_mb: float


class StepCounter:
    """Counts steps; after the untimed ones, and after each round, it reports and waits."""

    def __init__(self, connection: Connection, warm_up: int, steps: int) -> None:
        self._connection = connection
        self._left, self._steps = warm_up, steps
        self._tokens = self._computed = 0
        self._began = time.perf_counter()

    def on_step(self, tokens: int, computed: int) -> None:
        """Count a step, its real tokens and the computed ones."""
        self._tokens += tokens
        self._computed += computed
        self._left -= 1
        if self._left:
            return
        seconds = time.perf_counter() - self._began
        self._connection.send(Round(seconds, self._tokens, self._computed, peak_memory_mb()))
        if not self._connection.recv():
            raise SystemExit
        self._left, self._tokens, self._computed = self._steps, 0, 0
        self._began = time.perf_counter()


class SideProcess:
    """A side as the driver sees it."""

    def __init__(self, side: Side, connection: Connection) -> None:
        self.side = side
        self._connection = connection

    def wait(self) -> Round:
        """Wait for the end of the present round."""
        try:
            found = self._connection.recv()
        except EOFError:
            found = "the process ended"
        if not isinstance(found, Round):
            raise BenchmarkError(f"{self.side.name}: {found}")
        return found

    def train_round(self) -> Round:
        """Let it take the steps of one round."""
        self._connection.send(True)
        return self.wait()

    def stop(self) -> None:
        """End its training where it waits."""
        with suppress(OSError):
            self._connection.send(False)


@contextmanager
def started(
    side: Side, workload: TrainingWorkload, threads: int, scratch: Path, warm_up: int, steps: int
) -> Iterator[SideProcess]:
    """Start the process and wait for the untimed steps; end it afterwards."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(
        target=_serve,
        args=(theirs, side, workload, threads, scratch / side.name, warm_up, steps),
        daemon=True,
    )
    process.start()
    theirs.close()
    try:
        running = SideProcess(side, ours)
        running.wait()
        yield running
        running.stop()
        process.join(SECONDS_TO_STOP)
    finally:
        process.kill()
        process.join()


def _serve(
    connection: Connection,
    side: Side,
    workload: TrainingWorkload,
    threads: int,
    scratch: Path,
    warm_up: int,
    steps: int,
) -> None:
    try:
        module = importlib.import_module(f"benchmarks.training.{side.module}")
        counter = StepCounter(connection, warm_up, steps)
        getattr(module, side.function)(workload, threads, scratch, counter.on_step)
        connection.send("the training ended before its last round")
    except Exception:  # noqa: BLE001  # the driver reports it
        connection.send(traceback.format_exc())
