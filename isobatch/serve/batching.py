"""Dynamic batching: requests queue, and one thread computes what has queued whenever it is free.

Invariant: every submitted request is resolved once, by its outputs or by an error, unless its
future was cancelled.
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
from isobatch.errors import InputError
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.types import Encoding

logger = logging.getLogger("isobatch.serve")

_POLL_SECONDS = 0.01

Compute = Callable[[list[Encoding]], Sequence[Output | InputError]]
"""Encodings → the output of each, or why the model has none for it."""


@dataclass(frozen=True, slots=True)
class BatchedOutputs:
    """Outputs of one request, with the seconds it queued and its batch took."""

    outputs: list[Output | InputError]
    queue_seconds: float
    inference_seconds: float


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """One request in the queue."""

    encodings: list[Encoding]
    num_tokens: int
    future: asyncio.Future[BatchedOutputs]
    since: float
    use_cache: bool


class Batcher:
    """A first-in, first-out queue of requests and the thread that computes them.

    Use it from one event loop: `start`, `submit`, `close`. A batch is as many whole requests as fit
    into `max_batch_tokens`, and at least one.
    """

    def __init__(
        self,
        compute: Compute,
        max_batch_tokens: int,
        *,
        compute_uncached: Compute | None = None,
        max_wait_seconds: float = 0.0,
        report: Callable[[list[int]], None] = lambda lengths: None,
    ) -> None:
        """Set up the queue; `report` gets the lengths of each computed batch, in the event loop.

        compute_uncached: computes batches with a request that must not use the cache.
        """
        self._compute = compute
        self._compute_uncached = compute_uncached or compute
        self._max_batch_tokens = max_batch_tokens
        self._max_wait_seconds = max_wait_seconds
        self._report = report
        self._queue: deque[QueuedRequest] = deque()
        self._queued_tokens = 0
        self._changed = threading.Condition()
        self._closed = False
        self._abandoned = False
        self._thread = threading.Thread(target=self._work, name="isobatch-model", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: set[asyncio.Future[BatchedOutputs]] = set()

    def start(self) -> None:
        """Start the thread; call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread is running and accepts requests."""
        return self._thread.is_alive() and not self._closed

    @property
    def is_computing(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    @property
    def queue_size(self) -> int:
        """Number of queued requests, including cancelled ones that are not yet dropped."""
        return len(self._queue)

    def submit(
        self, encodings: list[Encoding], *, use_cache: bool = True
    ) -> asyncio.Future[BatchedOutputs]:
        """Queue a request; cancelling its future removes it."""
        future: asyncio.Future[BatchedOutputs] = asyncio.get_running_loop().create_future()
        num_tokens = sum(map(len, encodings))
        with self._changed:
            if self._closed:
                raise RequestError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
            self._queue.append(
                QueuedRequest(encodings, num_tokens, future, time.perf_counter(), use_cache)
            )
            self._queued_tokens += num_tokens
            self._changed.notify()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def fail_pending(self) -> int:
        """Fail all unresolved requests and return their number; `close` does not await their batch.

        Call it in the event loop.
        """
        self._abandoned = True
        pending = [future for future in self._pending if not future.done()]
        message = "the server shut down before the request was computed. Retry"
        for future in pending:
            future.set_exception(RequestError(ErrorCode.SHUTTING_DOWN, message))
        return len(pending)

    async def close(self) -> None:
        """Compute what is queued, then end the thread; only the latter after `fail_pending`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        while self.is_computing and not self._abandoned:
            await asyncio.sleep(_POLL_SECONDS)

    def _work(self) -> None:
        while batch := self._next_batch():
            self._process(batch)

    def _next_batch(self) -> list[QueuedRequest]:
        """Wait for a batch; it is empty once the queue is closed and empty."""
        with self._changed:
            while True:
                self._wait_until_full()
                if batch := self._pop_batch():
                    return batch
                if self._closed:
                    return []
                self._changed.wait()

    def _wait_until_full(self) -> None:
        """Wait until the batch is full or the first request has waited `max_wait_seconds`."""
        while self._queue and self._queued_tokens < self._max_batch_tokens and not self._closed:
            rest = self._queue[0].since + self._max_wait_seconds - time.perf_counter()
            if rest <= 0:
                return
            self._changed.wait(rest)

    def _pop_batch(self) -> list[QueuedRequest]:
        """Take requests up to the token budget; cancelled ones are dropped before any work."""
        batch: list[QueuedRequest] = []
        num_tokens = 0
        while self._queue:
            first = self._queue[0]
            cancelled = first.future.done()
            if not cancelled and batch and num_tokens + first.num_tokens > self._max_batch_tokens:
                break
            self._queue.popleft()
            self._queued_tokens -= first.num_tokens
            if not cancelled:
                batch.append(first)
                num_tokens += first.num_tokens
        return batch

    def _process(self, batch: list[QueuedRequest]) -> None:
        """Compute a batch; if it fails, retry each request alone, so that only the cause fails."""
        started = time.perf_counter()
        rows = self._compute_batch(batch)
        seconds = time.perf_counter() - started
        if rows is not None:
            results = [
                BatchedOutputs(own, started - request.since, seconds)
                for request, own in zip(batch, rows, strict=True)
            ]
            lengths = [len(each) for request in batch for each in request.encodings]
            self._call_in_loop(self._report, lengths)
            self._call_in_loop(self._resolve, batch, results)
        elif len(batch) > 1:
            for request in batch:
                if not request.future.done():
                    self._process([request])
        else:
            error = RequestError(ErrorCode.INFERENCE, "the model failed; see the server's log")
            self._call_in_loop(self._resolve, batch, [error])

    def _compute_batch(self, batch: list[QueuedRequest]) -> list[list[Output | InputError]] | None:
        """Compute the outputs of each request; None if that fails, with the reason in the log."""
        try:
            use_cache = all(request.use_cache for request in batch)
            compute = self._compute if use_cache else self._compute_uncached
            rows = iter(compute([each for request in batch for each in request.encodings]))
            return [[next(rows) for _ in request.encodings] for request in batch]
        except BaseException as error:  # if the thread ended here, every request would hang
            reason = f"{type(error).__name__}: {error}"
            logger.exception("the model failed on %d requests: %s", len(batch), reason)
            return None

    def _call_in_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call back in the event loop, unless it has been closed."""
        assert self._loop is not None
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    @staticmethod
    def _resolve(
        batch: list[QueuedRequest], results: Sequence[BatchedOutputs | RequestError]
    ) -> None:
        """Resolve the futures of a batch in the event loop, except cancelled ones."""
        for request, result in zip(batch, results, strict=True):
            if request.future.done():
                continue
            if isinstance(result, RequestError):
                request.future.set_exception(result)
            else:
                request.future.set_result(result)
