"""Zero-shot logits have the same bits in every batch of texts and labels.

Under multi_label so have the scores of a label, whichever other labels are asked for. The reference
in padded batches fails the same tests.
"""

import random
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from claims.promise import random_texts, threads
from pair_checkpoints import NLI_LABELS, write_classifier
from tiny_checkpoints import FAMILIES, Tiny

from isobatch import ZeroShotClassifier
from isobatch.kernels import supported_precisions
from isobatch.tasks import ZeroShotPrediction
from isobatch.types import Precision

WORDS = ("good", "day", "a", "the", "film", "plot", "is", "not", "nice", "today", "never", "cast")
TEXTS = random_texts(WORDS, 12, 4)
LABELS = ["day", "a film, with a plot", "nice", "never sure", "good", "the cast of a film"]
SHAPE = {"head_dim": 16, "intermediate_size": 128}

SUPPORTED = supported_precisions(torch.device("cpu"))
CASES: list[tuple[str, Precision]] = [(family, "fp32") for family in FAMILIES]
CASES += [("bert", precision) for precision in SUPPORTED[1:]]

Loaded = Callable[[str, Precision], ZeroShotClassifier]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    @cache
    def folder(family: str) -> str:
        tiny = Tiny(family, num_labels=3, **SHAPE)
        return str(write_classifier(tmp_path_factory.mktemp("nli"), tiny, NLI_LABELS))

    return cache(
        lambda family, precision: ZeroShotClassifier.from_pretrained(
            folder(family), precision=precision
        )
    )


def bits(prediction: ZeroShotPrediction) -> bytes:
    """Every bit of a prediction's numbers, in the order of the labels."""
    numbers = (*prediction.nli_logits, prediction.logits, tuple(prediction.scores.values()))
    return b"".join(np.array(each).tobytes() for each in numbers)


def bits_by_label(prediction: ZeroShotPrediction) -> dict[str, bytes]:
    """The bits of each label's logits and score."""
    labels = zip(prediction.scores.items(), prediction.nli_logits, prediction.logits, strict=True)
    return {
        label: np.array([*raw, logit, score]).tobytes() for (label, score), raw, logit in labels
    }


each_case = pytest.mark.parametrize(("family", "precision"), CASES)
each_mode = pytest.mark.parametrize("multi_label", [False, True], ids=("single", "multi"))


@each_mode
@each_case
def test_alone_and_in_any_batch_of_texts_with_any_threads(
    family: str,
    precision: Precision,
    multi_label: bool,
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zero_shot = loaded(family, precision)
    asked = zero_shot.for_labels(LABELS, multi_label=multi_label)
    expected = {text: bits(asked(text)) for text in TEXTS}
    assert len(set(expected.values())) == len(TEXTS)
    shuffler = random.Random(8)
    for count, max_batch_tokens in ((1, 1), (1, 333), (2, 333), (2, 100_000)):
        monkeypatch.setattr(asked, "max_batch_tokens", max_batch_tokens)
        with threads(count):
            part = shuffler.sample(TEXTS, shuffler.randint(6, len(TEXTS)))
            assert [bits(each) for each in asked(part)] == [expected[text] for text in part]


@each_mode
@each_case
def test_labels_of_other_texts_change_nothing(
    family: str, precision: Precision, multi_label: bool, loaded: Loaded
) -> None:
    zero_shot = loaded(family, precision)
    shuffler = random.Random(9)
    lists = [shuffler.sample(LABELS, shuffler.randint(1, len(LABELS))) for _ in TEXTS]
    together = zero_shot(TEXTS, lists, multi_label=multi_label)
    for text, own, found in zip(TEXTS, lists, together, strict=True):
        assert bits(found) == bits(zero_shot(text, own, multi_label=multi_label))


@each_case
def test_a_label_has_the_same_score_among_any_others_under_multi_label(
    family: str, precision: Precision, loaded: Loaded
) -> None:
    zero_shot = loaded(family, precision)
    shuffler = random.Random(10)
    for text in TEXTS[:4]:
        whole = bits_by_label(zero_shot(text, LABELS, multi_label=True))
        for size in range(1, len(LABELS) + 1):
            some = shuffler.sample(LABELS, size)
            found = bits_by_label(zero_shot(text, some, multi_label=True))
            assert found == {label: whole[label] for label in some}


@each_case
def test_the_order_of_labels_changes_no_score(
    family: str, precision: Precision, loaded: Loaded
) -> None:
    """Not even of a softmax over all: its sum is exact, and rounded once."""
    zero_shot = loaded(family, precision)
    for text in TEXTS[:4]:
        whole = bits_by_label(zero_shot(text, LABELS))
        assert bits_by_label(zero_shot(text, LABELS[::-1])) == whole


# ---------------------------------------------------------------------------------- the inverses


def test_without_multi_label_other_labels_change_every_score_but_no_logit(loaded: Loaded) -> None:
    zero_shot = loaded("bert", "fp32")
    whole, some = (zero_shot(TEXTS[0], labels) for labels in (LABELS, LABELS[:3]))
    assert all(some.scores[label] > whole.scores[label] for label in LABELS[:3])
    assert some.nli_logits == whole.nli_logits[:3]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_the_pipeline_in_padded_batches_fails_the_same_tests(family: str, loaded: Loaded) -> None:
    folder = str(loaded(family, "fp32").folder)
    theirs = transformers.pipeline("zero-shot-classification", folder, device="cpu")
    alone = [_by_label(theirs(text, LABELS, multi_label=True)) for text in TEXTS]
    together = [_by_label(each) for each in theirs(TEXTS, LABELS, multi_label=True, batch_size=16)]
    assert together != alone
    for one, other in zip(together, alone, strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), abs=1e-5)


def _by_label(result: dict[str, list[object]]) -> dict[object, object]:
    pairs = dict(zip(result["labels"], result["scores"], strict=True))
    return {label: pairs[label] for label in LABELS}
