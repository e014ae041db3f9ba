"""A server that classifies texts over HTTP as a Subject: TEI's API, vLLM's, or Hugging Face's.

Invariant: one batch is one request of single texts, never of pairs; any other response is an error
with the server's own message; and no key and no password of an address is ever in a message.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from isobatch.audit.subject import FloatFormat, Outputs, Subject
from isobatch.audit.targets.http_client import HttpServer, RefusedError
from isobatch.audit.targets.http_dialects import DIALECTS, HttpDialect
from isobatch.audit.targets.output_reader import SAMPLE_TEXTS, OutputReader, look_like_scores
from isobatch.drawing.display_text import counted
from isobatch.errors import AuditError, OptionError

MAX_TEXTS = 32
"""Maximum texts of one request where the server does not state it: TEI's default."""

MAX_IN_FLIGHT = 64


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
    kinds = {"classes": "scores" if gives_scores else "logits", "numbers": "vectors"}
    answers = kinds.get(endpoint.read.reads, endpoint.read.reads)

    def predict(texts: Sequence[str]) -> Outputs:
        if len(texts) > max_texts:
            raise OptionError(
                f"{server.url}: takes {counted(max_texts, 'text')} per request, got {len(texts)}; "
                "send smaller batches"
            )
        return endpoint.predict(texts)

    def truncated(text: str) -> bool:
        return endpoint.post([text])[1]

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
        reads=endpoint.read.reads,
        token_size=endpoint.read.token_size,
        dtype=FloatFormat.named(info.get("model_dtype")),
        facts=endpoint.facts | _facts(info) | {"answers": answers},
        in_flight=in_flight,
        truncated=truncated,
        max_texts=max_texts,
    )


class _Endpoint:
    """One way to use a server: dialect, path, and whether logits are requested."""

    def __init__(self, server: HttpServer, dialect: HttpDialect, path: str, raw: bool) -> None:
        self.read = OutputReader(f"{server.url}{path}")
        self.facts = {"server": f"{server.url}{path}", "dialect": dialect.title}
        self._server, self._dialect, self._path, self._raw = server, dialect, path, raw

    def predict(self, texts: Sequence[str], raw: bool | None = None) -> Outputs:
        """Send one request; `raw` overrides whether logits are requested."""
        content, _ = self.post(texts, raw)
        return self.read(self._dialect.rows(content, len(texts)), len(texts))

    def post(self, texts: Sequence[str], raw: bool | None = None) -> tuple[Any, bool]:
        """Send one request; return its content, and whether it says that a text was truncated."""
        body = self._dialect.body(texts, self._raw if raw is None else raw)
        return self._server.post(self._path, body)

    def gives_scores(self, first: Outputs, texts: Sequence[str]) -> bool:
        """Find out whether `first` are scores: logits are refused, or not available."""
        if look_like_scores(first):
            return True
        if ((first < 0) | (first > 1)).any():
            return False
        if not self._raw:
            return True
        try:
            return bool(np.array_equal(first, self.predict(texts, raw=False)))
        except AuditError:
            return False


def _places(path: str, dialect: str | None, url: str) -> list[tuple[HttpDialect, str]]:
    """Return the dialects and paths to try, in order."""
    if dialect is not None:
        chosen = next((each for each in DIALECTS if each.name == dialect), None)
        if chosen is None:
            names = ", ".join(f"{each.name} ({each.title})" for each in DIALECTS)
            raise OptionError(f"unknown dialect {dialect!r}; use {names}")
        return [(chosen, each) for each in ((path,) if path else chosen.paths)]
    if not path:
        return [(each, place) for each in DIALECTS for place in each.paths]
    # A path that one of them is known for is tried with that first, any other with each in order.
    known = [each for each in DIALECTS if any(p != "/" and path.endswith(p) for p in each.paths)]
    if "/models/" in path and not path.endswith(":predict"):
        known = [each for each in DIALECTS if each.name == "hf"]
    others = [each for each in DIALECTS if each not in known]
    return [(each, path) for each in (*known, *others)]


def _first_outputs(
    server: HttpServer, places: Sequence[tuple[HttpDialect, str]], texts: Sequence[str]
) -> tuple[_Endpoint, Outputs]:
    """Find the first endpoint with a proper response, and its outputs: logits if available."""
    failures: dict[str, str] = {}
    absent: set[str] = set()
    for dialect, path in places:
        for raw in (True, False) if dialect.has_raw else (False,):
            if path in absent:
                break
            endpoint = _Endpoint(server, dialect, path, raw)
            try:
                return endpoint, endpoint.predict(texts)
            except AuditError as error:
                failures.setdefault(f"{path} ({dialect.name}, {dialect.title})", str(error))
                if isinstance(error, RefusedError) and error.absent:
                    absent.add(path)
    listed = "; ".join(f"{place}: {reason}" for place, reason in failures.items())
    names = ", ".join(each.name for each in DIALECTS)
    raise AuditError(
        f"{server.url}: no known dialect gets a valid response. {listed}. If it has another path, "
        f"name it in the address, with --dialect ({names})"
    )


def _facts(info: dict[str, Any]) -> dict[str, str]:
    """Return what /info, as of TEI and Isobatch, states about the model."""
    names = {"model_id": "model", "model_dtype": "dtype", "precision": "precision"}
    names |= {"device": "device", "version": "server version", "arithmetic": "arithmetic"}
    return {title: str(info[name]) for name, title in names.items() if info.get(name) is not None}
