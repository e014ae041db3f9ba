"""/info and the routes of each kind of model, and the errors of routes of other tasks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.served import client_of, write_tiny
from serve.served_kinds import PROMPTS, WRITERS, load_kind, write_embedder, write_reranker
from tiny_checkpoints import Tiny

from isobatch import Classifier, Embedder, Reranker
from isobatch.cli import serve
from isobatch.errors import OptionError
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.tasks import Pipeline

TASKS = {
    "three labels": ["text-classification"],
    "reranker": ["text-ranking", "text-classification"],
    "nli": ["text-classification", "zero-shot-classification"],
    "tagger": ["token-classification"],
    "embedder": ["feature-extraction"],
}
BODIES: dict[str, dict[str, object]] = {
    "/predict": {"inputs": "a"},
    "/v1/classify": {"input": "a"},
    "/classify": {"input": "a"},
    "/rerank": {"query": "a", "texts": ["b"]},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/v2/rerank": {"query": "a", "documents": ["b"]},
    "/embed": {"inputs": "a"},
    "/v1/embeddings": {"input": "a"},
    "/": {"inputs": "a"},
    "/models/default": {"inputs": "a"},
}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pipeline[Any]]:
    return {kind: load_kind(kind, tmp_path_factory.mktemp("tiny")) for kind in TASKS}


@pytest.fixture(scope="module", params=TASKS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(pipelines: dict[str, Pipeline[Any]], kind: str) -> Iterator[httpx.Client]:
    with client_of(pipelines[kind]) as client:
        yield client


def test_info_says_the_tasks_and_the_routes(client: httpx.Client, kind: str) -> None:
    info = client.get("/info").json()
    assert info["tasks"] == TASKS[kind]
    assert info["task"] == TASKS[kind][0]
    (model,) = client.get("/v1/models").json()["data"]
    assert model["task"] == TASKS[kind][0]
    served = client.get("/openapi.json").json()["paths"]
    assert {*info["routes"]} == {path for path in served if "post" in served[path]}


def test_routes_of_other_tasks_say_which_ones_there_are(client: httpx.Client, kind: str) -> None:
    info = client.get("/info").json()
    routes = {each.replace("{model}", "default") for each in info["routes"]}
    for path, body in BODIES.items():
        answer = client.post(path, json=body)
        if path in routes:
            assert answer.status_code == 200, answer.text
            continue
        assert answer.status_code == 424
        error = answer.json()["error"]
        message = error["message"] if path == "/v1/embeddings" else error
        assert message.startswith(f"{path}: is for ")
        assert f"the served model is for {TASKS[kind][0]}" in message
        assert message.endswith(f"Use {', '.join(info['routes'])}")
        assert client.get(path).status_code == 405
    refused = len(BODIES.keys() - routes)
    assert f'te_request_failure{{err="model_type"}} {refused}.0' in client.get("/metrics").text


def test_the_type_of_the_model_has_its_settings(client: httpx.Client, kind: str) -> None:
    described = client.get("/info").json()["model_type"]
    keys = {"reranker": "reranker", "tagger": "token_classifier", "embedder": "embedding"}
    (key,) = described
    assert key == keys.get(kind, "classifier")
    if kind == "embedder":
        assert described["embedding"] == {
            "pooling": "mean",
            "size": 32,
            "normalized": True,
            "similarity": "cosine",
            "prompts": [*PROMPTS],
            "default_prompt": None,
        }
    else:
        assert len(described[key]["id2label"]) >= 1


def test_texts_are_counted_by_their_task(pipelines: dict[str, Pipeline[Any]]) -> None:
    for kind, name in (("embedder", "embed"), ("tagger", "predict")):
        with client_of(pipelines[kind]) as client:
            assert client.post("/", json={"inputs": ["a", "b"]}).status_code == 200
            assert f"te_{name}_count 2.0" in client.get("/metrics").text


STATED = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize(
    ("activation", "rule"),
    [
        (None, {"activation": "sigmoid", "source": "default for one label"}),
        (STATED, {"activation": "none", "source": "config_sentence_transformers.json: activation"}),
    ],
)
def test_info_says_which_score_rule_holds_and_from_where(
    tmp_path: Path, activation: str | None, rule: dict[str, str]
) -> None:
    folder = write_reranker(tmp_path)
    if activation:
        stated = {"activation_fn": activation, "model_type": "CrossEncoder"}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(stated))
    reranker = Reranker.from_pretrained(folder)
    body = {"query": "a", "texts": ["b", "a nice day"]}
    with client_of(reranker) as client:
        said = client.get("/info").json()["score_rule"]
        scores = [each["score"] for each in client.post("/rerank", json=body).json()]
    assert said["activation"] == rule["activation"]
    assert said["source"].startswith(rule["source"])
    ranked = reranker.rank("a", ["b", "a nice day"])
    assert scores == [each.score for each in ranked]
    assert (scores == [each.logit for each in ranked]) == (activation is not None)


def test_models_of_other_tasks_have_no_score_rule(pipelines: dict[str, Pipeline[Any]]) -> None:
    for kind in ("tagger", "embedder"):
        with client_of(pipelines[kind]) as client:
            assert client.get("/info").json()["score_rule"] is None


def test_the_lesson_is_about_classification(pipelines: dict[str, Pipeline[Any]]) -> None:
    with pytest.raises(OptionError, match=r"is for feature-extraction\. Leave out --page"):
        create_app(pipelines["embedder"], Settings(page=True))


class TestCommand:
    """How `isobatch serve` chooses what to load."""

    def loaded(self, folder: Path, task: str | None = None, **stated: object) -> Pipeline[Any]:
        pipeline: Pipeline[Any]
        _, pipeline, _ = serve._loaded(str(folder), task=task, revision=None, **stated)
        return pipeline

    @pytest.mark.parametrize("kind", WRITERS)
    def test_the_files_say_what_a_model_is_for(self, kind: str, tmp_path: Path) -> None:
        expected = load_kind(kind, tmp_path)
        assert type(self.loaded(tmp_path)) is type(expected)

    def test_an_entity_model_cuts_nothing_unasked(self, tmp_path: Path) -> None:
        load_kind("tagger", tmp_path)
        assert self.loaded(tmp_path).truncation == "window"
        assert self.loaded(tmp_path, truncation="cut").truncation == "cut"

    def test_any_encoder_has_vectors_if_pooling_is_given(self, tmp_path: Path) -> None:
        folder = write_tiny(tmp_path, Tiny("bert"))
        embedder = self.loaded(folder, "feature-extraction", pooling="cls", normalize=True)
        assert isinstance(embedder, Embedder)
        assert (embedder.pooling, embedder.normalizes) == (("cls",), True)
        assert isinstance(self.loaded(folder), Classifier)

    def test_plain_vectors_on_request(self, tmp_path: Path) -> None:
        embedder = self.loaded(write_embedder(tmp_path), normalize=False)
        assert isinstance(embedder, Embedder)
        assert not embedder.normalizes

    def test_options_of_vectors_are_for_vectors(self, tmp_path: Path) -> None:
        folder = write_tiny(tmp_path, Tiny("bert"))
        with pytest.raises(OptionError, match="--pooling is for vectors, and the model is for te"):
            self.loaded(folder, pooling="mean")
