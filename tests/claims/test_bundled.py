"""Batch invariance of the bundled model in every precision, through every API of the package.

On random words everywhere, and on real texts where the development data is available (environment
variable ISOBATCH_DATA, or ../shared/data).
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from claims.promise import (
    Logits,
    System,
    alone,
    changed_by_order,
    changed_by_threads,
    changed_in_random_batches,
    changed_needles,
    random_texts,
    same_bits,
)

from isobatch import AutoModelForSequenceClassification, AutoTokenizer, Classifier
from isobatch.checkpoint import bundled_folder
from isobatch.kernels import supported_precisions
from isobatch.types import Precision

NEEDLE = "Today is a nice day!"
SEED = 20260101


@pytest.fixture(scope="module", params=supported_precisions(torch.device("cpu")))
def precision(request: pytest.FixtureRequest) -> Precision:
    name: Precision = request.param
    return name


@pytest.fixture(scope="module")
def classifier(bundled_classifier: Callable[[str], Classifier], precision: Precision) -> Classifier:
    return bundled_classifier(precision)


@pytest.fixture(scope="module")
def in_fp32(bundled_classifier: Callable[[str], Classifier]) -> Classifier:
    return bundled_classifier("fp32")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    tokens = json.loads((bundled_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    words = [word for word in tokens["model"]["vocab"] if word.isalpha() and word.isascii()]
    return random_texts(words, 100, SEED)


@pytest.fixture(scope="module")
def expected(classifier: Classifier, texts: list[str]) -> Logits:
    """Each text in a call of its own."""
    return alone(classifier.logits, texts)


@pytest.fixture(scope="module")
def padded() -> System:
    """transformers, padded to the longest, with its mask: correct, but not batch-invariant."""
    folder = bundled_folder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    ).eval()

    @torch.no_grad()
    def logits(batch: list[str]) -> Logits:
        inputs = tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
        result: Logits = model(**inputs).logits.numpy()
        return result

    return logits


@pytest.mark.usefixtures("two_threads")
def test_random_batches_change_no_bit(classifier: Classifier, texts: list[str]) -> None:
    assert changed_in_random_batches(classifier.logits, texts, SEED) == []


def test_random_batches_change_a_padded_model(padded: System, texts: list[str]) -> None:
    assert changed_in_random_batches(padded, texts, SEED, rounds=1) != []


def test_needle_keeps_its_bits(classifier: Classifier, texts: list[str]) -> None:
    assert changed_needles(classifier.logits, NEEDLE, texts[:40], SEED) == []


def test_needle_changes_in_a_padded_model(padded: System, texts: list[str]) -> None:
    assert changed_needles(padded, NEEDLE, texts[:40], SEED, rounds=10) != []


def test_order_changes_no_bit(classifier: Classifier, texts: list[str]) -> None:
    assert changed_by_order(classifier.logits, texts, SEED) == []


def test_a_lost_order_is_noticed(in_fp32: Classifier, texts: list[str]) -> None:
    def sorted_by_length(batch: list[str]) -> Logits:
        return in_fp32.logits(sorted(batch, key=len))

    assert changed_by_order(sorted_by_length, texts, SEED, rounds=1) != []


def test_threads_change_no_bit(classifier: Classifier, texts: list[str]) -> None:
    counts = sorted({1, 2, len(os.sched_getaffinity(0))})
    assert changed_by_threads(classifier.logits, texts[:50], counts) == []


def test_a_sum_split_by_threads_is_noticed(texts: list[str]) -> None:
    def split_sum(batch: list[str]) -> Logits:
        parts = np.random.default_rng(SEED).normal(size=1000).astype(np.float32)
        chunks = np.array_split(parts, torch.get_num_threads())
        total = sum((chunk.cumsum()[-1] for chunk in chunks), np.float32(0))
        return np.full((len(batch), 2), total, dtype=np.float32)

    assert changed_by_threads(split_sum, texts[:2], (1, 3)) != []


@pytest.mark.parametrize("max_batch_tokens", [1, 7, 100, 100_000])
def test_the_token_budget_changes_no_bit(
    classifier: Classifier, texts: list[str], expected: Logits, max_batch_tokens: int
) -> None:
    other = copy(classifier)
    other.max_batch_tokens = max_batch_tokens
    assert same_bits(other.logits(texts[:50]), expected[:50])


def test_stream_and_call_give_the_prediction_of_a_text_alone(
    classifier: Classifier, texts: list[str], expected: Logits
) -> None:
    predictions = [classifier(text) for text in texts]
    assert [each.logits for each in predictions] == [tuple(row) for row in expected.tolist()]
    assert list(classifier.predict_stream(iter(texts))) == predictions
    assert classifier(texts) == predictions, "labels, scores and numbers of tokens too"


@pytest.fixture(scope="module")
def drop_in() -> tuple[Any, Any]:
    """Tokenizer and model as transformers' users load them."""
    model = AutoModelForSequenceClassification.from_pretrained()
    return AutoTokenizer.from_pretrained(), model


@pytest.fixture(scope="module")
def expected_in_fp32(in_fp32: Classifier, texts: list[str]) -> Logits:
    return alone(in_fp32.logits, texts[:12])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "padding", [{"padding": True}, {"padding": "max_length"}, {"pad_to_multiple_of": 16}]
)
@pytest.mark.parametrize("gradients", [True, False])
def test_the_drop_in_api_gives_the_same_bits(
    drop_in: tuple[Any, Any],
    texts: list[str],
    expected_in_fp32: Logits,
    side: str,
    padding: dict[str, object],
    gradients: bool,
) -> None:
    tokenizer, model = drop_in
    options = {"padding": True, **padding, "padding_side": side}
    inputs = tokenizer(texts[:12], truncation=True, return_tensors="pt", **options)
    with torch.set_grad_enabled(gradients):
        logits = model(**inputs).logits
    assert (logits.grad_fn is not None) == gradients
    assert same_bits(logits.detach().numpy(), expected_in_fp32)


def test_the_command_gives_the_same_bits(
    precision: Precision, texts: list[str], expected: Logits
) -> None:
    command = [sys.executable, "-m", "isobatch", "classify", "--precision", precision]
    ran = subprocess.run(command, input="\n".join(texts).encode(), capture_output=True, check=True)
    records = [json.loads(line) for line in ran.stdout.decode().splitlines()]
    assert [record["text"] for record in records] == texts
    printed = np.array([record["logits"] for record in records], dtype=np.float32)
    assert same_bits(printed, expected)


def test_real_texts_change_no_bit(classifier: Classifier) -> None:
    data = Path(os.environ.get("ISOBATCH_DATA", "../shared/data"))
    files = (data / "sst2/dev.tsv", data / "agnews/test.tsv")
    if missing := [str(path) for path in files if not path.is_file()]:
        pytest.skip(f"the development texts are missing: {', '.join(missing)}")
    texts = [
        line.rpartition("\t")[0]
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()[1:151]
    ]
    assert changed_in_random_batches(classifier.logits, sorted(set(texts)), SEED, rounds=1) == []
