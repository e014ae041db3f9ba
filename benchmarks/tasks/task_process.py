"""The process of one side: it loads, then computes items when the driver sends them.

Invariant: between a reply and the next request it only blocks on a read, so it takes no processor
time from the side whose turn it is.
"""

import multiprocessing
import os
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks import BenchmarkError
from benchmarks.tasks.task_sides import OutputRow, TaskSetup, TaskSide, side_module
from benchmarks.tasks.task_workloads import Item
from benchmarks.worker import peak_memory_mb

_SECONDS_TO_STOP = 30


class Turn(NamedTuple):
    """One timed call: its rows in the caller's order. peak_memory_mb: of the process so far."""

    seconds: float
    rows: list[OutputRow]
    peak_memory_mb: float


class TaskProcess:
    """A side as the driver sees it; it is loading when it is made."""

    def __init__(self, side: TaskSide, setup: TaskSetup) -> None:
        self.side = side
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, side, setup), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_loaded(self) -> None:
        """Wait until the side is loaded. Raises BenchmarkError with what it raised."""
        self._receive()

    def run(self, items: Sequence[Item], batch_size: int) -> Turn:
        """Compute the items."""
        self._connection.send((items, batch_size))
        turn = self._receive()
        assert isinstance(turn, Turn)
        return turn

    def _receive(self) -> object:
        try:
            found = self._connection.recv()
        except EOFError:
            found = "the process ended"
        if isinstance(found, str):
            raise BenchmarkError(f"{self.side.name}: {found}")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()  # which ends it
        if kind is None:
            self._process.join(_SECONDS_TO_STOP)
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, side: TaskSide, setup: TaskSetup) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # all checkpoints are local folders
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        loaded = side_module(side).load(setup)
        connection.send(None)
        while True:
            try:
                items, batch_size = connection.recv()
            except EOFError:
                return
            began = time.perf_counter()
            rows = loaded.run(items, batch_size)
            seconds = time.perf_counter() - began
            connection.send(Turn(seconds, rows, peak_memory_mb()))
    except Exception:  # noqa: BLE001  # the driver reports it
        connection.send(traceback.format_exc())
