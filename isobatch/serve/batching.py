"""The Batcher: requests wait in line, and one thread computes what waits whenever it is free.

It knows encodings and a function that computes them, no HTTP and no texts. Invariant: every request
that was taken in is answered once, by its logits or by an error, unless its future was cancelled.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from isobatch.batching.cache import Output
from isobatch.batching.plan import count_padding
from isobatch.serve.errors import ComputeError, ShuttingDownError
from isobatch.types import Encoding

logger = logging.getLogger("isobatch.serve")

Compute = Callable[[list[Encoding]], Sequence[Output]]


@dataclass(frozen=True, slots=True)
class Computed:
    """Logits of one request, and the seconds it waited and the model took."""

    logits: list[Output]
    queue_seconds: float
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What was computed together; padding: pads that batches of 32 in this order would hold."""

    num_texts: int
    num_tokens: int
    padding: int


@dataclass(slots=True, eq=False)
class Waiting:
    """One request in line."""

    encodings: list[Encoding]
    num_tokens: int
    future: asyncio.Future[Computed]
    since: float
    afresh: bool


class Batcher:
    """A line of requests, and the thread that works it off, first come first served.

    Use it from one event loop: `start`, `submit`, `close`. What is taken together are whole
    requests, as many as fit into `max_batch_tokens`, and always one.
    """

    def __init__(
        self,
        compute: Compute,
        max_batch_tokens: int,
        *,
        compute_afresh: Compute | None = None,
        max_wait_seconds: float = 0.0,
        report: Callable[[BatchReport], None] = lambda report: None,
    ) -> None:
        """`report` is called in the event loop, after each batch.

        compute_afresh: what computes a batch with a request that wants nothing remembered.
        """
        self._compute = compute
        self._compute_afresh = compute_afresh or compute
        self._max_batch_tokens = max_batch_tokens
        self._max_wait_seconds = max_wait_seconds
        self._report = report
        self._line: deque[Waiting] = deque()
        self._tokens_in_line = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="isobatch-model", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[asyncio.Future[Computed]] = set()

    def start(self) -> None:
        """Start the thread; to be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether somebody works the line off."""
        return self._thread.is_alive() and not self._closed

    @property
    def queue_size(self) -> int:
        """Requests in line, those included that were cancelled and not yet noticed."""
        return len(self._line)

    def submit(
        self, encodings: list[Encoding], *, afresh: bool = False
    ) -> asyncio.Future[Computed]:
        """Put a request in line. To cancel the future is to leave the line."""
        future: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()
        num_tokens = sum(map(len, encodings))
        with self._changed:
            if self._closed:
                raise ShuttingDownError("the server is shutting down")
            waiting = Waiting(encodings, num_tokens, future, time.perf_counter(), afresh)
            self._line.append(waiting)
            self._tokens_in_line += num_tokens
            self._changed.notify()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def give_up(self) -> int:
        """In the event loop: whoever still waits gets ShuttingDownError; returns how many."""
        waiting = [future for future in self._open if not future.done()]
        for future in waiting:
            future.set_exception(ShuttingDownError("the server is shutting down; ask another"))
        return len(waiting)

    async def close(self) -> None:
        """Work off the line, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while batch := self._take():
            self._answer(batch)

    def _take(self) -> list[Waiting]:
        """The next batch, as soon as there is one; empty when all is done and closed."""
        with self._changed:
            while True:
                self._wait_for_company()
                if batch := self._pop():
                    return batch
                if self._closed:
                    return []
                self._changed.wait()

    def _wait_for_company(self) -> None:
        """Only where it was asked for: until the batch is full, or the first has waited enough."""
        while self._line and self._tokens_in_line < self._max_batch_tokens and not self._closed:
            rest = self._line[0].since + self._max_wait_seconds - time.perf_counter()
            if rest <= 0:
                return
            self._changed.wait(rest)

    def _pop(self) -> list[Waiting]:
        """Those in front, up to the budget; whoever has left is dropped here, before any work."""
        batch: list[Waiting] = []
        num_tokens = 0
        while self._line:
            first = self._line[0]
            left = first.future.done()
            if not left and batch and num_tokens + first.num_tokens > self._max_batch_tokens:
                break
            self._line.popleft()
            self._tokens_in_line -= first.num_tokens
            if not left:
                batch.append(first)
                num_tokens += first.num_tokens
        return batch

    def _answer(self, batch: list[Waiting]) -> None:
        """Compute a batch; where it fails, each request alone, so that only the cause fails."""
        started = time.perf_counter()
        rows = self._attempt(batch)
        seconds = time.perf_counter() - started
        if rows is not None:
            answers = [
                Computed(own, started - waiting.since, seconds)
                for waiting, own in zip(batch, rows, strict=True)
            ]
            self._deliver(self._report, _report_of(batch))
            self._deliver(self._settle, batch, answers)
        elif len(batch) > 1:
            for waiting in batch:
                self._answer([waiting])
        else:
            failed = ComputeError("the model failed; the server's log says why")
            self._deliver(self._settle, batch, [failed])

    def _attempt(self, batch: list[Waiting]) -> list[list[Output]] | None:
        """Logits of each request, or None, with the reason in the log."""
        try:
            afresh = any(waiting.afresh for waiting in batch)
            compute = self._compute_afresh if afresh else self._compute
            rows = iter(compute([each for waiting in batch for each in waiting.encodings]))
            return [[next(rows) for _ in waiting.encodings] for waiting in batch]
        except BaseException as error:  # a thread that ended here would leave everyone waiting
            reason = f"{type(error).__name__}: {error}"
            logger.exception("the model failed with %d requests: %s", len(batch), reason)
            return None

    def _deliver(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call back in the event loop, unless the server has ended meanwhile."""
        assert self._loop is not None
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    @staticmethod
    def _settle(batch: list[Waiting], answers: Sequence[Computed | ComputeError]) -> None:
        """In the event loop: wake everyone who waited for this batch and has not left."""
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.future.done():
                continue
            if isinstance(answer, ComputeError):
                waiting.future.set_exception(answer)
            else:
                waiting.future.set_result(answer)


def _report_of(batch: Sequence[Waiting]) -> BatchReport:
    lengths = [len(encoding) for waiting in batch for encoding in waiting.encodings]
    return BatchReport(len(lengths), sum(lengths), count_padding(lengths))
