"""POST /v1/rerank, in the dialect of Jina and Cohere, compared with the reranker itself."""

import json
from collections.abc import Iterator

import httpx
import pytest
from serve.served import JSON, client_of
from serve.served_kinds import write_reranker
from serve.test_bodies import refused

from isobatch import Reranker
from isobatch.serve.settings import Settings

QUERY = "what about tomorrow?"
TEXTS = ["A day.", "Today is a nice day!", "Not sure, not sure.", "Today is a nice day!"]
LONG = "day " * 100


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    return Reranker.from_pretrained(write_reranker(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def client(reranker: Reranker) -> Iterator[httpx.Client]:
    with client_of(reranker, Settings(model_name="org/tiny")) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked_as_the_reranker_does(
    client: httpx.Client, reranker: Reranker, path: str
) -> None:
    body = {"model": "org/tiny", "query": QUERY, "documents": TEXTS}
    answer = client.post(path, json=body).json()
    assert answer["results"] == [
        {"index": each.index, "relevance_score": each.score, "document": {"text": each.text}}
        for each in reranker.rank(QUERY, TEXTS)
    ]
    assert answer.keys() == {"id", "model", "results", "usage"}
    assert answer["id"].startswith("rerank-")
    assert answer["model"] == "org/tiny"
    tokens = sum(reranker((QUERY, text)).num_tokens for text in TEXTS)
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_objects_with_text_are_documents(client: httpx.Client) -> None:
    texts = client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS}).json()
    objects = [TEXTS[0], *({"text": text} for text in TEXTS[1:])]
    mixed = client.post("/v1/rerank", json={"query": QUERY, "documents": objects}).json()
    assert mixed["results"] == texts["results"]


@pytest.mark.parametrize("top_n", [1, 2, 99, None])
def test_the_best_are_returned_without_documents_on_request(
    client: httpx.Client, reranker: Reranker, top_n: int | None
) -> None:
    body = {"query": QUERY, "documents": TEXTS, "top_n": top_n, "return_documents": False}
    results = client.post("/v1/rerank", json=body).json()["results"]
    best = reranker.rank(QUERY, TEXTS, top_n)
    assert results == [{"index": each.index, "relevance_score": each.score} for each in best]


def test_without_activation_scores_are_logits(client: httpx.Client, reranker: Reranker) -> None:
    body = {"query": QUERY, "documents": TEXTS, "use_activation": False}
    results = client.post("/v1/rerank", json=body).json()["results"]
    assert [each["relevance_score"] for each in results] == [
        each.logit for each in reranker.rank(QUERY, TEXTS)
    ]


def test_both_dialects_rank_alike(client: httpx.Client) -> None:
    tei = client.post("/rerank", json={"query": QUERY, "texts": TEXTS}).json()
    jina = client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS}).json()["results"]
    assert [(each["index"], each["score"]) for each in tei] == [
        (each["index"], each["relevance_score"]) for each in jina
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"documents": []}, "no text"),
        ({"documents": "a"}, "documents: expected a list of texts"),
        ({"documents": [["a"]]}, r"documents[0]: expected a text, or an object with"),
        ({"documents": [{"text": "a", "id": 1}]}, "got an object with text, id"),
        ({"documents": ["a", "\\ud800"]}, "documents[1]: "),
        ({"query": "\\ud800"}, "query: "),
        ({"query": "nice " * 100_000}, "query: has 500,000 characters, for a model that reads"),
        ({"top_n": 0}, "top_n: expected at least 1"),
        ({"texts": ["a"]}, "unknown field 'texts' (send them as documents, or to /rerank)"),
        ({"rank_fields": ["text"]}, "put everything to read into text"),
        ({"model": "other"}, "model 'other' is not served here"),
        ({"truncate_prompt_tokens": 7}, "-1 cuts documents"),
    ],
)
def test_what_is_not_supported_is_refused(
    client: httpx.Client, more: dict[str, object], message: str
) -> None:
    body = json.dumps({"query": QUERY, "documents": ["a"]} | more).replace("\\\\ud", "\\ud")
    answer = client.post("/v1/rerank", content=body, headers=JSON)
    assert answer.is_client_error
    assert message in answer.json()["error"]


def test_long_documents_are_cut_or_refused(reranker: Reranker, client: httpx.Client) -> None:
    body = {"query": QUERY, "documents": [TEXTS[0], LONG]}
    assert client.post("/v1/rerank", json=body).headers["x-truncated-inputs"] == "1"
    strict = Reranker.from_pretrained(reranker.folder, truncation="error")
    with client_of(strict) as other:
        failed = other.post("/v1/rerank", json=body)
        refused(failed, 422, "Validation")
        assert 'send "truncate_prompt_tokens": -1 to cut it' in failed.json()["error"]
        cut = other.post("/v1/rerank", json=body | {"truncate_prompt_tokens": -1})
    assert cut.json()["results"] == client.post("/v1/rerank", json=body).json()["results"]
