"""The live page over HTTP: its policy, endpoint and errors."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serve.served import running
from starlette.testclient import TestClient
from tiny_checkpoints import FAMILIES, Tiny, TinyFolder
from training.whole_checkpoints import write_whole

from isobatch import Classifier
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.lesson import SENTENCES
from isobatch.page import LessonPage
from isobatch.serve.app import create_app
from isobatch.serve.json_body import parse_json
from isobatch.serve.live_page import ENDPOINT
from isobatch.serve.settings import Settings


@pytest.fixture(scope="module")
def client(bundled_classifier: Callable[[str], Classifier]) -> Iterator[TestClient]:
    classifier = bundled_classifier("fp32")
    with TestClient(create_app(classifier, Settings(page=True))) as client:
        yield client


def test_the_page_connects_to_its_own_origin_only(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert f'"{ENDPOINT}"' in page.text


def test_its_endpoint_computes_a_lesson(client: TestClient) -> None:
    body = {"sentences": list(SENTENCES), "random_batches": False}
    lesson = client.post(ENDPOINT, json=body)
    assert lesson.status_code == 200
    shown = lesson.json()["sentences"]
    assert len(shown) == len(SENTENCES)
    assert lesson.json()["random_batches"] is None


def test_its_endpoint_computes_the_cost(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobatch.lesson.mask_cost.sample_texts", lambda: SENTENCES)
    answer = client.post(ENDPOINT, json={"cost": True})
    assert answer.status_code == 200
    assert answer.json()["cost"]["forgotten"]["num_moved"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1",
        b"[]",
        b"{}",
        b'{"sentences": ["one"]}',
        b'{"sentences": "two"}',
        b'{"cost": 1}',
        b"\xff",
    ],
)
def test_a_bad_request_says_why(body: bytes, client: TestClient) -> None:
    refused = client.post(ENDPOINT, content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 422
    assert set(refused.json()) == {"error", "error_type"}


def test_the_inference_route_still_works(client: TestClient) -> None:
    answer = client.post("/", json={"inputs": SENTENCES[0]})
    assert answer.status_code == 200
    assert answer.json()[0][0]["label"] == "POSITIVE"


def test_there_is_no_page_by_default(bundled_classifier: Callable[[str], Classifier]) -> None:
    app = create_app(bundled_classifier("fp32"))
    with TestClient(app, follow_redirects=False) as client:
        assert client.get("/").status_code == 307
        assert client.post(ENDPOINT, json={}).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"), [(b"[1]", 422), (b"[", 422), (b'["' + b"a" * 99 + b'"]', 413)]
)
def test_a_body_without_its_length_is_limited_too(
    body: bytes, status: int, bundled_classifier: Callable[[str], Classifier]
) -> None:
    settings = Settings(page=True, payload_limit=60)
    with (
        running(create_app(bundled_classifier("fp32"), settings)) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        headers = {"content-type": "application/json"}
        answer = client.post(ENDPOINT, content=iter([body]), headers=headers)
    assert answer.status_code == status
    assert answer.json().keys() == {"error", "error_type"}


def test_another_site_s_page_cannot_have_a_lesson_computed(client: TestClient) -> None:
    refused = client.post(ENDPOINT, content=b"{}", headers={"content-type": "text/plain"})
    assert refused.status_code == 415
    assert refused.json()["error_type"] == "Validation"


def test_a_client_that_disconnects_in_the_queue_has_no_lesson_computed(
    monkeypatch: pytest.MonkeyPatch, bundled_classifier: Callable[[str], Classifier]
) -> None:
    entered, queued, gate = threading.Event(), threading.Event(), threading.Event()
    computed: list[object] = []

    def answer(lesson: LessonPage, body: object) -> dict[str, object]:
        entered.set()
        assert gate.wait(20)
        computed.append(body)
        return {}

    def parse(body: bytes, example: str) -> object:
        """Parse as the server does; it enters the queue in the same step of its event loop."""
        parsed = parse_json(body, example)
        if parsed == "leaving":
            queued.set()
        return parsed

    async def leave(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            asking = asyncio.create_task(client.post(ENDPOINT, json="leaving"))
            assert await asyncio.to_thread(queued.wait, 20)
            asking.cancel()

    monkeypatch.setattr(LessonPage, "answer", answer)
    monkeypatch.setattr("isobatch.serve.live_page.parse_json", parse)
    app = create_app(bundled_classifier("fp32"), Settings(page=True))
    with (
        running(app) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(client.post, ENDPOINT, json="first")
        assert entered.wait(20)
        asyncio.run(leave(url))
        staying = pool.submit(client.post, ENDPOINT, json="staying")
        gate.set()
        assert first.result().status_code == staying.result().status_code == 200
        assert 'te_request_failure{err="dropped"} 1' in client.get("/metrics").text
    assert computed == ["first", "staying"]


def test_an_unexpected_error_is_logged_and_counted(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bundled_classifier: Callable[[str], Classifier],
) -> None:
    def fail(folder: Path) -> LessonPage:
        raise CheckpointError("a secret of the server")

    monkeypatch.setattr(LessonPage, "from_pretrained", fail)
    app = create_app(bundled_classifier("fp32"), Settings(page=True))
    with TestClient(app) as client:
        refused = client.post(ENDPOINT, json={"sentences": list(SENTENCES)})
        assert 'te_request_failure{err="inference"} 1' in client.get("/metrics").text
    assert refused.status_code == 500
    assert refused.json() == {
        "error": "internal server error; see the server's log",
        "error_type": "Backend",
    }
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [CheckpointError]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_model_that_the_lesson_cannot_show_is_refused_at_the_start(
    model_type: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder = write_whole(tmp_path / "model", Tiny(model_type), tiny_folder)
    classifier = Classifier.from_pretrained(folder)
    try:
        LessonPage.from_pretrained(folder)
    except UnsupportedModelError as error:
        with pytest.raises(UnsupportedModelError, match=re.escape(str(error))):
            create_app(classifier, Settings(page=True))
    else:
        create_app(classifier, Settings(page=True))
