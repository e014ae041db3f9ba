"""Texts in windows have the same bits in every batch, order, precision and with any threads."""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import transformers
from claims import promise
from claims.promise import Logits, System
from tiny_checkpoints import Tiny, TinyFolder, reference_model
from tokenizer_folders import write_wordpiece_folder

from isobatch import Classifier, TextWindows
from isobatch.kernels import supported_precisions
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.types import Precision

MAX_TOKENS = 64
TEXT = "today is a nice day but what about tomorrow film cast better than its plot"
WORDS = TEXT.split()
CPU = torch.device("cpu")

Load = Callable[[str], Classifier]


def some_texts() -> list[str]:
    """Distinct texts, of which one in two is longer than the model, some by many windows."""
    shuffler = random.Random(11)
    lengths = [0, 1, 5, 30, 62, 63, 64, 65, 70, 90, 100, 125, 180, 200, 300, 500]
    return [" ".join(shuffler.choices(WORDS, k=length)) for length in lengths]


TEXTS = some_texts()


@pytest.fixture
def load(tiny_folder: TinyFolder, tmp_path: Path) -> Load:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_folder(Tiny("bert", num_heads=2, head_dim=32, num_labels=3)), folder)
    write_wordpiece_folder(folder, options={"model_max_length": MAX_TOKENS})
    return lambda precision: Classifier.from_pretrained(
        folder, precision=cast("Precision", precision)
    )


def in_windows(classifier: Classifier, how: TextWindows) -> System:
    return lambda texts: classifier.logits(texts, truncation=how)


@pytest.mark.parametrize("precision", supported_precisions(CPU))
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_batch_never_changes_a_long_text(precision: str, pooling: str, load: Load) -> None:
    how = TextWindows(9, pooling)  # type: ignore[arg-type]
    classifier = load(precision)
    system = in_windows(classifier, how)
    assert sum(each.num_windows > 1 for each in classifier(TEXTS, truncation=how)) > 7
    assert promise.changed_in_random_batches(system, TEXTS, seed=1) == []
    assert promise.changed_by_order(system, TEXTS, seed=2) == []
    assert promise.changed_needles(system, TEXTS[-1], TEXTS[:-1], seed=3, rounds=5) == []
    assert promise.changed_by_threads(system, TEXTS) == []


def test_layer_by_layer_too(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    system = in_windows(load("fp32"), TextWindows(9))
    assert promise.changed_in_random_batches(system, TEXTS, seed=1, rounds=1) == []
    assert promise.changed_by_threads(system, TEXTS) == []


@pytest.mark.parametrize("max_batch_tokens", [1, 100, 5000])
def test_the_plan_never_changes_a_long_text(max_batch_tokens: int, load: Load) -> None:
    classifier = load("fp32")
    expected = classifier.logits(TEXTS, truncation="window")
    classifier.max_batch_tokens = max_batch_tokens
    assert promise.same_bits(classifier.logits(TEXTS, truncation="window"), expected)


@pytest.mark.parametrize("precision", supported_precisions(CPU))
def test_a_text_that_fits_has_the_bits_that_it_has_without_windows(
    precision: str, load: Load
) -> None:
    classifier = load(precision)
    fits = [each for each in TEXTS if not classifier(each).truncated]
    assert 3 < len(fits) < len(TEXTS)
    cut = dict(zip(fits, classifier.logits(fits), strict=True))
    together = classifier.logits(TEXTS, truncation="window")
    for text, row in zip(TEXTS, together, strict=True):
        if text in cut:
            assert torch.equal(torch.from_numpy(row), torch.from_numpy(cut[text]))


def test_a_mean_over_padded_windows_fails_the_same_test(load: Load) -> None:
    """As transformers' users compute it: all windows of all texts of a batch are padded."""
    folder = load("fp32").folder
    model, tokenizer = reference_model(folder), transformers.AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def system(texts: Sequence[str]) -> Logits:
        inputs = tokenizer(
            list(texts),
            truncation=True,
            stride=9,
            return_overflowing_tokens=True,
            padding=True,
            return_tensors="pt",
        )
        owners = inputs.pop("overflow_to_sample_mapping")
        logits = model(**inputs).logits
        rows = [logits[owners == index].mean(0) for index in range(len(texts))]
        return np.stack([row.numpy() for row in rows])

    long = [each for each in TEXTS if len(each.split()) > MAX_TOKENS]
    ours = load("fp32").logits(long, truncation=TextWindows(9))
    assert np.abs(promise.alone(system, long) - ours).max() < 1e-5
    assert promise.changed_in_random_batches(system, TEXTS, seed=1, rounds=1) != []
