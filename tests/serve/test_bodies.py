"""Bodies that do not match a route's schema, wrong methods and paths: all are refused."""

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest
from serve.served import JSON, client_of
from serve.served_kinds import write_reranker

from isobatch import Classifier

ROUTES = {
    "/predict": "inputs",
    "/rerank": "texts",
    "/v1/rerank": "documents",
    "/": "inputs",
    "/models/default": "inputs",
    "/v1/classify": "input",
    "/classify": "input",
}
SOUND = b'{"inputs": "a"}'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """With a single label, so that it has every route for labels and ranks."""
    classifier = Classifier.from_pretrained(write_reranker(tmp_path_factory.mktemp("tiny")))
    with client_of(classifier) as client:
        yield client


def refused(answer: httpx.Response, status: int, error_type: str = "Validation") -> str:
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error", "error_type"}
    assert answer.json()["error_type"] == error_type
    message: str = answer.json()["error"]
    return message


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"inputs": "a"} x',
        b"\xff\xfe\x00",
        b'{"inputs": "\xff"}',
        b'\xef\xbb\xbf{"inputs": a}',
        b"[" * 100_000,
        b'{"inputs":' * 1000 + b"1" + b"}" * 1000,
        b'{"inputs": NaN}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_does_not_match_the_schema_is_422(
    client: httpx.Client, path: str, body: bytes
) -> None:
    refused(client.post(path, content=body, headers=JSON), 422)


@pytest.mark.parametrize(
    "inputs",
    [
        None,
        3,
        True,
        1.5,
        {},
        {"text": "a"},
        {"text": "a", "text_pair": 1},
        {"text": "a", "text_pair": "b", "more": "c"},
        [3],
        [None],
        [[]],
        [["a", "b", "c"]],
        [["a", 1]],
        [[["a"]]],
        ["a", {"text": "a"}],
    ],
    ids=json.dumps,
)
def test_inputs_of_a_wrong_type_are_422_and_the_place_is_named(
    client: httpx.Client, inputs: object
) -> None:
    for path in ("/predict", "/"):
        message = refused(client.post(path, json={"inputs": inputs}), 422)
        assert message.startswith("inputs")
        assert ": expected a text" in message
        if isinstance(inputs, list):
            assert message.startswith(f"inputs[{len(inputs) - 1}]: expected a text")


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/predict", "truncate", "yes"),
        ("/predict", "raw_scores", 1),
        ("/predict", "truncation_direction", "left"),
        ("/predict", "normalize", True),
        ("/predict", "input", "a"),
        ("/", "parameters", {"top_k": 0}),
        ("/", "parameters", {"top_k": "1"}),
        ("/", "parameters", {"function_to_apply": "tanh"}),
        ("/", "parameters", {"max_length": 8}),
        ("/", "options", {"unheard_of": 1}),
        ("/v1/classify", "truncate_prompt_tokens", 5),
        ("/v1/classify", "softmax", True),
        ("/v1/classify", "request_id", "x" * 200),
        ("/v1/classify", "request_id", "\ud800"),
        ("/v1/classify", "priority", "high"),
    ],
)
def test_an_unknown_or_coercible_field_is_422_and_named(
    client: httpx.Client, path: str, field: str, value: object
) -> None:
    body = json.dumps({ROUTES[path]: "a", field: value}).encode()
    message = refused(client.post(path, content=body, headers=JSON), 422)
    assert field in message


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_another_media_type_is_415(client: httpx.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    message = refused(client.post("/predict", content=SOUND, headers=headers), 415)
    assert "Content-Type: application/json" in message


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_the_media_type_is_case_insensitive(client: httpx.Client, kind: str) -> None:
    answer = client.post("/predict", content=SOUND, headers={"content-type": kind})
    assert answer.status_code == 200


def test_a_compressed_body_is_415(client: httpx.Client) -> None:
    headers = JSON | {"content-encoding": "gzip"}
    message = refused(client.post("/predict", content=gzip.compress(SOUND), headers=headers), 415)
    assert "gzip" in message


def test_an_unknown_path_is_404(client: httpx.Client) -> None:
    for path in ("/nowhere", "/predict/", "/models/other/default", "/../etc/passwd", "/%00"):
        answer = client.post(path, json={"inputs": "a"})
        refused(answer, 404, "NotFound")
    refused(client.get("/docs/../../errors.py"), 404, "NotFound")


def test_an_unsupported_method_is_405_and_names_the_supported_ones(client: httpx.Client) -> None:
    for method, path, allowed in (
        ("GET", "/predict", "POST"),
        ("OPTIONS", "/predict", "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("PUT", "/", "GET, HEAD, POST"),
        ("GET", "/models/a/b", "POST"),
    ):
        answer = client.request(method, path)
        message = refused(answer, 405, "MethodNotAllowed")
        assert answer.headers["allow"] == allowed
        assert message.endswith(f"Use {allowed}")
    assert client.head("/predict").status_code == 405
    nested = client.get("/v1/embeddings").json()["error"]
    assert (nested["type"], nested["code"]) == ("MethodNotAllowed", 405)


def test_head_is_get_without_the_body(client: httpx.Client) -> None:
    paths = ("/", "/health", "/info", "/metrics", "/v1/models", "/docs", "/openapi.json")
    for path in paths:
        head, get = client.head(path), client.get(path)
        assert head.status_code == get.status_code
        assert head.content == b""
        if path != "/metrics":  # its numbers change
            assert head.headers.items() - get.headers.items() <= {("date", head.headers["date"])}


def test_get_of_the_root_redirects_to_the_documentation(client: httpx.Client) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "docs")


def test_at_most_three_reasons_are_given(client: httpx.Client) -> None:
    body = {"inputs": "a", **{f"unknown{n}": 1 for n in range(10)}}
    message = refused(client.post("/predict", json=body), 422)
    assert message.count("unknown field") == 3
    assert "; and 7 more; /predict takes inputs, " in message
