"""`isobatch serve` as a process: its output, logs, signals and exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from jobs.small_jobs import command
from processes import started_process
from serve.served import connected, write_tiny

from isobatch import Classifier
from isobatch.cli.server_command import exiting_on_signals
from isobatch.serve.server import _GracefulServer

SERVE = [sys.executable, "-m", "isobatch", "serve"]
SLOW_STEPS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny-model")


@contextmanager
def started(
    *arguments: str | Path, command: Sequence[str] = SERVE, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its URL; killed if it is still running after the test."""
    with started_process([*command, *arguments], env=os.environ | environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if line.startswith("{"):
            line = json.loads(line)["message"]
        if not line.startswith("isobatch: serving "):
            process.kill()
            raise AssertionError(process.communicate()[1].decode())
        yield process, line.split()[-1]


def test_it_prints_model_precision_and_url_serves_and_exits_with_0(folder: Path) -> None:
    with started(folder, "--port", "0", "--json-output") as (process, url):
        answer = httpx.post(f"{url}/predict", json={"inputs": "a secret text", "raw_scores": True})
        httpx.post(f"{url}/predict?key=secret", json={"inputs": ["another secret"], "no": 1})
        httpx.get(f"{url}/a%0Ab", headers={"authorization": "Bearer secret"})
        info = httpx.get(f"{url}/info").json()
        process.send_signal(signal.SIGTERM)
        output, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output == b"", "stdout has one line only"
    assert info["model_id"] == "tiny-model"
    logits = Classifier.from_pretrained(folder)("a secret text").logits
    assert [each["score"] for each in answer.json()] == sorted(logits, reverse=True)
    entries = [json.loads(line) for line in log.splitlines()]
    requests = [(e["method"], e["path"], e["status"]) for e in entries if "path" in e]
    assert requests == [
        ("POST", "/predict", 200),
        ("POST", "/predict", 422),
        ("GET", "/a%0Ab", 404),
        ("GET", "/info", 200),
    ]
    assert all(e["milliseconds"] > 0 and e["client"] for e in entries if "path" in e)
    assert b"secret" not in log


def test_every_option_is_also_an_environment_variable(folder: Path) -> None:
    environment = {
        "ISOBATCH_MODEL": str(folder),
        "ISOBATCH_PORT": "0",
        "ISOBATCH_SERVED_MODEL_NAME": "org/name",
        "ISOBATCH_MAX_CLIENT_BATCH_SIZE": "2",
        "ISOBATCH_MAX_CONCURRENT_REQUESTS": "7",
        "ISOBATCH_PAYLOAD_LIMIT": "1000",
        "ISOBATCH_MAX_BATCH_TOKENS": "99",
        "ISOBATCH_TRUNCATION": "error",
        "ISOBATCH_API_KEY": "k",
        "ISOBATCH_ACCESS_LOG": "0",
    }
    with started(**environment) as (process, url):
        assert httpx.get(f"{url}/info").status_code == 401
        info = httpx.get(f"{url}/info", headers={"authorization": "Bearer k"}).json()
        assert httpx.get(f"{url}/health").status_code == 200
        process.send_signal(signal.SIGINT)
        log = process.communicate(timeout=20)[1].decode()
    assert process.returncode == 0
    assert info["model_id"] == "org/name"
    assert info["auto_truncate"] is False
    numbers = ("client_batch_size", "concurrent_requests", "batch_tokens")
    assert [info[f"max_{name}"] for name in numbers] == [2, 7, 99]
    assert info["payload_limit"] == 1000
    assert "/info" not in log


SLOW = f"""
import sys, time
from isobatch.cli import main
from isobatch.tasks import Classifier

outputs = Classifier._outputs

def slowly(self, encodings):
    for _ in range({SLOW_STEPS}):
        time.sleep(0.02)
    return outputs(self, encodings)

Classifier._outputs = slowly
sys.argv = ["isobatch", "serve", *sys.argv[1:]]
main()
"""


def test_sigterm_completes_accepted_requests_and_refuses_new_ones(folder: Path) -> None:
    request = b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n"
    with (
        started(folder, "--port", "0", command=[sys.executable, "-c", SLOW]) as (process, url),
        httpx.Client(base_url=url, timeout=30, trust_env=False) as client,
        ThreadPoolExecutor(8) as pool,
        connected(url) as kept,
    ):
        kept.sendall(request)
        assert _whole_answer(kept).startswith(b"HTTP/1.1 200")
        texts = [f"text {n}" for n in range(8)]
        taken = [pool.submit(client.post, "/predict", json={"inputs": t}) for t in texts]
        _until_counted(url, 8)
        process.send_signal(signal.SIGTERM)
        kept.sendall(request)
        late = _what_comes(kept)
        assert late == b"" or late.startswith(b"HTTP/1.1 503"), late
        answers = [each.result() for each in taken]
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/info", trust_env=False)
        process.communicate(timeout=20)
    assert process.returncode == 0
    classifier = Classifier.from_pretrained(folder)
    for text, answer in zip(texts, answers, strict=True):
        assert answer.status_code == 200
        assert answer.json()[0]["score"] == classifier(text).score


def _until_counted(url: str, number: int) -> None:
    deadline = time.monotonic() + 10
    counted = f'te_request_count{{method="single"}} {number}'
    while counted not in httpx.get(f"{url}/metrics", trust_env=False).text:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _whole_answer(connection: socket.socket) -> bytes:
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(4096)
    return answer


def _what_comes(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except ConnectionError:
        return b""


def test_a_second_signal_ends_at_once(folder: Path) -> None:
    slow = [sys.executable, "-c", SLOW.replace("0.02", "2")]
    with (
        started(folder, "--port", "0", command=slow) as (process, url),
        ThreadPoolExecutor(1) as pool,
    ):
        asking = pool.submit(httpx.post, f"{url}/predict", json={"inputs": "a"}, timeout=30)
        _until_counted(url, 1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 128 + signal.SIGTERM
        assert isinstance(asking.exception(), httpx.TransportError)


def test_an_incomplete_request_does_not_delay_shutdown(folder: Path) -> None:
    slow = [sys.executable, "-c", SLOW]
    options = (folder, "--port", "0", "--shutdown-seconds", "1")
    with started(*options, command=slow) as (process, url), connected(url) as half:
        half.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 99\r\n\r\n{"
        )
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        answer = b"".join(iter(lambda: half.recv(10_000), b""))
        assert process.wait(10) == 0
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert b'"error_type":"Unhealthy"' in answer.replace(b" ", b"")


def test_requests_that_still_wait_at_the_shutdown_timeout_get_503(folder: Path) -> None:
    """SLOW takes minutes for the first request, and is not awaited; the second is queued."""
    slow = [sys.executable, "-c", SLOW.replace("0.02", "5")]
    options = (folder, "--port", "0", "--shutdown-seconds", "1", "--json-output")
    with started(*options, command=slow) as (process, url), ThreadPoolExecutor(2) as pool:
        asking = [
            pool.submit(httpx.post, f"{url}/predict", json={"inputs": text}, timeout=30)
            for text in ("a", "b")
        ]
        _until_counted(url, 2)
        process.send_signal(signal.SIGHUP)
        answers = [each.result() for each in asking]
        log = process.communicate(timeout=20)[1]
        assert process.returncode == 0
    assert [each.status_code for each in answers] == [503, 503]
    assert {each.json()["error_type"] for each in answers} == {"Unhealthy"}
    assert not [entry for entry in map(json.loads, log.splitlines()) if "trace" in entry]


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """As under nohup, both while the model is loaded and after that."""
    server = _GracefulServer.__new__(_GracefulServer)
    for ignored in (True, False):
        own = signal.SIG_IGN if ignored else signal.SIG_DFL
        before = signal.signal(signal.SIGHUP, own)
        try:
            for handling in (exiting_on_signals, server.capture_signals):
                with handling():
                    assert (signal.getsignal(signal.SIGHUP) == own) == ignored
                assert signal.getsignal(signal.SIGHUP) == own
        finally:
            signal.signal(signal.SIGHUP, before)


class TestRefusals:
    """In this process: no server starts, and logging stays as configured for the tests."""

    @pytest.fixture(autouse=True)
    def own_logs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("isobatch.cli.serve.configure_logging", lambda *, as_json: None)

    def test_an_address_in_use_is_reported_before_the_model_is_loaded(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert command("serve", "/no/such/model", "--port", port) == 2
        assert f"cannot serve on 127.0.0.1, port {port}" in capfd.readouterr().err

    def test_a_missing_checkpoint_is_exit_code_4(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert command("serve", "/no/such/model", "--port", 0) == 4
        assert capfd.readouterr().out == ""

    def test_a_missing_library_is_named_with_its_fix(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delitem(sys.modules, "isobatch.serve.server", raising=False)
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        assert command("serve") == 2
        said = capfd.readouterr().err
        assert "'uvicorn' is not installed" in said
        assert 'pip install "isobatch[serve]"' in said


def test_help_loads_no_server() -> None:
    report = (
        "import sys; from isobatch.cli import app; print({'starlette', 'torch'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", report], capture_output=True, check=True)
    assert ran.stdout.strip() == b"set()"
