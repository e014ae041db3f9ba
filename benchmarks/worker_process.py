"""A worker process as the driver sees it: start, request, error report.

Invariant: one request is in flight at a time, and a library's output never mixes with replies.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import BenchmarkError, UnsupportedError
from benchmarks.schema import Idle

_LOG_LINES = 15


class WorkerProcess:
    """The process of one engine; its libraries' output goes to the log file."""

    def __init__(self, name: str, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.idle_seconds = 0.0
        self.idle_cpu_seconds = 0.0
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                encoding="utf-8",
                cwd=Path(__file__).parent.parent,
                # All checkpoints are local folders.
                env=os.environ | {"HF_HUB_OFFLINE": "1"} | dict(environment or {}),
            )

    def request(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for the reply; BenchmarkError has the worker's own message.

        Raises UnsupportedError where the engine does not support its precision on this machine.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"do": do, **fields}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchmarkError(f"{self.name}: the process died during {do!r}\n{self._log_tail()}")
        reply: dict[str, Any] = json.loads(line)
        if "unsupported" in reply:
            raise UnsupportedError(reply["unsupported"])
        if "error" in reply:
            raise BenchmarkError(f"{self.name}: {do!r} failed\n{reply['error']}")
        self.idle_seconds += reply["idle"]["seconds"]
        self.idle_cpu_seconds += reply["idle"]["cpu_seconds"]
        return reply

    def idle(self) -> Idle:
        """Return the time waited for requests so far, and the processor time used meanwhile."""
        return {"seconds": self.idle_seconds, "cpu_seconds": self.idle_cpu_seconds}

    def _log_tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()  # closes stdin, which ends it
