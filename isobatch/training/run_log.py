"""The log of a run, log.jsonl: one line of JSON for each event, written as they come.

Invariant: the lines are the events of the run as if it had never been stopped. A run that resumes
takes steps again whose lines were written after the last saved state: those lines are removed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from isobatch.jobs.durable import write_atomically, write_errors
from isobatch.training.steps.events import Event, event_fields, plain_json

LOG_NAME = "log.jsonl"


class RunLog:
    """A log that events are appended to; use it as a context, and as a callback for events."""

    def __init__(self, path: Path, events: Sequence[Mapping[str, Any]] = ()) -> None:
        """Begin the log with the events of the saved state, and replace what is in the file.

        JobError if it cannot be written.
        """
        self.path = path
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, b"".join(_line(event) for event in events))
        with write_errors(path):
            self._file = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with write_errors(self.path):
            self._file.close()

    def __call__(self, event: Event) -> None:
        """Append an event, for readers such as `tail -f` at once. JobError on a full disk."""
        with write_errors(self.path):
            self._file.write(_line(event_fields(event)))
            self._file.flush()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the events of a log; an incomplete last line, which is being written, is left out."""
    content = path.read_bytes()
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def _line(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(plain_json(fields), ensure_ascii=False).encode() + b"\n"
