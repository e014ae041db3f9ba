"""The promise over HTTP for every task: under load, all bits are those of the Python API alone.

Clients ask for ranks, vectors, entities and labels of their own at once, in requests of one text
and of several. Each claim is also checked on a server whose model pads and forgets the mask, where
it must fail.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import transformers
from claims.promise import random_texts
from serve.served import running
from serve.served_kinds import write_embedder, write_nli, write_reranker
from tiny_checkpoints import Tiny, pad_right
from tiny_token_models import write_token_checkpoint

from isobatch import Classifier, Embedder, Reranker, TokenClassifier, ZeroShotClassifier
from isobatch.batching.cache import Output
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.tasks import Pipeline
from isobatch.types import Encoding

SEED = 20261126
NUM_CLIENTS = 16
QUERY = "is it a nice day"
LABELS = ["day", "film", "not sure"]

Ask = Callable[[httpx.AsyncClient, list[str]], Awaitable[list[object]]]
"""Texts of one request → what the server says of each."""


async def posted(client: httpx.AsyncClient, path: str, **body: object) -> Any:
    return (await client.post(path, json=body)).raise_for_status().json()


async def ask_rerank(client: httpx.AsyncClient, texts: list[str]) -> list[object]:
    ranks = await posted(client, "/rerank", query=QUERY, texts=texts, raw_scores=True)
    return [each["score"] for each in sorted(ranks, key=lambda each: each["index"])]


async def ask_documents(client: httpx.AsyncClient, texts: list[str]) -> list[object]:
    body = {"query": QUERY, "documents": texts, "use_activation": False}
    ranks = (await posted(client, "/v1/rerank", **body))["results"]
    return [each["relevance_score"] for each in sorted(ranks, key=lambda each: each["index"])]


async def ask_embed(client: httpx.AsyncClient, texts: list[str]) -> list[object]:
    return [*await posted(client, "/embed", inputs=texts)]


async def ask_embeddings(client: httpx.AsyncClient, texts: list[str]) -> list[object]:
    answer = await posted(client, "/v1/embeddings", input=texts)
    return [each["embedding"] for each in answer["data"]]


async def ask_entities(client: httpx.AsyncClient, texts: list[str]) -> list[object]:
    parameters = {"aggregation_strategy": "none", "ignore_labels": []}
    rows = await posted(client, "/", inputs=texts, parameters=parameters)
    return [[(each["entity"], each["score"]) for each in row] for row in rows]


async def ask_labels(client: httpx.AsyncClient, texts: list[str]) -> list[object]:
    parameters = {"candidate_labels": LABELS}
    rows = await posted(client, "/", inputs=texts, parameters=parameters)
    return [[(each["label"], each["score"]) for each in row] for row in rows]


def of_reranker(pipeline: Pipeline[Any], text: str) -> object:
    assert isinstance(pipeline, Reranker)
    return pipeline.rank(QUERY, [text])[0].logit


def of_embedder(pipeline: Pipeline[Any], text: str) -> object:
    assert isinstance(pipeline, Embedder)
    return pipeline(text).tolist()


def of_tagger(pipeline: Pipeline[Any], text: str) -> object:
    assert isinstance(pipeline, TokenClassifier)
    entities = pipeline(text, "none", ignore_labels=()).entities
    return [(each.label, each.score) for each in entities]


def of_nli(pipeline: Pipeline[Any], text: str) -> object:
    assert isinstance(pipeline, Classifier)
    return [*ZeroShotClassifier.from_classifier(pipeline)(text, LABELS).ranked]


def write_random_tagger(folder: Path) -> Path:
    return write_token_checkpoint(folder, Tiny("bert", num_labels=5))


KINDS: dict[str, tuple[Callable[[Path], Path], type[Pipeline[Any]], Any, tuple[Ask, ...]]] = {
    "ranks": (write_reranker, Reranker, of_reranker, (ask_rerank, ask_documents)),
    "vectors": (write_embedder, Embedder, of_embedder, (ask_embed, ask_embeddings)),
    "entities": (write_random_tagger, TokenClassifier, of_tagger, (ask_entities,)),
    "labels": (write_nli, Classifier, of_nli, (ask_labels,)),
}


async def changed_under_load(
    url: str, expected: dict[str, object], dialects: Sequence[Ask]
) -> list[str]:
    """Send every text twice, in requests of 1 to 5, from NUM_CLIENTS clients at once.

    Returns the texts for which the server says something else than `expected`.
    """
    chooser = random.Random(SEED)
    asked = chooser.sample([*expected, *expected], 2 * len(expected))
    changed: list[str] = []

    async def work(client: httpx.AsyncClient) -> None:
        while asked:
            batch = [asked.pop() for _ in range(min(chooser.choice((1, 1, 2, 5)), len(asked)))]
            answers = await chooser.choice(dialects)(client, batch)
            pairs = zip(batch, answers, strict=True)
            changed.extend(text for text, answer in pairs if answer != expected[text])

    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        await asyncio.gather(*(work(client) for _ in range(NUM_CLIENTS)))
    return changed


def texts_of(folder: Path) -> list[str]:
    tokens = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    words = [word for word in tokens["model"]["vocab"] if word.isalpha() and word.isascii()]
    return random_texts(words, 60, SEED)


@pytest.mark.parametrize("cached", [0, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_load_changes_no_bit(kind: str, cached: int, tmp_path: Path) -> None:
    write, load, alone, dialects = KINDS[kind]
    pipeline = load.from_pretrained(write(tmp_path))
    expected = {text: alone(pipeline, text) for text in texts_of(tmp_path)}
    with running(create_app(pipeline, Settings(cache_size=cached))) as url:
        changed = asyncio.run(changed_under_load(url, expected, dialects))
    assert changed == []


def padding(kind: type[Pipeline[Any]], folder: Path) -> type[Pipeline[Any]]:
    """The class with a model that breaks the promise: rows are padded, and the mask forgotten."""
    automatic = {
        Embedder: transformers.AutoModel,
        TokenClassifier: transformers.AutoModelForTokenClassification,
    }.get(kind, transformers.AutoModelForSequenceClassification)
    reference = automatic.from_pretrained(folder, dtype=torch.float32).eval()

    class Padding(kind):  # type: ignore[misc, valid-type]
        @torch.no_grad()
        def _compute(self, encodings: Sequence[Encoding]) -> list[Output]:
            ids, _ = pad_right([list(encoding.input_ids) for encoding in encodings], 0)
            types, _ = pad_right([list(encoding.token_type_ids) for encoding in encodings], 0)
            made = reference(ids, token_type_ids=types)
            if kind is Embedder:
                rows = torch.nn.functional.normalize(made.last_hidden_state.mean(dim=1))
            else:
                rows = made.logits
            if kind is not TokenClassifier:
                return [*rows.numpy()]
            lengths = map(len, encodings)
            return [row[:length] for row, length in zip(rows.numpy(), lengths, strict=True)]

    return Padding


@pytest.mark.parametrize("kind", KINDS)
def test_the_claim_fails_for_a_server_that_pads(kind: str, tmp_path: Path) -> None:
    write, load, alone, dialects = KINDS[kind]
    folder = write(tmp_path)
    pipeline = padding(load, folder).from_pretrained(folder)
    expected = {text: alone(pipeline, text) for text in texts_of(folder)}
    with running(create_app(pipeline, Settings(cache_size=0))) as url:
        changed = asyncio.run(changed_under_load(url, expected, dialects))
    assert changed
