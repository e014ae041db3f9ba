"""Every limit, with its status code and body; keys, origins, and admission."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serve.served import JSON, HeldClassifier, client_of, connected, running, write_tiny

from isobatch import Classifier
from isobatch.errors import OptionError
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.types import Encoding

NICE = {"inputs": "Today is a nice day!"}
RIGHT = {"authorization": "Bearer sésame".encode()}
PREFLIGHT = {
    "origin": "https://a.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,authorization",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return Classifier.from_pretrained(folder)


@pytest.fixture
def held(folder: Path) -> Iterator[HeldClassifier]:
    classifier = HeldClassifier.from_pretrained(folder).hold("poison")
    yield classifier
    classifier.gate.set()


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and type of an error, whose body has just the two fields and no traceback."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error", "error_type"}
    assert "Traceback" not in body["error"]
    assert ".py" not in body["error"]
    return answer.status_code, body["error_type"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def count(client: httpx.Client, name: str, **labels: str) -> float:
    """The value of a metric; 0 if it was never counted."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


class TestNumberOfTexts:
    def test_the_maximum_is_accepted_and_one_more_is_refused(self, classifier: Classifier) -> None:
        with client_of(classifier, Settings(max_client_batch_size=3)) as client:
            assert len(client.post("/predict", json={"inputs": ["a"] * 3}).json()) == 3
            answer = client.post("/predict", json={"inputs": ["a"] * 4})
            assert count(client, "te_request_failure", err="batch_size") == 1
        assert refusal(answer) == (422, "Validation")
        assert "got 4, maximum 3" in answer.json()["error"]

    @pytest.mark.parametrize(
        ("path", "body"),
        [("/predict", {"inputs": []}), ("/", {"inputs": []}), ("/v1/classify", {"input": []})],
    )
    def test_an_empty_request_is_400(
        self, classifier: Classifier, path: str, body: dict[str, object]
    ) -> None:
        with client_of(classifier) as client:
            assert refusal(client.post(path, json=body)) == (400, "Empty")


class TestBodySize:
    settings = Settings(payload_limit=100)

    def test_a_declared_body_above_the_limit_is_refused_unread(
        self, classifier: Classifier
    ) -> None:
        with client_of(classifier, self.settings) as client:
            body = b'{"inputs": "' + b"a" * 86 + b'"}'
            assert client.post("/predict", content=body, headers=JSON).status_code == 200
            answer = client.post("/predict", content=body + b" ", headers=JSON)
            assert count(client, "te_request_failure", err="payload_size") == 1
        assert refusal(answer) == (413, "Validation")
        assert "100 bytes" in answer.json()["error"]

    def test_a_body_without_its_length_is_counted_as_it_arrives(
        self, classifier: Classifier
    ) -> None:
        with client_of(classifier, self.settings) as client:
            small = iter([b'{"inputs": ', b'"a"', b"}"])
            assert client.post("/predict", content=small, headers=JSON).status_code == 200
            large = iter([b'{"inputs": "', *[b"a" * 20] * 10, b'"}'])
            answer = client.post("/predict", content=large, headers=JSON)
        assert refusal(answer) == (413, "Validation")

    def test_a_body_that_never_ends_times_out(self, classifier: Classifier) -> None:
        head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        app = create_app(classifier, Settings(body_seconds=0.2))
        with running(app) as url, connected(url) as raw:
            raw.sendall(f'{head}content-length: 90\r\n\r\n{{"inputs"'.encode())
            answer = b"".join(iter(lambda: raw.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"error_type": "Timeout"' in answer


class TestConcurrency:
    def test_above_the_limit_requests_are_refused_at_once_and_status_routes_work(
        self, held: HeldClassifier
    ) -> None:
        settings = Settings(max_concurrent_requests=2)
        with client_of(held, settings) as client, ThreadPoolExecutor(2) as pool:
            taken = [pool.submit(client.post, "/predict", json=NICE) for _ in range(2)]
            until(lambda: held.entered.is_set() and count(client, "te_request_count") == 2)
            answer = client.post("/predict", content=b"never read", headers=JSON)
            assert refusal(answer) == (429, "Overloaded")
            assert answer.headers["retry-after"] == "1"
            assert client.get("/health").status_code == client.get("/info").status_code == 200
            assert count(client, "te_request_failure", err="overloaded") == 1
            held.gate.set()
            assert [each.result().status_code for each in taken] == [200, 200]
            assert client.post("/predict", json=NICE).status_code == 200

    def test_a_refused_request_no_longer_counts(self, classifier: Classifier) -> None:
        with client_of(classifier, Settings(max_concurrent_requests=1)) as client:
            for _ in range(3):
                assert client.post("/predict", json={}).status_code == 422
            assert client.post("/predict", json=NICE).status_code == 200


class TestKey:
    settings = Settings(api_key="sésame")

    @pytest.mark.parametrize(
        "given", [None, "", "sésame", "Basic sésame", "Bearer", "Bearer sésam", "Bearer sésame2"]
    )
    def test_without_the_key_nothing_is_read(
        self, classifier: Classifier, given: str | None
    ) -> None:
        headers = {} if given is None else {"authorization": given.encode()}
        with client_of(classifier, self.settings) as client:
            answer = client.post("/predict", content=b"?", headers=JSON | headers)
            assert refusal(answer) == (401, "Unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            for path in ("/info", "/v1/models", "/nowhere"):
                assert client.get(path, headers=headers).status_code == 401

    def test_with_the_key_every_route_works(self, classifier: Classifier) -> None:
        with client_of(classifier, self.settings) as client:
            assert client.post("/predict", json=NICE, headers=RIGHT).status_code == 200
            lower = {"authorization": "bearer sésame".encode()}
            assert client.get("/info", headers=lower).status_code == 200

    @pytest.mark.parametrize("closed", [False, True])
    def test_health_and_metrics_are_open_or_closed(
        self, classifier: Classifier, closed: bool
    ) -> None:
        settings = Settings(api_key="sésame", health_needs_key=closed)
        with client_of(classifier, settings) as client:
            for path in ("/health", "/metrics"):
                assert client.get(path).status_code == (401 if closed else 200)
                assert client.get(path, headers=RIGHT).status_code == 200
            assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200

    def test_repr_does_not_show_the_key(self) -> None:
        assert "sésame" not in repr(self.settings)


class TestOrigins:
    def test_no_origin_may_read_responses_by_default(self, classifier: Classifier) -> None:
        with client_of(classifier) as client:
            answer = client.post("/predict", json=NICE, headers=PREFLIGHT)
            assert answer.status_code == 200
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert client.options("/predict", headers=PREFLIGHT).status_code == 405

    def test_a_named_origin_may_and_its_preflight_needs_no_key(
        self, classifier: Classifier
    ) -> None:
        settings = Settings(cors_allow_origins=("https://a.example",), api_key="k")
        with client_of(classifier, settings) as client:
            asked = client.options("/predict", headers=PREFLIGHT)
            assert asked.status_code == 200
            assert asked.headers["access-control-allow-origin"] == "https://a.example"
            refused = client.post("/predict", json=NICE, headers=PREFLIGHT)
            assert refused.status_code == 401, "a page can read the error"
            assert refused.headers["access-control-allow-origin"] == "https://a.example"
            key = {"authorization": "Bearer k", "origin": "https://b.example"}
            other = client.post("/predict", json=NICE, headers=key)
            assert "access-control-allow-origin" not in other.headers

    def test_headers_of_a_client_library_pass_the_preflight(self, classifier: Classifier) -> None:
        asked = PREFLIGHT | {"access-control-request-headers": "content-type,x-stainless-arch"}
        with client_of(classifier, Settings(cors_allow_origins=("https://a.example",))) as client:
            answer = client.options("/predict", headers=asked)
        assert answer.status_code == 200
        assert "x-stainless-arch" in answer.headers["access-control-allow-headers"]


class TestFailuresAndDisconnects:
    def test_an_unexpected_error_has_the_headers_and_the_form_of_its_path(
        self, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise ValueError("a secret of the server")

        monkeypatch.setattr("isobatch.serve.api_route.parse_json", fail)
        settings = Settings(cors_allow_origins=("*",), root_path="/p")
        headers = {"origin": "https://a.example", "x-request-id": "n1"}
        with client_of(classifier, settings) as client:
            for path in ("/p/predict", "/predict"):
                answer = client.post(path, json=NICE, headers=headers)
                assert refusal(answer) == (500, "Backend")
                assert "secret" not in answer.text
                assert answer.headers["access-control-allow-origin"] == "*"
                assert answer.headers["x-request-id"] == "n1"

    def test_a_text_whose_client_has_left_is_not_tokenized(
        self, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate, entered, tokenized = threading.Event(), threading.Event(), list[str]()
        tokenize = classifier.tokenize

        def slow(texts: Any, **options: Any) -> Any:
            entered.set()
            assert gate.wait(20)
            tokenized.extend(text[:1] for text in texts)
            return tokenize(texts, **options)

        monkeypatch.setattr(classifier, "tokenize", slow)
        app = create_app(classifier)
        with running(app) as url, ThreadPoolExecutor(1) as pool:
            client = httpx.Client(base_url=url, trust_env=False, timeout=20)
            first = pool.submit(client.post, "/predict", json={"inputs": "a" * 5000})
            until(entered.is_set)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/predict", json={"inputs": "b" * 5000}, timeout=0.3)
            until(lambda: count(client, "te_request_failure") == 1)
            gate.set()
            assert first.result().status_code == 200
            client.close()
        assert tokenized == ["a"]

    def test_a_failing_batch_fails_only_its_cause_and_the_server_continues(
        self, held: HeldClassifier, caplog: pytest.LogCaptureFixture
    ) -> None:
        with client_of(held) as client, ThreadPoolExecutor(9) as pool:
            first = pool.submit(client.post, "/predict", json=NICE)
            until(held.entered.is_set)
            texts = ["fine", "poison", "a day"] * 2
            waiting = [pool.submit(client.post, "/predict", json={"inputs": t}) for t in texts]
            until(lambda: count(client, "te_queue_size") == 6)
            held.gate.set()
            answers = [each.result() for each in waiting]
            assert first.result().status_code == 200
            assert [each.status_code for each in answers] == [200, 424, 200] * 2
            assert count(client, "te_request_failure", err="inference") == 2
            assert client.post("/predict", json=NICE).status_code == 200
        assert refusal(answers[1]) == (424, "Backend")
        assert "secret" not in answers[1].text
        assert "a secret of the server" in caplog.text, "the log says why"

    def test_a_client_that_disconnects_in_the_queue_is_not_computed(
        self, held: HeldClassifier
    ) -> None:
        async def leave(url: str) -> None:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                asking = asyncio.create_task(client.post("/predict", json={"inputs": "leaving"}))
                await asyncio.sleep(0.1)
                asking.cancel()

        with (
            running(create_app(held)) as url,
            httpx.Client(base_url=url, trust_env=False) as client,
        ):
            with ThreadPoolExecutor(2) as pool:
                first = pool.submit(client.post, "/predict", json=NICE)
                until(held.entered.is_set)
                asyncio.run(leave(url))
                until(lambda: count(client, "te_request_failure", err="dropped") == 1)
                staying = pool.submit(client.post, "/predict", json={"inputs": "staying"})
                until(lambda: count(client, "te_request_count") == 3)
                held.gate.set()
                assert first.result().status_code == staying.result().status_code == 200
            computed = [each for batch in held.batches for each in batch]
            assert computed == held.tokenize([NICE["inputs"], "staying"])
            assert count(client, "te_predict_success") == 2

    def test_a_large_request_is_tokenized_outside_the_event_loop(
        self, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: dict[int, str] = {}
        encode = classifier.tokenize

        def note(texts: list[str], **options: object) -> list[Encoding]:
            threads[len(texts[0])] = threading.current_thread().name
            return encode(texts, **options)  # type: ignore[arg-type, return-value]

        monkeypatch.setattr(classifier, "tokenize", note)
        with client_of(classifier) as client:
            for length in (4096, 4097):
                text = "a" * length
                answer = client.post("/predict", json={"inputs": text, "raw_scores": True}).json()
                scores = sorted(classifier(text).logits, reverse=True)
                assert [each["score"] for each in answer] == scores
        assert threads[4096] == "test-server"
        assert threads[4097].startswith("isobatch-tokenizer")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_concurrent_requests": 0},
        {"max_client_batch_size": 0},
        {"payload_limit": 0},
        {"max_batch_tokens": 0},
        {"max_wait_ms": -1},
        {"max_wait_ms": float("nan")},
        {"max_wait_ms": float("inf")},
        {"cache_size": -1},
        {"api_key": ""},
        {"api_key": " \t"},
        {"api_key": " k"},
        {"api_key": "k\r"},
        {"api_key": "a\nb"},
        {"health_needs_key": True},
        {"page": True, "api_key": "k"},
        {"cors_allow_origins": ("a.example",)},
        {"cors_allow_origins": ("https://a.example", "https://b.example/")},
        {"cors_allow_origins": ("https://a.example,https://b.example",)},
        {"root_path": "isobatch"},
        {"root_path": "/isobatch/"},
        {"root_path": "/"},
        {"root_path": "/a?b"},
        {"model_name": " "},
        {"model_name": "\udcff"},
        {"api_key": "caf\udce9"},
    ],
    ids=str,
)
def test_invalid_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong)).removesuffix("s")):
        Settings(**wrong)


def test_during_shutdown_requests_on_open_connections_get_503(
    held: HeldClassifier,
) -> None:
    app = create_app(held)
    with (
        running(app) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        taken = pool.submit(client.post, "/predict", json=NICE)
        until(held.entered.is_set)
        assert client.get("/health").status_code == 200
        app.state.engine.closing = True
        for answer in (client.post("/predict", json=NICE), client.get("/health")):
            assert refusal(answer) == (503, "Unhealthy")
            assert answer.headers["connection"] == "close"
        held.gate.set()
        assert taken.result().status_code == 200


def test_a_server_whose_model_thread_has_ended_is_not_healthy(classifier: Classifier) -> None:
    app = create_app(classifier)
    with running(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/health").status_code == 200
        asyncio.run(app.state.engine.close())
        assert refusal(client.get("/health")) == (503, "Unhealthy")
        assert refusal(client.post("/predict", json=NICE)) == (503, "Unhealthy")
