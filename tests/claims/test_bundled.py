"""The promise on the bundled model in every precision: texts in, by every way of the package.

Random words everywhere, and real texts where the development data is at hand (environment variable
ISOBATCH_DATA, or ../shared/data).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

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
    asked: Precision = request.param
    return asked


@pytest.fixture(scope="module")
def classifier(precision: Precision) -> Classifier:
    return Classifier.from_pretrained(precision=precision)


@pytest.fixture(scope="module")
def in_fp32() -> Classifier:
    return Classifier.from_pretrained()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    tokens = json.loads((bundled_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    words = [word for word in tokens["model"]["vocab"] if word.isalpha() and word.isascii()]
    return random_texts(words, 100, SEED)


@pytest.fixture(scope="module")
def padded() -> System:
    """The reference: transformers, padded to the longest, with its mask: right, but not exact."""
    folder = bundled_folder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    ).eval()

    @torch.no_grad()
    def logits(batch: list[str]) -> Logits:
        inputs = tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
        answer: Logits = model(**inputs).logits.numpy()
        return answer

    return logits


def test_random_batches_change_no_bit(classifier: Classifier, texts: list[str]) -> None:
    assert changed_in_random_batches(classifier.logits, texts, SEED) == []


def test_random_batches_change_a_padded_model(padded: System, texts: list[str]) -> None:
    assert changed_in_random_batches(padded, texts, SEED, rounds=1) != []


def test_needle_keeps_its_bits(classifier: Classifier, texts: list[str]) -> None:
    assert changed_needles(classifier.logits, NEEDLE, texts[:40], SEED) == []


def test_needle_changes_in_a_padded_model(padded: System, texts: list[str]) -> None:
    assert changed_needles(padded, NEEDLE, texts[:40], SEED, trials=10) != []


def test_order_changes_no_bit(classifier: Classifier, texts: list[str]) -> None:
    assert changed_by_order(classifier.logits, texts, SEED) == []


def test_a_lost_order_is_noticed(in_fp32: Classifier, texts: list[str]) -> None:
    def sorted_and_left_so(batch: list[str]) -> Logits:
        return in_fp32.logits(sorted(batch, key=len))

    assert changed_by_order(sorted_and_left_so, texts, SEED, trials=1) != []


def test_threads_change_no_bit(classifier: Classifier, texts: list[str]) -> None:
    assert changed_by_threads(classifier.logits, texts[:50]) == []


def test_a_sum_split_by_threads_is_noticed(texts: list[str]) -> None:
    def split_sum(batch: list[str]) -> Logits:
        parts = np.random.default_rng(SEED).normal(size=1000).astype(np.float32)
        chunks = np.array_split(parts, torch.get_num_threads())
        total = sum((chunk.cumsum()[-1] for chunk in chunks), np.float32(0))
        return np.full((len(batch), 2), total, dtype=np.float32)

    assert changed_by_threads(split_sum, texts[:2], (1, 3)) != []


@pytest.mark.parametrize("max_batch_tokens", [1, 7, 100, 100_000])
def test_the_token_budget_changes_no_bit(
    classifier: Classifier, precision: Precision, texts: list[str], max_batch_tokens: int
) -> None:
    other = Classifier.from_pretrained(precision=precision, max_batch_tokens=max_batch_tokens)
    assert same_bits(other.logits(texts[:50]), classifier.logits(texts[:50]))


def test_stream_and_call_give_the_bits_of_logits(classifier: Classifier, texts: list[str]) -> None:
    expected = [tuple(row) for row in alone(classifier.logits, texts).tolist()]
    assert [answer.logits for answer in classifier.predict_stream(iter(texts))] == expected
    assert [answer.logits for answer in classifier(texts)] == expected
    assert [classifier(text).logits for text in texts] == expected


def test_scores_do_not_depend_on_the_batch(classifier: Classifier, texts: list[str]) -> None:
    assert classifier(texts) == [classifier(text) for text in texts]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "padding", [{"padding": True}, {"padding": "max_length"}, {"pad_to_multiple_of": 16}]
)
@pytest.mark.parametrize("gradients", [True, False])
def test_the_drop_in_face_gives_the_same_bits(
    in_fp32: Classifier, texts: list[str], side: str, padding: dict[str, object], gradients: bool
) -> None:
    options = {"padding": True, **padding, "padding_side": side}
    tokenizer = AutoTokenizer.from_pretrained()
    model = AutoModelForSequenceClassification.from_pretrained()
    batch = texts[:12]
    inputs = tokenizer(batch, truncation=True, return_tensors="pt", **options)
    with torch.set_grad_enabled(gradients):
        logits = model(**inputs).logits
    assert (logits.grad_fn is not None) == gradients
    assert same_bits(logits.detach().numpy(), alone(in_fp32.logits, batch))


def test_the_command_gives_the_same_bits(
    classifier: Classifier, precision: Precision, texts: list[str]
) -> None:
    command = [sys.executable, "-m", "isobatch", "classify", "--precision", precision]
    ran = subprocess.run(command, input="\n".join(texts).encode(), capture_output=True, check=True)
    answers = [json.loads(line) for line in ran.stdout.decode().splitlines()]
    assert [answer["text"] for answer in answers] == texts
    printed = np.array([answer["logits"] for answer in answers], dtype=np.float32)
    assert same_bits(printed, alone(classifier.logits, texts))


def test_real_texts_change_no_bit(classifier: Classifier) -> None:
    data = Path(os.environ.get("ISOBATCH_DATA", "../shared/data"))
    files = (data / "sst2/dev.tsv", data / "agnews/test.tsv")
    if missing := [str(path) for path in files if not path.is_file()]:
        pytest.skip(f"the development texts are not here: {', '.join(missing)}")
    texts = [
        line.rpartition("\t")[0]
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()[1:151]
    ]
    assert changed_in_random_batches(classifier.logits, sorted(set(texts)), SEED, rounds=1) == []
