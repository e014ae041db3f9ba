"""AccessLogMiddleware: one log line per request, without texts and keys.

Invariant: a request is logged by method, path, status, time and client only.
"""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

access_logger = logging.getLogger("isobatch.access")


class AccessLogMiddleware:
    """Log a line for each request when it has ended."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and log its status and time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def keep_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, keep_status)
        finally:
            _log_request(scope, status, time.perf_counter() - started)


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    """Log the path as it was sent, encoded: decoded, it could contain line breaks."""
    path = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
    client = scope.get("client")
    fields = {
        "client": f"{client[0]}:{client[1]}" if client else "-",
        "method": scope["method"],
        "path": path.partition("?")[0],
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
    }
    access_logger.info(
        "%(client)s %(method)s %(path)s %(status)d %(milliseconds).1f ms",
        fields,
        extra={"fields": fields},
    )
