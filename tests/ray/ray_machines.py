"""Shared by the tests of Ray: a cluster, a small model, shards, and a look at /proc.

A process belongs to a run if it inherited the run's mark in its environment: Ray renames its
workers, and the machine may run other Rays.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import started_process
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

from isobatch.cli import main

MARK = "ISOBATCH_TEST_RUN"
SECONDS = 300.0
"""How long anything here may take at the most, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running head with two CPUs, and the environment that may join it."""

    address: str
    environment: Mapping[str, str]


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Started by `ray start`, as people do; ends with the context."""
    token = uuid.uuid4().hex
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, MARK: token}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not pytest's folder: the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "start.log"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += [f"--port={port}", "--num-cpus=2", f"--temp-dir={folder}"]
        command += ["--include-dashboard=false", "--disable-usage-stats"]
        with log.open("wb") as file:
            head = subprocess.Popen(
                command, stdout=file, stderr=file, env=environment, start_new_session=True
            )
        try:
            wait_for(lambda: b"Ray runtime started" in log.read_bytes())
            yield Cluster(f"127.0.0.1:{port}", environment)
            assert head.poll() is None, "a run has taken the cluster down"
        finally:
            for process in processes_of(environment):
                kill(process)
            head.wait()


def write_model(folder: Path) -> Path:
    """A model that predicts in no time."""
    return write_wordpiece_folder(write_checkpoint(folder, Tiny("bert")))


def write_csv(path: Path, num_rows: int, start: int = 0) -> Path:
    """Rows of different texts, some of which CSV must quote."""
    lines = (
        f'{start + row},"a nice film, {start + row} of ""tomorrow"" {"day " * (row % 7)}"\r\n'
        for row in range(num_rows)
    )
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(("id,text\r\n" + "".join(lines)).encode())
    return path


def started(
    *arguments: object, environment: Mapping[str, str], command: str = "run"
) -> AbstractContextManager[subprocess.Popen[str]]:
    """`isobatch run`, or another command, with these arguments; it ends with the context."""
    whole = [sys.executable, "-m", "isobatch", command, *arguments, "--threads", "1"]
    return started_process(whole, text=True, env=environment)


def run_here(*arguments: object, command: str = "run") -> int:
    """The same without Ray, in this process, which has torch loaded; its exit code."""
    given = ["isobatch", command, *map(str, arguments), "--threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def run(
    *arguments: object, environment: Mapping[str, str], command: str = "run"
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    with started(*arguments, environment=environment, command=command) as process:
        return ended(process)


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for its end; its output."""
    stdout, stderr = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def processes_of(environment: Mapping[str, str]) -> dict[int, str]:
    """Numbers and titles of the processes that live and have the mark of `environment`."""
    mark = f"{MARK}={environment[MARK]}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = title
        except OSError:  # gone meanwhile, or not ours
            continue
    return found


def assert_all_end(environment: Mapping[str, str], seconds: float, but: Sequence[str] = ()) -> None:
    """Give the processes of a run some seconds to end; all `but` those with such titles."""

    def others() -> list[str]:
        return [title for title in processes_of(environment).values() if not title.startswith(but)]

    but = tuple(but)
    with suppress(AssertionError):
        wait_for(lambda: not others(), seconds)
    left = others()
    assert not left, f"still there: {left}"


def workers_of(outputs: Sequence[Path]) -> list[int]:
    """Numbers of the processes that have the lock of one of the outputs open."""
    locks = {str(output.parent / ".isobatch" / output.name / "lock") for output in outputs}
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and locks & open_files(folder / "fd")
    ]


def open_files(descriptors: Path) -> set[str]:
    """Paths of the files that a process has open; none if it is gone meanwhile, or not ours."""
    found = set()
    with suppress(OSError):
        for descriptor in descriptors.iterdir():
            with suppress(OSError):  # this one is closed meanwhile, others are still open
                found.add(str(descriptor.readlink()))
    return found


def num_lines_kept(output: Path) -> int:
    ledger = output.parent / ".isobatch" / output.name / "chunks.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def contents(folder: Path) -> dict[str, bytes]:
    """The outputs of a folder, without what is kept about the work."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
