"""Formats of the server's logs, plain or JSON; it can be imported without the extra `serve`.

Invariant: an exception is logged by its type and traceback only: its message might repeat what a
client sent.
"""

import json
import logging
import time
import traceback
from types import TracebackType

_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


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
