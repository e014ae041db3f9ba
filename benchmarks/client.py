"""The driver's end of a worker: start it, ask it, know why it died.

It knows the wire and nothing of what is asked. Invariant: one request is under way at a time, and
what a library prints never reaches the wire.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.errors import BenchError
from benchmarks.schema import Idle

_LOG_LINES = 15


class WorkerProcess:
    """One engine's process; what its libraries print goes to the log file."""

    def __init__(self, name: str, log: Path) -> None:
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
                # All checkpoints are folders: nothing is to be asked of a hub.
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
            )

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send one request and wait for its answer; BenchError carries the worker's own words."""
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
            raise BenchError(f"{self.name}: its process ended during {do!r}\n{self._log_tail()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{self.name}: {do!r} failed\n{answer['error']}")
        self.idle_seconds += answer["idle"]["seconds"]
        self.idle_cpu_seconds += answer["idle"]["cpu_seconds"]
        return answer

    def idle(self) -> Idle:
        """Time waited so far for requests, and the processor time spent in it."""
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
        self._process.communicate()  # closes its input, which ends it
