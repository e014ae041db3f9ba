"""`isobatch serve` with standard streams that are closed or full, and stopped while it loads."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from processes import started_process
from serve.served import write_tiny

REOPENED = find_spec("isobatch.cli.standard_streams") is not None
"""Whether the command line opens closed streams, so that no socket takes their numbers."""

SERVE = [sys.executable, "-m", "isobatch", "serve"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@contextmanager
def started(redirections: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process, started by a shell with `redirections`, once it is healthy; and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shell = ["bash", "-c", f'exec "$@" {redirections}', "bash"]
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    with started_process([*shell, *SERVE, *arguments, "--port", str(port)]) as process:
        while not _healthy(url):
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process, url


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_stdout_is_a_warning_in_the_log(folder: Path) -> None:
    with started(">/dev/full", str(folder), "--json-output") as (process, url):
        assert httpx.post(f"{url}/predict", json={"inputs": "a"}, trust_env=False).is_success
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    entries = [json.loads(line) for line in log.splitlines()]
    (warning,) = [each for each in entries if each["level"] == "WARNING"]
    assert warning["message"].startswith("stdout cannot be written (")
    assert "No space left on device" in warning["message"]
    assert warning["message"].endswith(url)


@pytest.mark.parametrize(
    "redirections",
    [
        pytest.param("<&- >&- 2>&-", marks=pytest.mark.skipif(not REOPENED, reason="not reopened")),
        "2>/dev/full",
    ],
)
def test_the_server_needs_no_standard_streams(folder: Path, redirections: str) -> None:
    with started(redirections, str(folder)) as (process, url):
        for _ in range(3):
            answer = httpx.post(f"{url}/predict", json={"inputs": "a"}, trust_env=False)
            assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


LOADING = """
import sys, time
from isobatch.cli import main
from isobatch.tasks import Classifier

def load(*_, **__):
    print("loading", flush=True)
    for _ in range(600):  # Python sees a signal between two calls, not if it came before a long one
        time.sleep(0.1)

Classifier.from_pretrained = load
sys.argv = ["isobatch", "serve", "--port", "0", "--json-output"]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_the_model_is_loaded_ends_the_process(number: signal.Signals) -> None:
    """By a handler, since a container's first process has no default action for SIGTERM."""
    with started_process([sys.executable, "-c", LOADING]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(number)
        output, log = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert output == b""
    assert json.loads(log)["message"] == (f"stopped by {number.name} before the server was ready")
