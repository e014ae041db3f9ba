"""Entities never depend on a batch: logits of every token, and what is read from them.

Each claim holds for TokenClassifier, in windows too, and fails for an engine that pads without a
mask, or that takes the offsets of a text for those of its padded row.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from claims.promise import (
    System,
    changed_by_order,
    changed_by_threads,
    changed_in_random_batches,
    changed_needles,
)
from numpy.typing import NDArray
from tiny_checkpoints import FAMILIES, Tiny
from tiny_token_models import write_token_checkpoint
from tokenizer_folders import SENTENCES

from isobatch import TokenClassifier
from isobatch.batching.cache import OutputCache
from isobatch.kernels import supported_precisions
from isobatch.tasks import AGGREGATIONS
from isobatch.tasks.entities import find_entities, read_tags
from isobatch.types import Precision

WORDS = " ".join(SENTENCES).split()
TEXTS = [
    " ".join(WORDS[first : first + length])
    for first, length in enumerate([1, 2, 3, 3, 3, 5, 8, 9, 13, 14, 20, 26, 26, 31])
]
LONG = [" ".join(WORDS * 4), " ".join(WORDS[::-1] * 3)]
"""Texts of several windows: the tiny tokenizers allow 48 tokens."""

Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a random token classifier of a family."""
    return cache(
        lambda family: write_token_checkpoint(tmp_path_factory.mktemp(family), Tiny(family))
    )


def one_row_a_text(rows: list[NDArray[np.float32]]) -> NDArray[np.object_]:
    """The logits of texts of different lengths as what the promises take."""
    array = np.empty(len(rows), object)
    for index, row in enumerate(rows):
        array[index] = row
    return array


def logits_of(classifier: TokenClassifier) -> System:
    return lambda texts: one_row_a_text(classifier.forward(classifier.tokenize(texts)))


def entities_of(classifier: TokenClassifier) -> System:
    """All numbers and texts of the entities, by their representation, which is exact."""

    def call(texts: list[str]) -> NDArray[np.object_]:
        predictions = [classifier(texts, aggregation) for aggregation in AGGREGATIONS]
        return np.array([repr(each).encode() for each in zip(*predictions, strict=True)], np.bytes_)

    return call


def padded_without_mask(folder: Path) -> System:
    """The engine without the property: rows are padded, and the pads are attended to."""
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def call(texts: list[str]) -> NDArray[np.object_]:
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        logits = model(inputs.input_ids).logits.numpy()
        lengths = inputs.attention_mask.sum(1).tolist()
        return one_row_a_text([row[:length] for row, length in zip(logits, lengths, strict=True)])

    return call


def padded_left(classifier: TokenClassifier) -> System:
    """The engine whose offsets are those of the text, and whose logits those of a padded row."""
    tags = read_tags(classifier.labels)

    def call(texts: list[str]) -> NDArray[np.bytes_]:
        encodings = classifier.tokenize(texts)
        width = max(map(len, encodings))
        found = []
        for encoding, logits in zip(encodings, classifier.forward(encodings), strict=True):
            shifted = np.pad(logits, ((width - len(logits), 0), (0, 0)))[: len(logits)]
            found.append(repr(find_entities(shifted, encoding, tags)).encode())
        return np.array(found, np.bytes_)

    return call


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_tokens_never_depend_on_the_batch(family: str, folder: Folder) -> None:
    system = logits_of(TokenClassifier.from_pretrained(folder(family)))
    texts = [*TEXTS, *LONG]
    assert changed_in_random_batches(system, texts, seed=0, rounds=2) == []
    assert changed_by_order(system, texts, seed=1, rounds=2) == []
    assert changed_by_threads(system, texts) == []


@pytest.mark.parametrize("precision", supported_precisions(torch.device("cpu")))
def test_they_do_not_in_any_precision(precision: Precision, folder: Folder) -> None:
    classifier = TokenClassifier.from_pretrained(folder("bert"), precision=precision)
    system, texts = logits_of(classifier), [*TEXTS, *LONG]
    assert changed_in_random_batches(system, texts, seed=2, rounds=2) == []
    assert changed_needles(system, LONG[0], TEXTS, seed=3, rounds=5) == []


def test_they_do_not_by_kernels_of_torch(
    each_way_to_compute: str, folder: Folder, two_threads: None
) -> None:
    system = logits_of(TokenClassifier.from_pretrained(folder("roberta")))
    assert changed_in_random_batches(system, [*TEXTS, *LONG], seed=4, rounds=2) == []


def test_entities_and_scores_do_not(folder: Folder) -> None:
    classifier = TokenClassifier.from_pretrained(folder("bert"))
    system, texts = entities_of(classifier), [*TEXTS[::2], LONG[0]]
    assert changed_in_random_batches(system, texts, seed=5, rounds=1) == []
    assert changed_by_order(system, texts, seed=6, rounds=1) == []


def test_batch_size_stream_and_cache_do_not(folder: Folder) -> None:
    texts = [*LONG, *TEXTS, LONG[0]]
    classifier = TokenClassifier.from_pretrained(folder("bert"))
    expected = [classifier(text) for text in texts]
    small = TokenClassifier.from_pretrained(folder("bert"), max_batch_tokens=1)
    cache = OutputCache()
    assert small(texts) == expected
    assert list(classifier.predict_stream(texts)) == expected
    assert classifier.predict_or_errors(texts, cache=cache) == expected
    first = cache.hits
    assert first >= 1, "a text is there twice"
    assert classifier.predict_or_errors(texts, cache=cache) == expected
    assert cache.hits == first + len(texts)


def test_an_engine_that_attends_to_pads_fails(folder: Folder) -> None:
    system = padded_without_mask(folder("bert"))
    assert changed_in_random_batches(system, TEXTS, seed=0, rounds=1) != []


def test_an_engine_that_shifts_offsets_by_pads_fails(folder: Folder) -> None:
    system = padded_left(TokenClassifier.from_pretrained(folder("bert")))
    assert changed_in_random_batches(system, TEXTS, seed=0, rounds=1) != []
