"""Admission control: ASGI middlewares that refuse a request before any of its work is done.

Invariant: no part of a body is read before the request is admitted, and never more than the limit.
"""

import asyncio
import hmac
from collections.abc import Callable, Collection
from contextlib import suppress
from time import monotonic

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isobatch.serve.engine import ServingEngine
from isobatch.serve.http_errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    OverloadedError,
    RequestError,
    ShuttingDownError,
    UnauthorizedError,
    error_code,
    error_response,
)

CountFailure = Callable[[str], None]
"""Called with the metric label of each refusal."""


class Gate:
    """A middleware that admits a request, or responds with the error from `refusal`."""

    def __init__(self, app: ASGIApp, count_failure: CountFailure) -> None:
        self.app = app
        self.count_failure = count_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif error := self.refusal(scope):
            self.count_failure(error_code(error).label)
            await error_response(error)(scope, receive, send)
        else:
            await self.admit(scope, receive, send)

    def refusal(self, scope: Scope) -> RequestError | None:
        """Return why the request is refused; None admits it."""
        raise NotImplementedError

    async def admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await self.app(scope, receive, send)


class ShutdownGate(Gate):
    """503 while the server shuts down, for requests on connections that are still open."""

    def __init__(self, app: ASGIApp, count_failure: CountFailure, engine: ServingEngine) -> None:
        super().__init__(app, count_failure)
        self.engine = engine

    def refusal(self, scope: Scope) -> RequestError | None:
        """Refuse every request once shutdown has begun."""
        if self.engine.closing:
            return ShuttingDownError("the server is shutting down. Retry later, or elsewhere")
        return None


class ApiKeyGate(Gate):
    """401 without `Authorization: Bearer KEY`, except for GET and HEAD of the open paths."""

    def __init__(
        self, app: ASGIApp, count_failure: CountFailure, api_key: str, open_paths: Collection[str]
    ) -> None:
        super().__init__(app, count_failure)
        self.expected = api_key.encode()
        self.open_paths = frozenset(open_paths)

    def refusal(self, scope: Scope) -> RequestError | None:
        """Check the key in constant time, so that timing does not reveal how much of it matches."""
        if scope["method"] in ("GET", "HEAD") and scope["path"] in self.open_paths:
            return None
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self.expected):
            return None
        return UnauthorizedError(
            "missing or wrong API key. Send the header Authorization: Bearer KEY"
        )


class BodyGate(Gate):
    """413 for a body above the limit, 408 for one that is not complete in time.

    A body without Content-Length is counted as it arrives: `receive` raises in its reader.
    """

    def __init__(
        self, app: ASGIApp, count_failure: CountFailure, limit: int, seconds: float
    ) -> None:
        super().__init__(app, count_failure)
        self.limit = limit
        self.seconds = seconds

    def refusal(self, scope: Scope) -> RequestError | None:
        """Refuse a body whose declared length is above the limit."""
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        declared = Headers(scope=scope).get("content-length", "")
        return self._too_large() if declared.isdecimal() and int(declared) > self.limit else None

    async def admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with limits on its body."""
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            receive = self._limited(receive)
        await self.app(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        """Wrap `receive` to count bytes and watch the clock until the body is complete."""
        deadline = monotonic() + self.seconds
        num_bytes, complete = 0, False

        async def limited() -> Message:
            nonlocal num_bytes, complete
            if complete:
                return await receive()
            message = await self._receive_before(deadline, receive)
            num_bytes += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if num_bytes > self.limit:
                raise self._too_large()
            return message

        return limited

    async def _receive_before(self, deadline: float, receive: Receive) -> Message:
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - monotonic()):
                return await receive()
        raise BodyTimeoutError(f"the body was not complete within {self.seconds:g} s")

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"the body is too large (maximum {self.limit} bytes). Send several requests, or start "
            "the server with a larger --payload-limit"
        )


class ConcurrencyGate(Gate):
    """429 while the maximum number of requests is being processed; exempt paths do not count."""

    def __init__(
        self, app: ASGIApp, count_failure: CountFailure, limit: int, exempt_paths: Collection[str]
    ) -> None:
        super().__init__(app, count_failure)
        self.limit = limit
        self.exempt_paths = frozenset(exempt_paths)
        self.num_active = 0

    def refusal(self, scope: Scope) -> RequestError | None:
        """Refuse a request above the limit."""
        if scope["path"] in self.exempt_paths or self.num_active < self.limit:
            return None
        return OverloadedError(f"too many concurrent requests (maximum {self.limit}). Retry later")

    async def admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request while it is processed."""
        counted = scope["path"] not in self.exempt_paths
        self.num_active += counted
        try:
            await self.app(scope, receive, send)
        finally:
            self.num_active -= counted
