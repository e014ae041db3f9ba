"""The table of errors in docs/serving.md: each row that a client can cause is caused."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from serve.served import JSON, client_of, connected, write_tiny
from serve.test_bodies import refused

from isobatch import Classifier
from isobatch.serve.settings import Settings

DOCUMENT = Path(__file__).parent.parent.parent / "docs/serving.md"
ROWS = re.findall(
    r"^\| (\d{3}) \| `(\w+)` \| (.*?) \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.M
)
KEY = {"authorization": "Bearer k"}

Cause = Callable[[httpx.Client], httpx.Response]

CAUSES: dict[str, list[Cause]] = {
    "the request contains no text": [lambda c: c.post("/predict", json={"inputs": []})],
    "missing or wrong API key": [
        lambda c: c.get("/info", headers={"authorization": ""}),
        lambda c: c.get("/info", headers={"authorization": "Bearer other"}),
        lambda c: c.get("/info", headers={"authorization": "", "x-api-key": "k"}),
    ],
    "unknown path, or the requested model": [
        lambda c: c.get("/nowhere"),
        lambda c: c.post("/v1/classify", json={"input": "a", "model": "other"}),
    ],
    "the path does not support the method": [lambda c: c.get("/predict")],
    "the body is too large": [
        lambda c: c.post("/predict", json={"inputs": "a" * 5000}),
        lambda c: c.post("/predict", content=iter([b"a" * 5000]), headers=JSON),
    ],
    "not `Content-Type: application/json`": [
        lambda c: c.post("/predict", data={"inputs": "a"}),
        lambda c: c.post("/predict", content=b"{}"),
        lambda c: c.post("/predict", content=b"{}", headers=JSON | {"content-encoding": "gzip"}),
        lambda c: c.post(
            "/", content=b"{}", headers={"content-type": "application/json;charset=x"}
        ),
    ],
    "not JSON": [
        lambda c: c.post("/predict", content=b"{", headers=JSON),
        lambda c: c.post("/predict", json={"inputs": 1}),
        lambda c: c.post("/predict", json={"inputs": "a", "foo": 1}),
        lambda c: c.post("/", content=b'{"inputs": "a", "inputs": "b"}', headers=JSON),
    ],
    "too many texts": [lambda c: c.post("/predict", json={"inputs": ["a"] * 3})],
    "a text is too long": [lambda c: c.post("/predict", json={"inputs": "day " * 100})],
    "a text is not valid Unicode": [
        lambda c: c.post("/predict", content=b'{"inputs": "\\ud800"}', headers=JSON)
    ],
    "the route does not fit the model": [
        lambda c: c.post("/rerank", json={"query": "a", "texts": ["b"]}),
        lambda c: c.post("/embed", json={"inputs": "a"}),
    ],
}
ELSEWHERE = {"408", "429", "499", "500", "503"}
"""Caused by time, load and faults: tests/serve/test_limits.py and test_client_disconnects.py."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = write_tiny(tmp_path_factory.mktemp("tiny"))
    settings = Settings(api_key="k", payload_limit=3000, max_client_batch_size=2)
    with client_of(Classifier.from_pretrained(folder, truncation="error"), settings) as client:
        client.headers.update(KEY)
        yield client


@pytest.mark.parametrize(
    ("status", "kind", "when"),
    [row for row in ROWS if row[0] not in ELSEWHERE],
    ids=lambda value: value[:30],
)
def test_each_row_is_what_the_server_does(
    client: httpx.Client, status: str, kind: str, when: str
) -> None:
    (causes,) = [causes for text, causes in CAUSES.items() if when.startswith(text)]
    for cause in causes:
        refused(cause(client), int(status), kind)
    assert client.post("/predict", json={"inputs": "a"}).status_code == 200


def test_every_cause_has_a_row() -> None:
    for text in CAUSES:
        assert [when for _, _, when in ROWS if when.startswith(text)], text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_the_key_is_case_insensitive(client: httpx.Client, scheme: str) -> None:
    assert client.get("/info", headers={"authorization": f"{scheme} k"}).status_code == 200


def test_an_id_is_repeated_also_with_an_error(client: httpx.Client) -> None:
    for method, path in (("GET", "/health"), ("GET", "/nowhere"), ("POST", "/predict")):
        answer = client.request(method, path, headers={"x-request-id": "a-1"})
        assert answer.headers["x-request-id"] == "a-1"
    for invalid in ("a b", "é".encode(), "a" * 129, ""):
        answer = client.get("/health", headers={"x-request-id": invalid})
        assert "x-request-id" not in answer.headers


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        ("POST /predict HTTP/1.0\r\n", b"HTTP/1.1 200"),
        ("POST /predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n", b"HTTP/1.1 100"),
        ("POST /predict HTTP/1.1\r\nhost: x\r\nx-ünicode: é😀\r\n", b"HTTP/1.1 "),
        ("POST http://x/predict HTTP/1.1\r\nhost: x\r\n", b"HTTP/1.1 200"),
    ],
    ids=["1.0", "100-continue", "unicode", "absolute"],
)
def test_unusual_requests_get_an_answer(client: httpx.Client, head: str, answer: bytes) -> None:
    body = b'{"inputs": "a"}'
    more = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    with connected(str(client.base_url).rstrip("/")) as raw:
        raw.sendall(f"{head}{more}authorization: Bearer k\r\n\r\n".encode() + body)
        assert raw.recv(4096).startswith(answer)


def test_a_connection_goes_on_after_refusals(client: httpx.Client) -> None:
    for body in ({"inputs": 1}, {"inputs": []}, {"inputs": "a" * 5000}):
        assert client.post("/predict", json=body).is_client_error
        assert client.post("/predict", json={"inputs": "a"}).status_code == 200
