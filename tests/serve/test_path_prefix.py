"""The server behind a proxy that serves it under a path, stripped or passed on."""

from collections.abc import Iterator
from urllib.parse import urljoin

import httpx
import pytest
from serve.path_proxy import PREFIX, proxied
from serve.served import running, write_tiny

from isobatch import Classifier
from isobatch.errors import OptionError
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

NICE = {"inputs": "Today is a nice day!"}

WAYS = {
    "stripped, with --root-path": (True, PREFIX),
    "passed on, with --root-path": (False, PREFIX),
    "stripped, unknown to the server": (True, ""),
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.from_pretrained(write_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module", params=WAYS)
def url(request: pytest.FixtureRequest, classifier: Classifier) -> Iterator[str]:
    """The address at the proxy, without a slash at the end."""
    strips, root_path = WAYS[request.param]
    with (
        running(create_app(classifier, Settings(root_path=root_path))) as server,
        proxied(server, strips=strips) as url,
    ):
        yield url


def test_routes_documents_and_addresses_in_them_work(url: str, classifier: Classifier) -> None:
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        answer = client.post(f"{url}/predict", json=NICE)
        assert answer.json()[0]["score"] == classifier(NICE["inputs"]).score
        page = client.get(f"{url}/")
        assert (page.status_code, str(page.url)) == (200, f"{url}/docs")
        for name in ("docs/swagger-ui.css", "docs/start.js", "docs/swagger-ui-bundle.js"):
            assert name in page.text
            assert client.get(urljoin(str(page.url), name)).status_code == 200
        described = client.get(urljoin(str(page.url), "openapi.json"))
        (server,) = described.json()["servers"]
        base = urljoin(str(described.url), server["url"]).rstrip("/")
        assert base == url
        assert client.post(f"{base}/", json=NICE).status_code == 200
        assert client.get(f"{base}/health").status_code == 200


def test_the_prefix_alone_is_the_root(url: str) -> None:
    """As `InferenceClient(base_url=...)` sends it."""
    with httpx.Client(trust_env=False) as client:
        assert client.post(url, json=NICE).status_code == 200


def test_the_root_redirects_to_the_documents_also_without_a_slash(classifier: Classifier) -> None:
    app = create_app(classifier, Settings(root_path=PREFIX))
    with running(app) as server, proxied(server, strips=True) as url:
        answer = httpx.get(url, trust_env=False, follow_redirects=True)
        assert (answer.status_code, str(answer.url)) == (200, f"{url}/docs")


def test_only_the_whole_prefix_is_stripped_and_the_server_itself_still_works(
    classifier: Classifier,
) -> None:
    with running(create_app(classifier, Settings(root_path=PREFIX))) as server:
        for path, status in (
            ("/health", 200),
            (f"{PREFIX}/health", 200),
            (f"{PREFIX}health", 404),
            (f"{PREFIX}{PREFIX}/health", 404),
        ):
            assert httpx.get(f"{server}{path}", trust_env=False).status_code == status


def test_the_key_is_required_under_the_prefix_too(classifier: Classifier) -> None:
    settings = Settings(root_path=PREFIX, api_key="k")
    with running(create_app(classifier, settings)) as server:
        for path, status in (("/info", 401), ("/health", 200), ("/docs", 200), ("/predict", 401)):
            assert httpx.get(f"{server}{PREFIX}{path}", trust_env=False).status_code == status


@pytest.mark.parametrize("taken", ["/docs", "/v1", "/models/mine", "/health"])
def test_a_prefix_that_a_route_has_is_refused(classifier: Classifier, taken: str) -> None:
    with pytest.raises(OptionError, match="is a path of the API"):
        create_app(classifier, Settings(root_path=taken))
