"""Servers as targets: our own, and stand-ins that speak as TEI, vLLM and Hugging Face do."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit.target_servers import Stand, inference, logits, scores, serving, tei, vllm
from serve.served import running, write_tiny

from isobatch import Classifier
from isobatch.audit.targets import open_subject
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
        with pytest.raises(OptionError, match="takes 4 texts a request, got 5"):
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


def test_an_unknown_path_needs_a_dialect() -> None:
    with serving(Stand({"/score": tei()})) as url:
        with pytest.raises(OptionError, match=r"/score is not a known path .* --dialect"):
            open_subject(f"{url}/score")
        assert open_subject(f"{url}/score", dialect="tei").labels == ("NEG", "POS")


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


def test_the_key_is_sent_and_a_missing_one_is_an_error() -> None:
    with serving(Stand({"/predict": tei()}, key="secret")) as url:
        assert open_subject(url, api_key="secret").labels == ("NEG", "POS")
        with pytest.raises(OptionError, match=r"status 401: Unauthorized\); give .* --api-key"):
            open_subject(url)


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
        with pytest.raises(AuditError, match="its response is not JSON"):
            open_subject(f"{url}/page/predict")


def test_an_address_without_a_server_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OptionError, match=r"no server responds there .* is it running"):
            open_subject(f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_an_unknown_dialect_is_an_error(tmp_path: Path) -> None:
    with serving(Stand({})) as url, pytest.raises(OptionError, match="unknown dialect 'soap'"):
        open_subject(url, dialect="soap")
