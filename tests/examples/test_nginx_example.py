"""The client of the server, alone and behind nginx: the same bytes, and a server may stop."""

import re
import runpy
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.served import running

from isobatch import Classifier
from isobatch.serve.app import create_app

FOLDER = Path(__file__).parent.parent.parent / "examples/behind_nginx"
CLIENT = runpy.run_path(str(FOLDER / "client.py"))
TEXTS = ["A fine film.", "A dull one.", "Not bad at all."]
LINES = [f"{text}\n" for text in TEXTS]

needs_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")


@pytest.fixture(scope="module")
def classifier(bundled_classifier: Callable[[str], Classifier]) -> Classifier:
    return bundled_classifier("fp32")


@pytest.fixture(scope="module")
def url(classifier: Classifier) -> Iterator[str]:
    with running(create_app(classifier)) as url:
        yield url


def test_the_client_prints_the_labels_of_the_server(
    url: str, classifier: Classifier, capsys: pytest.CaptureFixture[str]
) -> None:
    CLIENT["main"](url, LINES * 12)  # 36 texts: two requests
    expected = [f"{each.label}\t{each.score:.4f}" for each in classifier(TEXTS)] * 12
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("\t")[0] for line in lines] == expected
    assert [line.rpartition("\t")[2] for line in lines] == TEXTS * 12


def test_the_client_shows_what_the_server_refuses(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with httpx.Client(base_url=url) as client, pytest.raises(httpx.HTTPStatusError):
        CLIENT["post"](client, "/predict", {"inputs": ["a"], "top": 1})
    assert "unknown field 'top'" in capsys.readouterr().err


def test_the_client_tries_again_while_servers_are_overloaded_and_not_for_ever() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) < 3:
            return httpx.Response(429, headers={"retry-after": "0"}, json={"error": "busy"})
        return httpx.Response(200, json=[])

    with httpx.Client(base_url="http://here", transport=httpx.MockTransport(answer)) as client:
        assert CLIENT["post"](client, "/predict", {"inputs": ["a"]}) == []
        assert len(asked) == 3
        asked.clear()
        with pytest.raises(httpx.HTTPStatusError):
            CLIENT["post"](client, "/predict", {"inputs": ["a"]}, tries=2)
        assert len(asked) == 2
    nothing_listens = f"http://127.0.0.1:{free_port()}"
    with httpx.Client(base_url=nothing_listens) as client, pytest.raises(TimeoutError):
        CLIENT["wait_until_healthy"](client, seconds=0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def nginx(folder: Path, *servers: str) -> Iterator[str]:
    """Run nginx with the example's configuration, and other ports; yields its URL."""
    configuration = (FOLDER / "nginx.conf").read_text(encoding="utf-8")
    port = free_port()
    ports = {"8000": str(port)}
    for written, server in zip(("8080", "8081"), servers, strict=True):
        ports[written] = server.rpartition(":")[2]
    replaced = re.sub(
        r"127\.0\.0\.1:(\d+)", lambda match: f"127.0.0.1:{ports[match[1]]}", configuration
    )
    (folder / "nginx.conf").write_text(replaced)
    command = ["nginx", "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"]
    # As root, its workers are another user, who may not enter pytest's folders.
    command += ["-g", "user root;"] if Path(folder).owner() == "root" else []
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    try:
        with suppress(TimeoutError), httpx.Client(base_url=url) as client:
            CLIENT["wait_until_healthy"](client, seconds=20)
        assert process.poll() is None, process.communicate()[1].decode()
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=20)


@needs_nginx
def test_nginx_changes_no_byte_and_passes_on_errors_of_the_server(url: str, tmp_path: Path) -> None:
    with nginx(tmp_path, url, url) as proxy, httpx.Client(timeout=60) as client:
        body: dict[str, Any] = {"inputs": TEXTS, "raw_scores": True}
        direct = client.post(f"{url}/predict", json=body)
        proxied = client.post(f"{proxy}/predict", json=body)
        assert proxied.content == direct.content
        assert re.fullmatch("[0-9a-f]{32}", proxied.headers["x-request-id"])
        large = client.post(f"{proxy}/predict", json={"inputs": "a" * 1_500_000})
        assert large.status_code == 200, "nginx itself takes 1 MB at the most"
        refused = client.post(f"{proxy}/predict", json={"inputs": "a" * 3_000_000})
        # The server answers and closes before it has read all; nginx may see the closing first.
        assert refused.status_code in (413, 502)
        assert refused.status_code == 502 or refused.json()["error_type"] == "Validation"
        assert client.get(f"{proxy}/metrics").status_code == 404


@needs_nginx
def test_a_server_may_stop_and_no_request_is_lost(
    url: str, classifier: Classifier, tmp_path: Path
) -> None:
    with ExitStack() as proxies, running(create_app(classifier)) as other:
        proxy = proxies.enter_context(nginx(tmp_path, url, other))
        client = proxies.enter_context(httpx.Client(base_url=proxy))
        before = [answer_of(client) for _ in range(4)]
        stopping = proxies.pop_all()
    with stopping:  # `other` is stopped, and nginx still has its address
        after = [answer_of(client) for _ in range(4)]
    assert {*before, *after} == {before[0]}


def answer_of(client: httpx.Client) -> bytes:
    return client.post("/predict", json={"inputs": TEXTS}).raise_for_status().content
