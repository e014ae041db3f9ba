"""The command line for tests: in this process, as a process, and on a terminal."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Sequence

import pytest

from isobatch.cli import main

ISOBATCH = [sys.executable, "-m", "isobatch"]

Completed = subprocess.CompletedProcess[bytes]


def run(
    *arguments: str,
    stdin: bytes = b"",
    stream: type[io.TextIOWrapper] = io.TextIOWrapper,
    **environment: str,
) -> Completed:
    """Run the command in this process, which has torch loaded: a process takes seconds for that."""
    out, err = io.BytesIO(), io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["isobatch", *arguments])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        patch.setattr(sys, "stdout", stream(out, "utf-8", write_through=True))
        patch.setattr(sys, "stderr", stream(err, "utf-8", write_through=True))
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


class TerminalStream(io.TextIOWrapper):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def run_at(columns: int, *arguments: str, stdin: bytes = b"", **environment: str) -> Completed:
    """Run the command in this process, with stdout and stderr on a terminal of that width."""
    shown = {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color"}
    return run(*arguments, stdin=stdin, stream=TerminalStream, **shown, **environment)


def run_process(*arguments: str, stdin: bytes = b"") -> Completed:
    """Run the command as a process with pipes."""
    return subprocess.run([*ISOBATCH, *arguments], input=stdin, capture_output=True, check=False)


def run_on_terminal(*arguments: str, command: Sequence[str] = ISOBATCH, columns: int = 120) -> str:
    """Run the command with stdin, stdout and stderr on a terminal."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [*command, *arguments], stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # Linux ends a pseudo-terminal's stream so
        pass
    os.close(leader)
    process.wait()
    return shown.decode()
