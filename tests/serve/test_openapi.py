"""The OpenAPI document is true, checked by fuzzing; /docs works without a network."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import hypothesis
import jsonschema
import pytest
import schemathesis
from serve.served import client_of, running, write_tiny
from starlette.requests import Request
from starlette.responses import Response
from tiny_checkpoints import Tiny

from isobatch import Classifier
from isobatch.serve.api_route import ApiRoute
from isobatch.serve.app import create_app
from isobatch.serve.openapi import SIDE_FIELDS, openapi_document
from isobatch.serve.routes import API_ROUTES
from isobatch.serve.routes.docs import CONTENT_SECURITY, DOCUMENT_PATHS, SWAGGER
from isobatch.serve.settings import Settings

ROOT = Path(__file__).parent.parent.parent
OPERATIONS = {
    "POST /predict",
    "POST /rerank",
    "POST /",
    "POST /models/{model}",
    "POST /v1/classify",
    "POST /classify",
    "GET /health",
    "GET /info",
    "GET /metrics",
    "GET /v1/models",
}
ANY_NUMBER = Settings(max_client_batch_size=10_000)
"""The one limit that the schemas do not express."""

FUZZED = 50
"""Requests for each route and mode: valid by the schema, and invalid."""

# The strategies of Schemathesis draw from `random`, which Hypothesis warns about.
ignores_random = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """With a single label, so that every route accepts valid requests."""
    tiny = Tiny("bert", num_labels=1)
    return Classifier.from_pretrained(write_tiny(tmp_path_factory.mktemp("tiny"), tiny))


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[httpx.Client]:
    with client_of(classifier) as client:
        yield client


@pytest.fixture(scope="module")
def description(client: httpx.Client) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    described: dict[str, dict[str, dict[str, dict[str, object]]]]
    described = client.get("/openapi.json").json()
    return described


def test_the_openapi_document_in_the_repository_is_fresh(client: httpx.Client) -> None:
    kept = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
    assert kept == openapi_document(API_ROUTES), "docs/openapi.json is stale: run `make docs`"
    assert kept == client.get("/openapi.json").json()


def test_it_describes_exactly_the_routes(
    description: dict[str, dict[str, dict[str, dict[str, object]]]],
) -> None:
    assert description["security"] == [{}, {"key": []}]
    assert "key" in description["components"]["securitySchemes"]
    paths = description["paths"]
    described = {f"{method.upper()} {path}" for path in paths for method in paths[path]}
    assert described == OPERATIONS
    for path, methods in paths.items():
        for operation in methods.values():
            assert operation["summary"], path
            assert operation["responses"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_it_has_the_side_that_the_checkpoint_cuts(side: str) -> None:
    schemas = openapi_document(API_ROUTES, side=side)["components"]["schemas"]
    for name in ("PredictRequest", "RerankRequest", "ClassifyRequest"):
        (field,) = SIDE_FIELDS & schemas[name]["properties"].keys()
        assert schemas[name]["properties"][field]["enum"] == [side, side.title(), None]


def test_every_example_is_valid_and_succeeds(
    client: httpx.Client, description: dict[str, dict[str, dict[str, dict[str, object]]]]
) -> None:
    schemas = description["components"]["schemas"]
    routes = {
        "PredictRequest": "/predict",
        "RerankRequest": "/rerank",
        "InferenceRequest": "/",
        "ClassifyRequest": "/v1/classify",
    }
    for name, path in routes.items():
        examples = schemas[name]["examples"]
        assert examples
        for example in examples:
            jsonschema.validate(example, {"$ref": f"#/components/schemas/{name}", **description})
            assert client.post(path, json=example).status_code == 200


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
    classifier: Classifier, mode: schemathesis.GenerationMode
) -> None:
    with running(create_app(classifier, ANY_NUMBER)) as url:
        assert fuzz(url, mode) > 100


@ignores_random
def test_fuzzing_would_find_such_a_response(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(request: Request) -> Response:
        raise RuntimeError("a route that fails")

    described = {200: {"description": "A number"}}
    route = ApiRoute(
        "/wrong", wrong, tag="wrong", summary="Wrong", response=int, responses=described
    )
    monkeypatch.setattr("isobatch.serve.app.API_ROUTES", (*API_ROUTES, route))
    with (
        running(create_app(classifier, ANY_NUMBER)) as url,
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

    def test_the_root_redirects_to_them_without_a_key(self, classifier: Classifier) -> None:
        key = {"authorization": "Bearer k"}
        with client_of(classifier, Settings(api_key="k")) as client:
            answer = client.get("/")
            assert answer.status_code == 307, "a browser brings no key"
            assert answer.next_request is not None
            assert answer.next_request.url.path == "/docs"
            assert client.get("/", follow_redirects=True).status_code == 200
            assert client.post("/", json={"inputs": "a"}).status_code == 401
            assert client.post("/", json={"inputs": "a"}, headers=key).status_code == 200
