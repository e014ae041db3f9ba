"""Admission control: a middleware that refuses a request before any of its work is done.

Invariant: no part of a body is read before the request is admitted, and never more than the limit.
"""

import asyncio
import hmac
from collections.abc import Collection
from contextlib import suppress
from time import monotonic

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isobatch.serve.engine import ServingEngine
from isobatch.serve.http_errors import ErrorCode, RequestError, error_response

WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class AdmissionMiddleware:
    """Refuse requests during shutdown, without the API key, with too large a body, or in excess.

    open_paths: need no key for GET and HEAD. exempt_paths: do not count as concurrent requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        engine: ServingEngine,
        open_paths: Collection[str],
        exempt_paths: Collection[str],
    ) -> None:
        self._app = app
        self._engine = engine
        self._settings = engine.settings
        self._open_paths = frozenset(open_paths)
        self._exempt_paths = frozenset(exempt_paths)
        self._num_active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if error := self._refusal(scope):
            self._engine.metrics.failures.labels(error.code.label).inc()
            await error_response(error, scope["path"])(scope, receive, send)
            return
        if scope["method"] not in WITHOUT_BODY:
            receive = self._limited(receive)
        counted = scope["path"] not in self._exempt_paths
        self._num_active += counted
        try:
            await self._app(scope, receive, send)
        finally:
            self._num_active -= counted

    def _refusal(self, scope: Scope) -> RequestError | None:
        limit = self._settings.max_concurrent_requests
        if self._engine.closing:  # the request came on a connection that was still open
            message = "the server is shutting down. Retry later or on another server"
            return RequestError(ErrorCode.SHUTTING_DOWN, message)
        if not self._authorized(scope):
            message = "missing or wrong API key. Send the header Authorization: Bearer KEY"
            return RequestError(ErrorCode.UNAUTHORIZED, message)
        if scope["method"] not in WITHOUT_BODY:
            declared = Headers(scope=scope).get("content-length", "")
            if declared.isdecimal() and int(declared) > self._settings.payload_limit:
                return self._too_large()
        if self._num_active >= limit and scope["path"] not in self._exempt_paths:
            message = f"too many concurrent requests (maximum {limit}). Retry later"
            return RequestError(ErrorCode.OVERLOADED, message)
        return None

    def _authorized(self, scope: Scope) -> bool:
        """Compare keys in constant time, so that timing does not reveal how much matches."""
        expected = self._settings.api_key
        is_open = scope["method"] in ("GET", "HEAD") and scope["path"] in self._open_paths
        if expected is None or is_open:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), expected.encode())

    def _limited(self, receive: Receive) -> Receive:
        """Wrap `receive` to count bytes and watch the clock until the body is complete.

        It raises in the reader of a body without Content-Length that is too large.
        """
        seconds = self._settings.body_seconds
        deadline = monotonic() + seconds
        num_bytes, complete = 0, False

        async def limited() -> Message:
            nonlocal num_bytes, complete
            if complete:
                return await receive()
            message = await _receive_before(deadline, receive, seconds)
            num_bytes += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if num_bytes > self._settings.payload_limit:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> RequestError:
        return RequestError(
            ErrorCode.BODY_TOO_LARGE,
            f"the body is too large (maximum {self._settings.payload_limit} bytes). Send several "
            "requests, or start the server with a larger --payload-limit",
        )


async def _receive_before(deadline: float, receive: Receive, seconds: float) -> Message:
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline - monotonic()):
            return await receive()
    message = f"the body was not complete within {seconds:g} s"
    raise RequestError(ErrorCode.BODY_TIMEOUT, message)
