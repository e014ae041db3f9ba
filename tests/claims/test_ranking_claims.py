"""A top 10 is the same in every batch, order, number of threads and precision.

That of the reference is not: scores of a sigmoid in float32 or bfloat16 tie where logits do not,
and a padded batch gives equal texts other logits.
"""

import random
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from claims.promise import random_texts, threads
from pair_checkpoints import write_classifier, write_modular_reranker
from tiny_checkpoints import Tiny
from torch import Tensor

from isobatch import Reranker
from isobatch.kernels import supported_precisions
from isobatch.tasks import Ranked
from isobatch.types import Precision

WORDS = ("good", "day", "a", "the", "film", "plot", "is", "not", "nice", "today", "never", "cast")
QUERY = "is it a good film?"
TEXTS = random_texts(WORDS, 48, 11)
TEXTS += TEXTS[3:9]
"""The last six are there twice."""

TOP = 10
SUPPORTED = supported_precisions(torch.device("cpu"))
SHAPE = {"head_dim": 16, "intermediate_size": 128}
LENGTH = 256
Loaded = Callable[[str, Precision], Reranker]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A reranker with a head of transformers, or one of modules with mean pooling."""
    place = tmp_path_factory.mktemp("rerankers")
    plain = write_classifier(place / "plain", Tiny("bert", num_labels=1, **SHAPE))
    modular = write_modular_reranker(place / "modular", Tiny("xlm-roberta", **SHAPE), "mean")
    folders = {"plain": plain, "modular": modular}
    return cache(
        lambda kind, precision: Reranker.from_pretrained(folders[kind], precision=precision)
    )


def rank_bits(ranked: Sequence[Ranked]) -> list[tuple[str, bytes]]:
    """The texts of a ranking, with every bit of their numbers."""
    return [(each.text, np.array([each.score, each.logit]).tobytes()) for each in ranked]


each_kind = pytest.mark.parametrize("kind", ["plain", "modular"])
each_precision = pytest.mark.parametrize("precision", SUPPORTED)


@each_kind
@each_precision
def test_a_top_10_is_the_same_in_every_order_and_number_of_threads(
    kind: str, precision: Precision, loaded: Loaded
) -> None:
    reranker = loaded(kind, precision)
    expected = rank_bits(reranker.rank(QUERY, TEXTS, TOP))
    shuffler = random.Random(5)
    for count in (1, 2):
        with threads(count):
            for _ in range(4):
                shuffled = shuffler.sample(TEXTS, len(TEXTS))
                assert rank_bits(reranker.rank(QUERY, shuffled, TOP)) == expected


@each_kind
@each_precision
def test_a_top_10_is_the_same_in_every_batch(
    kind: str, precision: Precision, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = loaded(kind, precision)
    ranked = reranker.rank(QUERY, TEXTS)
    for max_batch_tokens in (1, 97, 640, 100_000):
        monkeypatch.setattr(reranker, "max_batch_tokens", max_batch_tokens)
        assert reranker.rank(QUERY, TEXTS) == ranked
    alone = [reranker((QUERY, text)) for text in TEXTS]
    for each in ranked:
        assert (each.score, (each.logit,)) == (alone[each.index].score, alone[each.index].logits)


@each_kind
@each_precision
def test_other_candidates_change_no_score(kind: str, precision: Precision, loaded: Loaded) -> None:
    """Scores are never scaled by the set: those of a part are those of the whole."""
    reranker = loaded(kind, precision)
    whole = rank_bits(reranker.rank(QUERY, TEXTS[:48]))
    shuffler = random.Random(6)
    for _ in range(5):
        part = shuffler.sample(TEXTS[:48], shuffler.randint(1, 48))
        expected = [each for each in whole if each[0] in part]
        assert rank_bits(reranker.rank(QUERY, part)) == expected


@each_kind
def test_equal_texts_are_ranked_by_their_places(kind: str, loaded: Loaded) -> None:
    indices = [each.index for each in loaded(kind, "fp32").rank(QUERY, TEXTS)]
    for first, second in zip(range(3, 9), range(48, 54), strict=True):
        assert indices.index(second) == indices.index(first) + 1


# ---------------------------------------------------------------------------------- the inverses


def top_by(scores: Tensor, order: Sequence[int]) -> list[int]:
    """The top 10 of texts that come in this order, by scores: ties stay in the order."""
    return sorted(order, key=lambda index: -float(scores[index]))[:TOP]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_by_saturated_scores_a_top_10_depends_on_the_order(
    dtype: torch.dtype, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By logits it does not, though all scores are 1.0: the logits are 40 and more."""
    reranker = loaded("plain", "fp32")
    pairs = [(QUERY, text) for text in TEXTS[:48]]
    lowest = float(reranker.logits(pairs).min())
    head = type(reranker._model.head)
    whole = head.forward

    def shifted(own: torch.nn.Module, *inputs: object) -> Tensor:
        logits: Tensor = whole(own, *inputs)  # type: ignore[arg-type]
        return logits - lowest + 40.0

    monkeypatch.setattr(head, "forward", shifted)
    logits = torch.from_numpy(reranker.logits(pairs))[:, 0]
    assert len(set(logits.tolist())) == len(pairs)
    saturated = torch.sigmoid(logits.to(dtype))
    assert set(saturated.tolist()) == {1.0}
    order = list(range(len(pairs)))
    assert top_by(saturated, order) != top_by(saturated, order[::-1])
    ranked = [reranker.rank(QUERY, texts, TOP) for texts in (TEXTS[:48], TEXTS[:48][::-1])]
    assert {each.score for each in ranked[0]} == {1.0}
    assert rank_bits(ranked[0]) == rank_bits(ranked[1])


def test_a_padded_reference_gives_equal_texts_other_places(loaded: Loaded) -> None:
    """In padded batches of eight, in the order of the texts, as a server computes them."""
    folder = loaded("plain", "fp32").folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    ).eval()

    @torch.inference_mode()
    def logits_of(texts: Sequence[str]) -> Tensor:
        parts = [texts[start : start + 8] for start in range(0, len(texts), 8)]
        padded = [
            tokenizer([QUERY] * len(part), part, padding=True, truncation=True, return_tensors="pt")
            for part in parts
        ]
        return torch.cat([model(**each).logits[:, 0] for each in padded])

    assert not torch.equal(logits_of(TEXTS[3:9]), logits_of(TEXTS)[3:9])
    together = logits_of(TEXTS)
    ranked = sorted(range(len(TEXTS)), key=lambda index: -float(together[index]))
    places = [(ranked.index(first), ranked.index(first + 45)) for first in range(3, 9)]
    assert any(second != first + 1 for first, second in places)


def test_a_reference_in_bfloat16_has_another_top_10_in_another_order(loaded: Loaded) -> None:
    """Of a model that is as sure as trained ones are: most of its scores tie."""
    folder = loaded("plain", "fp32").folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.bfloat16
    ).eval()
    model.classifier.bias.data += 6.0

    @torch.inference_mode()
    def top_of(texts: Sequence[str]) -> list[str]:
        padded = tokenizer(
            [QUERY] * len(texts), texts, padding=True, truncation=True, return_tensors="pt"
        )
        scores = torch.sigmoid(model(**padded).logits[:, 0]).float()
        return [texts[index] for index in top_by(scores, range(len(texts)))]

    shuffler = random.Random(5)
    tops = [top_of(shuffler.sample(TEXTS[:48], 48)) for _ in range(4)]
    assert any(top != tops[0] for top in tops)
