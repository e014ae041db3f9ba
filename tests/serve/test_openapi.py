"""The OpenAPI document of each kind of model is true, by fuzzing; /docs needs no network."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import jsonschema
import pytest
import schemathesis
from serve.served import client_of, running
from serve.served_kinds import WRITERS, load_kind
from starlette.requests import Request
from starlette.responses import Response

from isobatch.serve.api_route import ApiRoute
from isobatch.serve.app import create_app
from isobatch.serve.model_values import SIDE_FIELDS
from isobatch.serve.openapi import describe_responses, openapi_document
from isobatch.serve.routes import API_ROUTES
from isobatch.serve.routes.docs import CONTENT_SECURITY, DOCUMENT_PATHS, SWAGGER
from isobatch.serve.settings import Settings
from isobatch.tasks import Pipeline

ROOT = Path(__file__).parent.parent.parent
OPERATIONS = {
    "POST /",
    "POST /models/{model}",
    "GET /health",
    "GET /info",
    "GET /metrics",
    "GET /v1/models",
}
CLASSIFYING = {"POST /predict", "POST /v1/classify", "POST /classify"}
RANKING = {"POST /rerank", "POST /v1/rerank", "POST /v2/rerank"}
EMBEDDING = {"POST /embed", "POST /v1/embeddings"}
OF_KIND = {
    "three labels": CLASSIFYING,
    "reranker": CLASSIFYING | RANKING,
    "nli": CLASSIFYING,
    "tagger": set[str](),
    "embedder": EMBEDDING,
    "plain embedder": EMBEDDING,
}
ANY_NUMBER = Settings(max_client_batch_size=10_000)
"""The one limit that the schemas do not express."""

FUZZED = 30
"""Requests for each route and mode: valid by the schema, and invalid."""

# The strategies of Schemathesis draw from `random`, which Hypothesis warns about.
ignores_random = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


Description = Mapping[str, Any]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pipeline[Any]]:
    return {kind: load_kind(kind, tmp_path_factory.mktemp("tiny")) for kind in WRITERS}


@pytest.fixture(scope="module", params=WRITERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(pipelines: dict[str, Pipeline[Any]], kind: str) -> Iterator[httpx.Client]:
    with client_of(pipelines[kind]) as client:
        yield client


@pytest.fixture(scope="module")
def description(client: httpx.Client) -> Description:
    described: Description = client.get("/openapi.json").json()
    return described


def test_the_openapi_document_in_the_repository_is_fresh() -> None:
    kept = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
    assert kept == openapi_document(API_ROUTES), "docs/openapi.json is stale: run `make docs`"


def operations(description: Description) -> set[str]:
    paths = description["paths"]
    return {f"{method.upper()} {path}" for path in paths for method in paths[path]}


def test_the_document_of_all_routes_has_those_of_every_model(description: Description) -> None:
    whole = openapi_document(API_ROUTES)
    assert operations(whole) == OPERATIONS | CLASSIFYING | RANKING | EMBEDDING
    assert operations(description) <= operations(whole)
    assert description["components"]["schemas"].keys() <= whole["components"]["schemas"].keys()


def test_a_path_of_several_tasks_takes_the_body_of_each() -> None:
    whole = openapi_document(API_ROUTES)
    for path in ("/", "/models/{model}"):
        body = whole["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        names = {each["$ref"].rpartition("/")[2] for each in body["schema"]["anyOf"]}
        assert names == {"InferenceRequest", "ZeroShotRequest", "EntitiesRequest", "EmbedRequest"}


def test_it_describes_exactly_the_routes_of_the_model(description: Description, kind: str) -> None:
    assert description["security"] == [{}, {"key": []}]
    assert "key" in description["components"]["securitySchemes"]
    assert operations(description) == OPERATIONS | OF_KIND[kind]
    for path, methods in description["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            assert operation["responses"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_it_has_the_side_that_the_checkpoint_cuts(side: str) -> None:
    values = {name: {"enum": [side, side.title(), None]} for name in SIDE_FIELDS}
    schemas = openapi_document(API_ROUTES, values=values)["components"]["schemas"]
    for name in ("PredictRequest", "RerankRequest", "ClassifyRequest", "EmbedRequest"):
        (field,) = {*SIDE_FIELDS} & schemas[name]["properties"].keys()
        assert schemas[name]["properties"][field]["enum"] == [side, side.title(), None]


def test_every_example_is_valid_and_succeeds(
    client: httpx.Client, description: Description
) -> None:
    schemas = description["components"]["schemas"]
    num_examples = 0
    for path, methods in description["paths"].items():
        if "post" not in methods or "{" in path:
            continue
        body = methods["post"]["requestBody"]["content"]["application/json"]["schema"]
        for reference in body.get("anyOf", [body]):
            examples = schemas[reference["$ref"].rpartition("/")[2]]["examples"]
            for example in examples:
                num_examples += 1
                jsonschema.validate(example, {**reference, **description})
                assert client.post(path, json=example).status_code == 200
    assert num_examples >= 2


def fuzz(url: str, mode: schemathesis.GenerationMode, seed: int = 1) -> int:
    """Send random requests to every route; raises if a response contradicts the document."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    asked = 0
    for operation in (result.ok() for result in schema.get_all_operations()):
        if mode.is_negative and operation.method == "get":
            continue  # these take nothing, so that nothing can be wrong

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=FUZZED,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate()

        ask()
    return asked


@ignores_random
@pytest.mark.parametrize(
    "mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
)
def test_fuzzing_finds_no_response_that_contradicts_the_description(
    pipelines: dict[str, Pipeline[Any]], kind: str, mode: schemathesis.GenerationMode
) -> None:
    with running(create_app(pipelines[kind], ANY_NUMBER)) as url:
        assert fuzz(url, mode) > 50


@ignores_random
def test_fuzzing_would_find_such_a_response(
    pipelines: dict[str, Pipeline[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(request: Request) -> Response:
        raise RuntimeError("a route that fails")

    described = {200: {"description": "A number"}}
    route = ApiRoute(
        "/wrong", wrong, tag="wrong", summary="Wrong", response=int, responses=described
    )
    monkeypatch.setattr("isobatch.serve.app.API_ROUTES", (*API_ROUTES, route))
    with (
        running(create_app(pipelines["reranker"], ANY_NUMBER)) as url,
        pytest.raises(BaseException, match="Server error"),
    ):
        fuzz(url, schemathesis.GenerationMode.POSITIVE)


class TestDocuments:
    def test_everything_the_page_needs_comes_from_the_server(self, client: httpx.Client) -> None:
        page = client.get("/docs")
        assert page.headers["content-security-policy"] == CONTENT_SECURITY
        assert "unsafe" not in CONTENT_SECURITY
        assert "http" not in page.text.replace("<!doctype html>", "")
        for path in DOCUMENT_PATHS:
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert len(answer.content) > 100
        assert client.get("/docs/swagger-ui.css").headers["content-type"].startswith("text/css")

    def test_the_bundle_is_small_and_has_its_license(self) -> None:
        sizes = {path.name: path.stat().st_size for path in SWAGGER.iterdir()}
        assert sizes.keys() >= {"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"}
        assert sum(sizes.values()) < 2_000_000

    def test_the_root_redirects_to_them_without_a_key(
        self, pipelines: dict[str, Pipeline[Any]], kind: str
    ) -> None:
        key = {"authorization": "Bearer k"}
        with client_of(pipelines[kind], Settings(api_key="k")) as client:
            answer = client.get("/")
            assert answer.status_code == 307, "a browser brings no key"
            assert answer.next_request is not None
            assert answer.next_request.url.path == "/docs"
            assert client.get("/", follow_redirects=True).status_code == 200
            assert client.post("/", json={"inputs": "a"}).status_code == 401
            assert client.post("/", json={"inputs": "a"}, headers=key).status_code == 200


def test_the_example_of_a_wrong_body_has_its_type() -> None:
    """Three codes have the status 422; the first is that of the schema."""
    responses = describe_responses()
    assert responses[422]["content"]["application/json"]["example"]["error_type"] == "Validation"
    nested = describe_responses(nested=True)[422]["content"]["application/json"]["example"]
    assert nested["error"]["type"] == "Validation"
