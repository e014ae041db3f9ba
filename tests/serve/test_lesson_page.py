"""The live page over HTTP: its policy, its endpoint, its refusals."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from isobatch import Classifier
from isobatch.lesson import SENTENCES
from isobatch.serve.app import create_app
from isobatch.serve.lesson import ENDPOINT, lesson_router


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    classifier = Classifier.from_pretrained()
    with TestClient(create_app(classifier, page=lesson_router(classifier.folder))) as client:
        yield client


def test_the_page_asks_its_own_origin_and_nobody_else(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert f'"{ENDPOINT}"' in page.text


def test_its_endpoint_computes_a_lesson(client: TestClient) -> None:
    body = {"sentences": list(SENTENCES), "company": False}
    lesson = client.post(ENDPOINT, json=body)
    assert lesson.status_code == 200
    shown = lesson.json()["sentences"]
    assert len(shown) == len(SENTENCES)
    assert lesson.json()["company"] is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[1", b"[]", b"{}", b'{"sentences": ["one"]}', b'{"sentences": "two"}', b"\xff"],
)
def test_a_bad_request_says_why(body: bytes, client: TestClient) -> None:
    refused = client.post(ENDPOINT, content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 422
    assert set(refused.json()) == {"error", "error_type"}


def test_the_inference_dialect_still_has_its_route(client: TestClient) -> None:
    answer = client.post("/", json={"inputs": SENTENCES[0]})
    assert answer.status_code == 200
    assert answer.json()[0][0]["label"] == "POSITIVE"


def test_without_a_page_there_is_none() -> None:
    with TestClient(create_app(Classifier.from_pretrained())) as client:
        assert client.get("/").status_code == 405
        assert client.post(ENDPOINT, json={}).status_code == 404
