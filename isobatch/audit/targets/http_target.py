"""A server that classifies texts over HTTP as a Subject: TEI's API, vLLM's, or Hugging Face's.

Invariant: one batch is one request of single texts, never of pairs; any other response is an error
with the server's own message; and no key and no password of an address is ever in a message.
"""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from isobatch.audit.subject import AnswerError, FloatFormat, Outputs, Subject
from isobatch.audit.targets.output_reader import SAMPLE_TEXTS, OutputReader, look_like_scores
from isobatch.audit.targets.tokenizer_traits import audit_library
from isobatch.errors import AuditError, OptionError

MAX_TEXTS = 32
"""Maximum texts of one request where the server does not state it: TEI's default."""

MAX_IN_FLIGHT = 64

TIMEOUT_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
_BUSY = (429, 502, 503, 504)
"""Statuses that say nothing about the texts."""
_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between retries while the server is busy: it limits concurrent requests."""
_LOCAL = ("localhost", "127.0.0.1", "::1")

_EVERY_LABEL = 100_000
"""top_k of a request: more labels than any classifier has."""


@dataclass(frozen=True, slots=True)
class HttpDialect:
    """The request and response of one API.

    name: the value of --dialect. paths: where servers have it, the usual one first. body: of texts,
    for logits (raw) or scores. rows: those of a response to N texts.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    body: Callable[[Sequence[str], bool], dict[str, Any]]
    rows: Callable[[Any, int], Any]


def _predict_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    """Put each text in a list of its own: TEI reads ["a", "b"] as one pair."""
    return {"inputs": [[text] for text in texts], "raw_scores": raw, "truncate": True}


def _classify_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    """Leave use_activation out for scores: it is then the server's choice, which is scores."""
    body: dict[str, Any] = {"input": list(texts)}
    return body | {"use_activation": False, "truncate_prompt_tokens": -1} if raw else body


def _inference_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    parameters: dict[str, Any] = {"top_k": _EVERY_LABEL, "truncation": True}
    if raw:
        parameters["function_to_apply"] = "none"
    return {"inputs": list(texts), "parameters": parameters}


def _lists_of_scores(response: Any, num_texts: int) -> Any:
    """Read lists of labels and scores; one text's labels may come without a list around them."""
    bare = isinstance(response, list) and all(isinstance(each, dict) for each in response)
    return [response] if num_texts == 1 and bare else response


def _data(response: Any, num_texts: int) -> Any:
    """Read `data` by its `index`, each with probs; or lists of labels and scores, as infinity's."""
    try:
        data = response["data"]
        if all(isinstance(each, list) for each in data):
            return data
        ordered = sorted(data, key=lambda each: int(each["index"]))
        return [each["probs"] for each in ordered]
    except (KeyError, TypeError, ValueError) as error:
        raise AuditError(f"its response has no data with probs: {str(response)[:120]}") from error


DIALECTS = (
    HttpDialect("tei", "text-embeddings-inference", ("/predict",), _predict_body, _lists_of_scores),
    HttpDialect("vllm", "vLLM and SGLang", ("/v1/classify", "/classify"), _classify_body, _data),
    HttpDialect("hf", "Hugging Face Inference", ("/",), _inference_body, _lists_of_scores),
)
"""In the order in which an address without a path is tried."""


def open_http(url: str, *, api_key: str | None = None, dialect: str | None = None) -> Subject:
    """Find out which dialect the server at `url` has, and whether it returns logits.

    A path in `url`, or `dialect`, decides it; else each is tried, in the order of DIALECTS.
    """
    server = HttpServer(url, api_key)
    info = server.info()
    stated = info.get("max_client_batch_size")
    max_texts = stated if isinstance(stated, int) and stated > 0 else MAX_TEXTS
    texts = SAMPLE_TEXTS[: min(2, max_texts)]
    endpoint, first = _first_outputs(server, _places(server.path, dialect, url), texts)
    gives_scores = endpoint.gives_scores(first, texts)

    def predict(texts: Sequence[str]) -> Outputs:
        if len(texts) > max_texts:
            raise OptionError(
                f"{server.url}: takes {max_texts} texts a request, got {len(texts)}; "
                "send smaller batches"
            )
        return endpoint.predict(texts)

    def in_flight(batches: Sequence[Sequence[str]]) -> list[Outputs]:
        if not batches:
            return []
        with ThreadPoolExecutor(min(len(batches), MAX_IN_FLIGHT), "in-flight") as threads:
            return list(threads.map(predict, batches))

    return Subject(
        name=server.url,
        kind="http",
        predict=predict,
        labels=endpoint.read.labels,
        gives_scores=gives_scores,
        dtype=FloatFormat.named(info.get("model_dtype")),
        facts=endpoint.facts | _facts(info) | {"answers": "scores" if gives_scores else "logits"},
        in_flight=in_flight,
        max_texts=max_texts,
    )


class _Endpoint:
    """One way to use a server: dialect, path, and whether logits are requested."""

    def __init__(self, server: "HttpServer", dialect: HttpDialect, path: str, raw: bool) -> None:
        self.read = OutputReader(f"{server.url}{path}")
        self.facts = {"server": f"{server.url}{path}", "dialect": dialect.title}
        self._server, self._dialect, self._path, self._raw = server, dialect, path, raw

    def predict(self, texts: Sequence[str], raw: bool | None = None) -> Outputs:
        """Send one request; `raw` overrides whether logits are requested."""
        body = self._dialect.body(texts, self._raw if raw is None else raw)
        content = self._server.post(self._path, body)
        return self.read(self._dialect.rows(content, len(texts)), len(texts))

    def gives_scores(self, first: Outputs, texts: Sequence[str]) -> bool:
        """Find out whether `first` are scores: logits are refused, or not available."""
        if not self._raw or look_like_scores(first):
            return True
        if ((first < 0) | (first > 1)).any():
            return False
        try:
            return bool(np.array_equal(first, self.predict(texts, raw=False)))
        except AuditError:
            return False


def _places(path: str, dialect: str | None, url: str) -> list[tuple[HttpDialect, str]]:
    """Return the dialects and paths to try, in order."""
    if dialect is not None:
        named = next((each for each in DIALECTS if each.name == dialect), None)
        if named is None:
            known = ", ".join(f"{each.name} ({each.title})" for each in DIALECTS)
            raise OptionError(f"unknown dialect {dialect!r}; use {known}")
        return [(named, each) for each in ((path,) if path else named.paths)]
    if not path:
        return [(each, place) for each in DIALECTS for place in each.paths]
    for each in DIALECTS:
        if any(place != "/" and path.endswith(place) for place in each.paths):
            return [(each, path)]
        if each.name == "hf" and "/models/" in path:
            return [(each, path)]
    paths = ", ".join(place for each in DIALECTS for place in each.paths)
    raise OptionError(
        f"{url}: {path} is not a known path ({paths}); name its dialect with "
        f"--dialect {'|'.join(each.name for each in DIALECTS)}"
    )


def _first_outputs(
    server: "HttpServer", places: Sequence[tuple[HttpDialect, str]], texts: Sequence[str]
) -> tuple[_Endpoint, Outputs]:
    """Find the first endpoint with a proper response, and its outputs: logits if available."""
    failures: dict[str, str] = {}
    for dialect, path in places:
        for raw in (True, False):
            endpoint = _Endpoint(server, dialect, path, raw)
            try:
                return endpoint, endpoint.predict(texts)
            except RefusedError as error:
                failures.setdefault(f"{path} ({dialect.title})", str(error))
                if error.absent:
                    break
            except AuditError as error:
                failures.setdefault(f"{path} ({dialect.title})", str(error))
    listed = "; ".join(f"{place}: {reason}" for place, reason in failures.items())
    raise AuditError(f"{server.url}: no known dialect gets a proper response. {listed}")


def _facts(info: dict[str, Any]) -> dict[str, str]:
    """Return what /info, as of TEI and Isobatch, states about the model."""
    names = {"model_id": "model", "model_dtype": "dtype", "precision": "precision"}
    names |= {"device": "device", "version": "server version"}
    return {title: str(info[name]) for name, title in names.items() if info.get(name) is not None}


class RefusedError(AnswerError):
    """The server responded with another status than 200, and not because it is busy."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.absent = status in (404, 405)


class HttpServer:
    """A client of one server; `url` is without path and credentials, `path` that of the address.

    No connection stays open between requests, as an audit has no end at which it would be closed.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._httpx = audit_library("httpx")
        try:
            address = self._httpx.URL(url)
        except self._httpx.InvalidURL as error:
            raise OptionError(f"{url}: is not an address: {error}") from error
        if not address.host:
            raise OptionError(f"{url}: names no host; an address is http://host:port")
        self.path = address.path.rstrip("/")
        self.url = str(address.copy_with(path="", query=None, fragment=None, userinfo=b""))
        self.url = self.url.rstrip("/")
        headers = {"cache-control": "no-cache"}  # a cached response would hide a fault
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._client = self._httpx.Client(
            base_url=address.copy_with(path="/", query=None, fragment=None),
            headers=headers,
            timeout=self._httpx.Timeout(TIMEOUT_SECONDS, connect=_CONNECT_SECONDS, pool=None),
            limits=self._httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=address.host not in _LOCAL,  # a proxy cannot reach this machine itself
        )

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a request; RefusedError for any status but 200, AuditError if the server is busy."""
        response = self._send("POST", path, json=body)
        for seconds in _PAUSES:
            if response.status_code not in _BUSY:
                break
            time.sleep(seconds)
            response = self._send("POST", path, json=body)
        if response.status_code in (401, 403):
            raise OptionError(
                f"{self.url}{path}: refuses the key (status {response.status_code}: "
                f"{_reason(response)}); give the right one with --api-key"
            )
        if response.status_code != 200:
            message = f"{self.url}{path}: status {response.status_code}: {_reason(response)}"
            if response.status_code in _BUSY:
                raise AuditError(message)
            raise RefusedError(message, response.status_code)
        try:
            return response.json()
        except ValueError as error:
            raise AuditError(
                f"{self.url}{path}: its response is not JSON: {response.text[:120]!r}"
            ) from error

    def info(self) -> dict[str, Any]:
        """Return the content of GET /info; {} where there is none, as not every server has it."""
        response = self._send("GET", "/info")
        try:
            content = response.json() if response.status_code == 200 else {}
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            return self._client.request(method, path, **options)
        except self._httpx.ConnectError as error:
            raise OptionError(
                f"{self.url}: no server responds there ({error}); is it running?"
            ) from error
        except self._httpx.TimeoutException as error:
            raise AuditError(f"{self.url}{path}: no response in time ({error})") from error
        except self._httpx.HTTPError as error:
            raise AuditError(f"{self.url}{path}: {type(error).__name__}: {error}") from error


def _reason(response: Any) -> str:
    """Return the server's own error message, wherever its API puts it."""
    try:
        content = response.json()
    except ValueError:
        return str(response.text[:200]) or "without a message"
    found = content
    for name in ("error", "detail", "message"):
        found = found.get(name, found) if isinstance(found, dict) else found
    return found if isinstance(found, str) else json.dumps(found)[:200]
