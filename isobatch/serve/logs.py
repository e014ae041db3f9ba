"""Logs of the server: one line per request, plain or JSON, without texts and keys.

Invariant: a request is logged by method, path, status, time and client only, an error by its type
and traceback only: its message might repeat what a client sent.
"""

import json
import logging
import time
import traceback
from types import TracebackType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

access_logger = logging.getLogger("isobatch.access")

_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


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


class PlainLines(logging.Formatter):
    """Plain lines, with the time in UTC."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """Format the traceback and the error's type, without its message."""
        return "\n".join(_trace(ei))


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format `time`, `level`, `message`, a request's fields and an error's `trace`."""
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": record.getMessage().rstrip(),
        }
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["trace"] = _trace(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _trace(error: _ExcInfo) -> list[str]:
    kind, _, where = error
    frames = [f"{f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(where)]
    return [*frames, kind.__name__ if kind else "no error"]


def configure_logging(*, as_json: bool) -> None:
    """Send the server's and uvicorn's logs to stderr only, in one format."""
    output = logging.StreamHandler()
    output.setFormatter(JsonLines() if as_json else PlainLines())
    for name in ("isobatch", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [output]
        logger.setLevel(logging.INFO)
        logger.propagate = False
