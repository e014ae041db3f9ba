"""A server that classifies texts over HTTP, as a Subject.

It knows the dialects, and nothing of what runs behind them. Invariant: one batch is one request,
and whatever is not a proper answer is an error with the server's own words.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from isobatch.audit.subject import Answers, Subject
from isobatch.audit.targets.answers import AnswerReader, read_scores
from isobatch.audit.targets.http_dialects import (
    DIALECTS,
    Dialect,
    dialect_named,
    dialect_of_path,
)
from isobatch.audit.targets.http_server import HttpServer, RefusedError
from isobatch.audit.targets.vocabulary import ORDINARY
from isobatch.errors import AuditError, OptionError

MAX_TEXTS = 32
"""Texts of one request where the server does not say how many it takes: TEI's default."""

MAX_IN_FLIGHT = 64


def open_http(url: str, *, api_key: str | None = None, dialect: str | None = None) -> Subject:
    """Find out which dialect the server answers at `url`, and whether it gives logits.

    A path in `url`, or `dialect`, decides it; else each is tried, in the order of DIALECTS.
    """
    server = HttpServer(url, api_key)
    info = server.info()
    max_texts = _max_texts(info)
    places = _places(server.path, dialect, url)
    asking, first = _first_answer(server, places, ORDINARY[: min(2, max_texts)])
    gives_scores = asking.gives_scores(first, ORDINARY[: min(2, max_texts)])

    def answer(texts: Sequence[str]) -> Answers:
        if len(texts) > max_texts:
            raise OptionError(
                f"{server.url}: takes {max_texts} texts a request, got {len(texts)}; "
                "ask with smaller batches"
            )
        return asking.answer(texts)

    def in_flight(batches: Sequence[Sequence[str]]) -> list[Answers]:
        if not batches:
            return []
        with ThreadPoolExecutor(min(len(batches), MAX_IN_FLIGHT), "in-flight") as threads:
            return list(threads.map(answer, batches))

    return Subject(
        name=server.url,
        kind="http",
        answer=answer,
        labels=asking.read.labels,
        gives_scores=gives_scores,
        facts=asking.facts() | _facts(info) | {"answers": "scores" if gives_scores else "logits"},
        in_flight=in_flight,
        max_texts=max_texts,
    )


class _Asking:
    """One way of asking a server: dialect, path, and whether logits are asked for."""

    def __init__(self, server: HttpServer, dialect: Dialect, path: str, raw: bool) -> None:
        self.read = AnswerReader(f"{server.url}{path}")
        self._server, self._dialect, self._path, self._raw = server, dialect, path, raw

    def answer(self, texts: Sequence[str], raw: bool | None = None) -> Answers:
        """One request; `raw` asks otherwise than usual."""
        body = self._dialect.body(texts, self._raw if raw is None else raw)
        content = self._server.post(self._path, body)
        return self.read(self._dialect.rows(content, len(texts)), len(texts))

    def gives_scores(self, first: Answers, texts: Sequence[str]) -> bool:
        """Whether `first` are scores: none but scores were given, or the question is ignored."""
        if not self._raw or read_scores(first):
            return True
        if ((first < 0) | (first > 1)).any():
            return False
        try:
            return bool(np.array_equal(first, self.answer(texts, raw=False)))
        except AuditError:
            return False

    def facts(self) -> dict[str, str]:
        return {"server": f"{self._server.url}{self._path}", "dialect": self._dialect.title}


def _places(path: str, dialect: str | None, url: str) -> list[tuple[Dialect, str]]:
    """Dialects and paths to try, in order."""
    if dialect is not None:
        named = dialect_named(dialect)
        return [(named, each) for each in ((path,) if path else named.paths)]
    if not path:
        return [(each, place) for each in DIALECTS for place in each.paths]
    found = dialect_of_path(path)
    if found is None:
        known = ", ".join(place for each in DIALECTS for place in each.paths)
        raise OptionError(
            f"{url}: {path} is no known path ({known}); say which dialect it speaks with "
            f"--dialect {'|'.join(each.name for each in DIALECTS)}"
        )
    return [(found, path)]


def _first_answer(
    server: HttpServer, places: Sequence[tuple[Dialect, str]], texts: Sequence[str]
) -> tuple[_Asking, Answers]:
    """The first way of asking that is answered properly, and its answer: logits if they are had."""
    failures: dict[str, str] = {}
    for dialect, path in places:
        for raw in (True, False):
            asking = _Asking(server, dialect, path, raw)
            try:
                return asking, asking.answer(texts)
            except RefusedError as error:
                failures.setdefault(f"{path} ({dialect.title})", str(error))
                if error.absent:
                    break
            except AuditError as error:
                failures.setdefault(f"{path} ({dialect.title})", str(error))
    listed = "; ".join(f"{place}: {reason}" for place, reason in failures.items())
    raise AuditError(f"{server.url}: answers no known dialect properly. {listed}")


def _max_texts(info: dict[str, Any]) -> int:
    stated = info.get("max_client_batch_size")
    return stated if isinstance(stated, int) and stated > 0 else MAX_TEXTS


def _facts(info: dict[str, Any]) -> dict[str, str]:
    """What TEI's /info, and Isobatch's own, say of the model."""
    names = {"model_id": "model", "model_dtype": "dtype", "precision": "precision"}
    names |= {"device": "device", "version": "server version"}
    return {title: str(info[name]) for name, title in names.items() if info.get(name) is not None}
