"""The promise over HTTP: under load every response has the bits of its text computed alone.

Many clients use three APIs, with texts alone and in batches, while others send invalid requests or
disconnect. The claim is also checked on a server whose model pads and forgets the mask, where it
must fail.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from claims.promise import Logits, alone, random_texts, same_bits
from numpy.typing import NDArray
from serve.served import running, write_tiny
from tiny_checkpoints import Tiny, pad_right, reference_model

from isobatch import Classifier
from isobatch.checkpoint import bundled_folder
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.types import Encoding

SEED = 20260611
NUM_CLIENTS = 32

Ask = Callable[[httpx.AsyncClient, list[str], Sequence[str]], Awaitable[list[list[float]]]]


async def ask_predict(
    client: httpx.AsyncClient, texts: list[str], labels: Sequence[str]
) -> list[list[float]]:
    body = {"inputs": texts if len(texts) > 1 else texts[0], "raw_scores": True}
    answer = (await client.post("/predict", json=body)).raise_for_status().json()
    return [_by_label(row, labels) for row in (answer if len(texts) > 1 else [answer])]


async def ask_inference(
    client: httpx.AsyncClient, texts: list[str], labels: Sequence[str]
) -> list[list[float]]:
    body = {"inputs": texts, "parameters": {"function_to_apply": "none"}}
    answer = (await client.post("/", json=body)).raise_for_status().json()
    return [_by_label(row, labels) for row in answer]


async def ask_classify(
    client: httpx.AsyncClient, texts: list[str], labels: Sequence[str]
) -> list[list[float]]:
    body = {"input": texts, "use_activation": False}
    answer = (await client.post("/v1/classify", json=body)).raise_for_status().json()
    return [each["probs"] for each in answer["data"]]


def _by_label(row: list[dict[str, object]], labels: Sequence[str]) -> list[float]:
    scores = {str(each["label"]): each["score"] for each in row}
    return [float(str(scores[label])) for label in labels]


DIALECTS: tuple[Ask, ...] = (ask_predict, ask_inference, ask_classify)


async def disturb(client: httpx.AsyncClient, texts: Sequence[str], seed: int) -> None:
    """Act as other clients: invalid requests, too many texts, early disconnects."""
    chooser = random.Random(seed)
    for _ in range(6):
        kind = chooser.randrange(3)
        if kind == 0:
            answer = await client.post("/predict", json={"inputs": {"no": chooser.choice(texts)}})
            assert answer.status_code == 422
        elif kind == 1:
            answer = await client.post("/predict", json={"inputs": ["x"] * 40})
            assert answer.status_code == 422
        else:
            leaving = client.post("/predict", json={"inputs": chooser.choices(texts, k=8)})
            with suppress(TimeoutError):
                await asyncio.wait_for(leaving, 0.003)


async def changed_under_load(
    url: str, classifier: Classifier, texts: Sequence[str], *, disturbed: bool, seed: int = SEED
) -> list[str]:
    """Send every text twice, in requests of 1 to 8, from NUM_CLIENTS clients at once.

    Returns the texts whose logits are not those that the classifier itself gives for them alone.
    """

    def system(batch: list[str]) -> Logits:
        encodings = [each for each in classifier.tokenize(batch) if isinstance(each, Encoding)]
        return np.array(classifier.forward(encodings), dtype=np.float32)

    expected = dict(zip(texts, alone(system, texts), strict=True))
    chooser = random.Random(seed)
    asked = chooser.sample([*texts, *texts], 2 * len(texts))
    changed: list[str] = []

    async def work(client: httpx.AsyncClient) -> None:
        while asked:
            batch = [asked.pop() for _ in range(min(chooser.choice((1, 1, 2, 8)), len(asked)))]
            ask = chooser.choice(DIALECTS)
            for text, row in zip(batch, await ask(client, batch, classifier.labels), strict=True):
                equal = row == expected[text].tolist()
                assert equal == same_bits(np.float32(row), expected[text])
                changed.extend([] if equal else [text])

    limits = httpx.Limits(max_connections=2 * NUM_CLIENTS)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=60, trust_env=False
    ) as client:
        workers = [work(client) for _ in range(NUM_CLIENTS)]
        others = [disturb(client, texts, seed + n) for n in range(8)] if disturbed else []
        await asyncio.gather(*workers, *others)
    return changed


@pytest.fixture(scope="module")
def texts() -> list[str]:
    tokens = json.loads((bundled_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    words = [word for word in tokens["model"]["vocab"] if word.isalpha() and word.isascii()]
    return random_texts(words, 120, SEED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"), Tiny("bert", num_labels=3))


@pytest.mark.parametrize("cached", [0, 1000])
@pytest.mark.parametrize("disturbed", [False, True])
def test_load_changes_no_bit(folder: Path, texts: list[str], cached: int, disturbed: bool) -> None:
    classifier = Classifier.from_pretrained(folder)
    with running(create_app(classifier, Settings(cache_size=cached))) as url:
        changed = asyncio.run(changed_under_load(url, classifier, texts, disturbed=disturbed))
    assert changed == []


@pytest.mark.usefixtures("two_threads")
def test_load_changes_no_bit_of_the_bundled_model(texts: list[str]) -> None:
    classifier = Classifier.from_pretrained(precision="auto")
    with running(create_app(classifier, Settings(cache_size=0))) as url:
        changed = asyncio.run(changed_under_load(url, classifier, texts[:40], disturbed=True))
    assert changed == []


class PaddingClassifier(Classifier):
    """A model that breaks the promise: rows padded to the longest, and the mask forgotten."""

    @torch.no_grad()
    def _outputs(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        self.reference = getattr(self, "reference", None) or reference_model(self.folder)
        ids, _ = pad_right([list(encoding.input_ids) for encoding in encodings], 0)
        logits: NDArray[np.float32] = self.reference(ids).logits.numpy()
        return logits


def test_the_claim_fails_for_a_server_that_pads(folder: Path, texts: list[str]) -> None:
    classifier = PaddingClassifier.from_pretrained(folder)
    with running(create_app(classifier, Settings(cache_size=0))) as url:
        changed = asyncio.run(changed_under_load(url, classifier, texts, disturbed=False))
    assert changed
