"""Tests that no answer of your system depends on which other texts are in its batch.

Run: `pip install pytest "isobatch[audit]"`, then `pytest test_batch_invariance.py`; audit.yml does.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from isobatch import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Classifier,
    assert_batch_invariant,
    assert_gradient_invariant,
)

classifier = Classifier.from_pretrained()


def predict(texts: Sequence[str]) -> object:
    """Your system: a list of texts in, a row of logits, of scores or a vector for each out."""
    return classifier.logits(texts)


def test_answers_do_not_depend_on_the_batch() -> None:
    assert_batch_invariant(predict)


@pytest.mark.parametrize("texts", [["", "a"], ["😀 " * 12, "a"]], ids=["empty", "emoji"])
def test_nor_do_those_of_unusual_texts(texts: list[str]) -> None:
    assert_batch_invariant(predict, texts, batch_sizes=(2, 8))


tokenizer = AutoTokenizer.from_pretrained()
model = AutoModelForSequenceClassification.from_pretrained()
model.requires_grad_(False)
model.classifier.requires_grad_(True)  # the last layer only, so that the test takes a second


def step(texts: Sequence[str], labels: Sequence[int], micro_batch_size: int) -> nn.Module:
    """Your training step, with gradient accumulation: returns the module that has the gradients."""
    model.zero_grad()
    for start in range(0, len(texts), micro_batch_size):
        part = slice(start, start + micro_batch_size)
        batch = tokenizer(list(texts[part]), padding=True, return_tensors="pt")
        labels_of_part = torch.tensor(labels[part])
        loss = nn.functional.cross_entropy(model(**batch).logits, labels_of_part, reduction="sum")
        (loss / len(texts)).backward()  # all texts of the step, not of the micro-batch
    return model.classifier


def test_gradients_are_the_mean_of_their_texts() -> None:
    assert_gradient_invariant(step)
