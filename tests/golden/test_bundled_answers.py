"""The bundled model gives the answers of bundled.json, on every machine and instruction set."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from bundled_answers import FILE, PRECISIONS, SHORT, TEXTS, answers

from isobatch import Classifier
from isobatch.kernels import ARITHMETIC, compiled, selection
from isobatch.kernels.compiled.variants import TORCH, VARIABLE
from isobatch.types import Precision

KEPT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
VARIANTS = [each.name for each in compiled.variant_statuses() if each.problem is None]

each_precision = pytest.mark.parametrize("precision", PRECISIONS)


def test_the_file_has_an_answer_of_this_arithmetic_for_every_text() -> None:
    assert KEPT["arithmetic"] == ARITHMETIC
    for precision in PRECISIONS:
        assert list(KEPT[precision]) == list(TEXTS)
        assert len({each["logits"] for each in KEPT[precision].values()}) == len(TEXTS) - 1, (
            "all differ, but for the two without a word"
        )
        assert KEPT[precision]["cut"]["num_tokens"] == 512
    assert KEPT["fp32"]["positive"] != KEPT["int8"]["positive"]


@each_precision
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_instruction_set_gives_these_answers(
    variant: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, variant)
    if variant == "reference":  # its check of a layer of this size takes several seconds
        monkeypatch.setattr(selection, "block_difference", lambda *_: None)
    classifier = Classifier.from_pretrained(precision=precision)
    if classifier.arithmetic != ARITHMETIC:
        pytest.skip(f"the arithmetic is {classifier.arithmetic}")
    names = SHORT if variant == "reference" else list(TEXTS)
    assert answers(classifier, names) == {name: KEPT[precision][name] for name in names}


@each_precision
def test_the_default_gives_these_answers(
    precision: Precision, bundled_classifier: Callable[[str], Classifier]
) -> None:
    classifier = bundled_classifier(precision)
    if classifier.arithmetic != ARITHMETIC:
        pytest.skip(f"the arithmetic is {classifier.arithmetic}")
    assert answers(classifier) == KEPT[precision]


def test_the_kernels_of_torch_give_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, TORCH)
    classifier = Classifier.from_pretrained(precision="fp32")
    assert classifier.arithmetic.startswith("torch ")
    given = answers(classifier, SHORT)
    for name in ("positive", "pair"):
        assert given[name]["logits"] != KEPT["fp32"][name]["logits"]
    assert {name: each["num_tokens"] for name, each in given.items()} == {
        name: KEPT["fp32"][name]["num_tokens"] for name in SHORT
    }
