"""Servers as targets: our own, and stand-ins that speak as TEI, vLLM and Hugging Face do."""

import gzip
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit.target_servers import Stand, inference, logits, plain, scores, serving, tei, vllm
from serve.served import running, write_tiny

from isobatch import Classifier
from isobatch.audit import audit
from isobatch.audit.targets import open_subject
from isobatch.audit.targets.http_client import HttpServer
from isobatch.errors import AuditError, OptionError
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

TEXTS = ["Today is a nice day!", "no", "It was not what people had expected of the film."]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.from_pretrained(write_tiny(tmp_path_factory.mktemp("served")))


@pytest.fixture(scope="module")
def own_server(classifier: Classifier) -> Iterator[str]:
    settings = Settings(max_client_batch_size=5, model_name="tiny")
    with running(create_app(classifier, settings)) as url:
        yield url


@pytest.mark.parametrize("path", ["", "/predict", "/v1/classify", "/classify", "/models/tiny"])
def test_our_own_server_gives_its_logits_in_every_dialect(
    own_server: str, classifier: Classifier, path: str
) -> None:
    subject = open_subject(own_server + path)
    assert subject.kind == "http"
    assert subject.max_texts == 5
    assert not subject.gives_scores
    assert subject.padded is None
    assert np.array_equal(subject.predict(TEXTS), classifier.logits(TEXTS).astype(np.float64))
    assert subject.facts["model"] == "tiny"


def test_our_own_server_in_the_dialect_that_is_named(own_server: str) -> None:
    subject = open_subject(own_server, dialect="hf")
    assert subject.facts["server"] == f"{own_server}/"
    assert subject.labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_tei_reads_a_batch_and_columns_keep_their_order() -> None:
    stand = Stand({"/predict": tei()}, {"/info": {"max_client_batch_size": 4, "model_id": "m"}})
    with serving(stand) as url:
        subject = open_subject(url)
        assert subject.predict(TEXTS).tolist() == [logits(text) for text in TEXTS]
        assert subject.labels == ("NEG", "POS")
        assert (subject.max_texts, subject.gives_scores) == (4, False)
        with pytest.raises(OptionError, match="takes 4 texts per request, got 5"):
            subject.predict(["a"] * 5)
    assert stand.bodies[-1][1] == {
        "inputs": [[text] for text in TEXTS],
        "raw_scores": True,
        "truncate": True,
    }


def test_a_server_that_ignores_raw_scores_gives_scores() -> None:
    with serving(Stand({"/predict": tei(raw_is_read=False)})) as url:
        subject = open_subject(url)
        assert subject.gives_scores
        assert subject.predict(TEXTS).tolist() == [scores(text) for text in TEXTS]


def test_a_server_that_knows_no_raw_scores_of_several_labels_gives_scores() -> None:
    """Sigmoids do not sum to 1; they show by both requests having one response."""

    def post(body: dict[str, Any]) -> tuple[int, Any]:
        rows = [[{"label": "a", "score": 0.9}, {"label": "b", "score": 0.7}]] * len(body["inputs"])
        return 200, rows

    with serving(Stand({"/predict": post})) as url:
        assert open_subject(url).gives_scores


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
def test_vllm_by_either_path_and_in_the_order_of_index(path: str) -> None:
    with serving(Stand({path: vllm()})) as url:
        subject = open_subject(url)
        assert subject.predict(TEXTS).tolist() == [logits(text) for text in TEXTS]
        assert (subject.max_texts, subject.gives_scores) == (32, False)


def test_an_older_vllm_returns_scores() -> None:
    with serving(Stand({"/classify": vllm(strict=True)})) as url:
        subject = open_subject(url, dialect="vllm")
        assert subject.gives_scores
        assert subject.predict(TEXTS).tolist() == [scores(text) for text in TEXTS]


def test_hugging_face_inference_of_one_text_and_of_several() -> None:
    with serving(Stand({"/": inference})) as url:
        subject = open_subject(url)
        assert subject.predict(TEXTS).tolist() == [logits(text) for text in TEXTS]
        assert subject.predict(TEXTS[:1]).tolist() == [logits(TEXTS[0])]


def test_a_prefix_before_the_path_is_kept() -> None:
    with serving(Stand({"/team/a/predict": tei()})) as url:
        assert open_subject(f"{url}/team/a/predict").predict(TEXTS).shape == (3, 2)
        assert open_subject(f"{url}/team/a/predict/", dialect="tei").labels == ("NEG", "POS")


@pytest.mark.parametrize("path", ["/predict", "/score", "/v1/models/m:predict"])
@pytest.mark.parametrize(
    ("key", "container"),
    [("inputs", None), ("texts", "predictions"), ("instances", "predictions"), ("texts", "logits")],
)
def test_a_service_that_takes_a_list_of_strings_is_found(
    path: str, key: str, container: str | None
) -> None:
    with serving(Stand({path: plain(key, container)})) as url:
        address = url if path == "/predict" else f"{url}{path}"
        for subject in (open_subject(address), open_subject(f"{url}{path}", dialect=key)):
            assert subject.predict(TEXTS).tolist() == [scores(text) for text in TEXTS]
            assert subject.gives_scores
            assert f'texts as "{key}"' in subject.facts["dialect"]


def test_an_unknown_path_is_tried_with_every_dialect() -> None:
    with serving(Stand({"/score": tei()})) as url:
        assert open_subject(f"{url}/score").labels == ("NEG", "POS")
        assert open_subject(f"{url}/score", dialect="tei").labels == ("NEG", "POS")
        with pytest.raises(AuditError, match=r"another path, .* --dialect \(tei, .*instances\)"):
            open_subject(url)


def test_several_requests_are_in_flight_at_once() -> None:
    together = threading.Barrier(4)

    def post(body: dict[str, Any]) -> tuple[int, Any]:
        if body["inputs"][0][0].startswith("batch"):
            together.wait(10)
        return tei()(body)

    stand = Stand({"/predict": post})
    with serving(stand) as url:
        subject = open_subject(url)
        assert subject.in_flight is not None
        batches = [[f"batch {number}", "end"] for number in range(4)]
        answers = subject.in_flight(batches)
        assert subject.in_flight([]) == []
    assert stand.most_at_once == 4
    assert [each.tolist() for each in answers] == [[logits(t) for t in b] for b in batches]


def test_a_missing_key_and_a_wrong_one_have_other_messages() -> None:
    with serving(Stand({"/predict": tei()}, key="secret")) as url:
        assert open_subject(url, api_key="secret").labels == ("NEG", "POS")
        missing = (
            r"requires an API key \(status 401: Unauthorized\)\. .*--api-key .*ISOBATCH_API_KEY"
        )
        with pytest.raises(OptionError, match=missing):
            open_subject(url)
        with pytest.raises(OptionError, match=r"rejects the API key \(status 401") as seen:
            open_subject(url, api_key="s3cret")
        assert "s3cret" not in str(seen.value)


@pytest.mark.parametrize(
    ("status", "content", "headers", "words"),
    [
        (403, {"error": "not yours"}, {}, r"requires an API key \(status 403: not yours\)"),
        (401, {}, {"www-authenticate": 'Basic realm="x"'}, r"user and a password .*USER:PASSWORD@"),
        (429, {"error": "slow down"}, {"retry-after": "0"}, r"429: slow down\. it limits requests"),
        (503, {"error": "loading", "estimated_time": 0.1}, {}, r"503: loading\. it is loading or"),
        (504, {}, {"retry-after": "Wed, 21 Oct"}, r"status 504.* proxy gets no response in time"),
    ],
)
def test_a_status_says_its_fix(
    status: int, content: Any, headers: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobatch.audit.targets.http_client._PAUSES", (0.0, 0.0))
    stand = Stand({"/predict": lambda _: (status, content)})
    stand.headers = headers
    with serving(stand) as url, pytest.raises((OptionError, AuditError), match=words):
        open_subject(url)


def test_a_loading_server_is_waited_for() -> None:
    loading = iter([True, True])

    def post(body: dict[str, Any]) -> tuple[int, Any]:
        busy = (503, {"error": "loading", "estimated_time": 0.01})
        return busy if next(loading, False) else tei()(body)

    with serving(Stand({"/predict": post})) as url:
        assert open_subject(url).labels == ("NEG", "POS")


def test_a_redirect_is_followed_on_the_same_server_and_named_on_another() -> None:
    stand = Stand({"/predict": lambda _: (307, {}), "/v2/predict": tei()})
    with serving(stand) as url:
        stand.headers = {"location": "/v2/predict"}
        assert open_subject(url).predict(TEXTS).tolist() == [logits(text) for text in TEXTS]
        stand.headers = {"location": "/predict"}
        with pytest.raises(AuditError, match="redirects more than 3 times"):
            open_subject(url)
    with serving(Stand({"/predict": tei()})) as there:
        stand.headers = {"location": f"{there}/predict"}
        with serving(stand) as url, pytest.raises(OptionError, match="redirects to") as seen:
            open_subject(url, api_key="secret")
        address = str(seen.value).partition("redirects to ")[2].partition(". Use")[0]
        assert open_subject(address).labels == ("NEG", "POS")


def test_a_self_signed_certificate_is_named_with_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable of the message, set to the certificate, makes it work."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    file = tmp_path / "own.pem"
    options = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out"]
    certificate = tmp_path / "certificate.pem"
    subprocess.run([openssl, *options, *names, str(certificate)], check=True, capture_output=True)
    file.write_text(file.read_text() + certificate.read_text())
    with serving(Stand({"/predict": tei()}), file) as url:
        with pytest.raises(OptionError, match=r"not trusted .* SSL_CERT_FILE"):
            open_subject(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert open_subject(url).labels == ("NEG", "POS")
        with pytest.raises(AuditError, match=r"is it https://\?"):
            open_subject(url.replace("https", "http"))
    words = "Use an http:// address"
    with serving(Stand({})) as url, pytest.raises(OptionError, match=words):
        open_subject(url.replace("http", "https"))


def test_a_compressed_response_is_read() -> None:
    def post(body: dict[str, Any]) -> tuple[int, Any]:
        return 200, gzip.compress(json.dumps(tei()(body)[1]).encode())

    stand = Stand({"/predict": post}, {"/info": gzip.compress(b"{}")})
    stand.headers = {"content-encoding": "gzip"}
    with serving(stand) as url:
        assert open_subject(url).predict(TEXTS).tolist() == [logits(text) for text in TEXTS]


@pytest.mark.parametrize("dialect", ["tei", "vllm", "hf"])
def test_the_mark_of_a_truncated_text_is_read(own_server: str, dialect: str) -> None:
    subject = open_subject(own_server, dialect=dialect)
    assert subject.truncated is not None
    assert subject.truncated("again " * 700)
    assert not subject.truncated("short")
    report = audit(subject, TEXTS, quick=True)
    summary = next(each.summary for each in report.probes if each.probe == "truncation")
    assert "is truncated, and its result says so" in summary


def test_a_mark_in_the_content_is_read() -> None:
    def post(mark: dict[str, bool], body: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"predictions": [scores(each[:99]) for each in body["texts"]], **mark}

    for mark, words in (({"truncated": True}, "says so"), ({}, "unmarked in its result")):
        with serving(Stand({"/predict": partial(post, mark)})) as url:
            report = audit(open_subject(url, dialect="texts"), TEXTS, quick=True)
        summaries = {each.probe: each.summary for each in report.probes}
        assert words in summaries["truncation"]


def test_secrets_of_an_address_are_in_no_fact() -> None:
    with serving(Stand({"/predict": tei()})) as url:
        subject = open_subject(url.replace("http://", "http://me:hidden@"))
        assert "hidden" not in f"{subject.name} {subject.facts}"


def test_a_server_without_any_dialect_is_an_error_with_its_own_message() -> None:
    with (
        serving(Stand({"/predict": lambda _: (424, {"error": "no classifier"})})) as url,
        pytest.raises(AuditError, match=r"no known dialect .*status 424: no classifier"),
    ):
        open_subject(url)


def test_an_error_in_a_later_request_is_raised() -> None:
    def post(body: dict[str, Any]) -> tuple[int, Any]:
        return (429, {"error": "overloaded"}) if len(body["inputs"]) == 3 else tei()(body)

    with serving(Stand({"/predict": post})) as url:
        subject = open_subject(url)
        with pytest.raises(AuditError, match="/predict: status 429: overloaded"):
            subject.predict(TEXTS)


def test_a_response_with_too_few_rows_or_without_json_is_refused() -> None:
    def post(body: dict[str, Any]) -> tuple[int, Any]:
        count = len(body["inputs"])
        return tei()(body | {"inputs": body["inputs"][:2]}) if count == 3 else tei()(body)

    stand = Stand({"/predict": post, "/page/predict": lambda _: (200, b"<html>")})
    with serving(stand) as url:
        with pytest.raises(AuditError, match="returned 2 rows for 3 texts"):
            open_subject(url).predict(TEXTS)
        with pytest.raises(AuditError, match="the response is not JSON"):
            open_subject(f"{url}/page/predict")


def test_an_address_without_a_server_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OptionError, match=r"no server responds .* Start it"):
            open_subject(f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_an_unknown_dialect_is_an_error(tmp_path: Path) -> None:
    with serving(Stand({})) as url, pytest.raises(OptionError, match="unknown dialect 'soap'"):
        open_subject(url, dialect="soap")


def test_the_query_of_an_address_is_sent() -> None:
    server = HttpServer("http://127.0.0.1:9/score?model=b", None)
    request = server._client.build_request("POST", server.path, json={})
    assert str(request.url) == "http://127.0.0.1:9/score?model=b"
    assert server.url == "http://127.0.0.1:9"
