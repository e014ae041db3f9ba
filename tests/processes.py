"""Processes that tests start, and that none leaves behind."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def started_process(command: Sequence[object], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """A process with pipes for stdout and stderr; killed if it is still running at the end.

    A process that a failed test leaves behind fails the test during which Python finds it.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([str(part) for part in command], **{**pipes, **options}) as process:
        try:
            yield process
        finally:
            process.kill()
