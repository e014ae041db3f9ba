"""Who may come in: middlewares that refuse a request before it costs anything.

Each is a plain ASGI application around another. They know no dialect. Invariant: nothing of a body
is read before the request was let in, and never more of it than allowed.
"""

import asyncio
import hmac
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isobatch.serve.errors import (
    OverloadedError,
    RequestError,
    ShuttingDownError,
    SlowBodyError,
    TooLargeError,
    UnauthorisedError,
    error_response,
    fault_of,
)

CountFailure = Callable[[str], None]
"""Called with the label of each refusal."""


@dataclass(slots=True)
class Door:
    """Whether new requests are let in; the one thing about a server that changes."""

    closing: bool = False


async def _refuse(
    error: RequestError, count: CountFailure, scope: Scope, receive: Receive, send: Send
) -> None:
    count(fault_of(error).label)
    await error_response(error)(scope, receive, send)


class ShutdownGate:
    """503 once the door is closing, for those who still come by an open connection."""

    def __init__(self, app: ASGIApp, door: Door, count: CountFailure) -> None:
        self.app = app
        self.door = door
        self.count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and self.door.closing:
            gone = ShuttingDownError("the server is shutting down; ask another, or again later")
            await _refuse(gone, self.count, scope, receive, send)
            return
        await self.app(scope, receive, send)


class ApiKeyGate:
    """401 without `Authorization: Bearer KEY`, but for paths that all may read by GET or HEAD."""

    def __init__(
        self, app: ASGIApp, api_key: str, open_paths: Collection[str], count: CountFailure
    ) -> None:
        self.app = app
        self.expected = api_key.encode()
        self.open_paths = frozenset(open_paths)
        self.count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or self._is_open(scope) or self._knows_key(scope):
            await self.app(scope, receive, send)
            return
        error = UnauthorisedError("this server asks for a key: Authorization: Bearer KEY")
        await _refuse(error, self.count, scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        return scope["method"] in ("GET", "HEAD") and scope["path"] in self.open_paths

    def _knows_key(self, scope: Scope) -> bool:
        """Compared in constant time, so that a wrong key does not tell how wrong it is."""
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self.expected)


class ConcurrencyGate:
    """429 where as many requests as allowed are under way; paths of the status are not counted."""

    def __init__(
        self, app: ASGIApp, limit: int, free_paths: Collection[str], count: CountFailure
    ) -> None:
        self.app = app
        self.limit = limit
        self.free_paths = frozenset(free_paths)
        self.count = count
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in self.free_paths:
            await self.app(scope, receive, send)
            return
        if self.under_way >= self.limit:
            error = OverloadedError(f"{self.limit} requests are under way; try again in a moment")
            await _refuse(error, self.count, scope, receive, send)
            return
        self.under_way += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.under_way -= 1


class BodyGate:
    """413 for a body above the limit, announced or not; 408 for one that does not end in time.

    A body without its length is counted as it comes in: `receive` raises in whoever reads it.
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float, count: CountFailure) -> None:
        self.app = app
        self.limit = limit
        self.seconds = seconds
        self.count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a watched body, or refuse it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limit:
            await _refuse(self._too_large(), self.count, scope, receive, send)
            return
        await self.app(scope, _Watched(receive, self).receive, send)

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"the body is larger than {self.limit} bytes; send several requests, or start the "
            "server with --payload-limit"
        )


class _Watched:
    """`receive` of one request, which counts bytes and looks at the clock until the body is in."""

    def __init__(self, receive: Receive, gate: BodyGate) -> None:
        self._receive = receive
        self._gate = gate
        self._num_bytes = 0
        self._until = monotonic() + gate.seconds
        self._ended = False

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()
        message = await self._in_time()
        self._num_bytes += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._num_bytes > self._gate.limit:
            raise self._gate._too_large()
        return message

    async def _in_time(self) -> Message:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._until - monotonic()):
                return await self._receive()
        raise SlowBodyError(f"the body did not come to its end within {self._gate.seconds:g} s")
