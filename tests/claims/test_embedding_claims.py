"""Batch invariance of vectors and their similarities: every pooling, family, precision and order.

Systems with a usual fault must fail the same functions: a mean over pads, the row of a pad, and
padded batches as such, which sentence-transformers computes.
"""

from collections.abc import Callable
from functools import cache
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
from embedding_folders import SIZE, write_embedding_folder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling
from tiny_checkpoints import FAMILIES

from isobatch import Embedder
from isobatch.kernels import supported_precisions
from isobatch.types import Precision

WORDS = ("nice", "day", "a", "the", "film", "plot", "of", "and", "today", "never", "its", "cast")
TEXTS = random_texts(WORDS, 40, 3)
PRECISIONS = supported_precisions(torch.device("cpu"))
POOLINGS = ("cls", "last", "mean", "max")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model of a family with every kind of module."""

    @cache
    def made(model_type: str) -> Path:
        modules = [
            Pooling(SIZE, ["cls", "max", "mean", "lasttoken"]),
            Dense(4 * SIZE, 40),
            LayerNorm(40),
            Normalize(),
        ]
        return write_embedding_folder(tmp_path_factory.mktemp("model"), model_type, modules)

    return made


@pytest.fixture(scope="module")
def mean_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedding_folder(tmp_path_factory.mktemp("mean"), "bert")


@pytest.fixture(scope="module")
def bundled_embedder() -> Callable[..., Embedder]:
    """Vectors of 384 numbers by trained weights."""
    return cache(lambda **options: Embedder.from_pretrained(**options))


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_gives_equal_bits_in_any_batch(
    model_type: str, folder_of: Callable[[str], Path]
) -> None:
    system = Embedder.from_pretrained(folder_of(model_type))
    assert changed_in_random_batches(system, TEXTS, seed=1) == []
    assert changed_by_order(system, TEXTS, seed=2) == []
    assert changed_needles(system, TEXTS[0], TEXTS[1:], seed=3, rounds=10) == []
    assert changed_by_threads(system, TEXTS[:12], (1, 2, 4)) == []


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_pooling_and_precision_gives_equal_bits_in_any_batch(
    precision: Precision, pooling: str, bundled_embedder: Callable[..., Embedder]
) -> None:
    texts = TEXTS[:16]
    system = bundled_embedder(pooling=pooling, precision=precision, normalize=True)
    assert changed_in_random_batches(system, texts, seed=4, rounds=2) == []
    assert changed_by_order(system, texts, seed=5, rounds=2) == []
    assert changed_by_threads(system, texts[:4], (1, 2, 4)) == []


def test_lists_streams_and_files_give_the_bits_of_a_single_text(
    bundled_embedder: Callable[..., Embedder],
) -> None:
    embedder = bundled_embedder(pooling="mean", precision="fp32", normalize=True)
    expected = alone(embedder, TEXTS)
    for found in (
        embedder.predict(TEXTS),
        list(embedder.predict_stream(TEXTS)),
        embedder.predict_or_errors(TEXTS),
    ):
        assert same_bits(np.stack([each.vector for each in found]), expected)
    assert same_bits(np.stack([embedder(text) for text in TEXTS]), expected)


def test_a_text_in_windows_has_equal_bits_in_any_batch(mean_folder: Path) -> None:
    embedder = Embedder.from_pretrained(mean_folder, truncation="window")
    assert max(each.num_windows for each in embedder.predict(TEXTS)) > 1
    assert changed_in_random_batches(embedder, TEXTS, seed=6) == []


# ------------------------------------------------------------------------------- the similarities


def test_equal_texts_have_the_similarity_that_they_have_alone(
    bundled_embedder: Callable[..., Embedder],
) -> None:
    """A text that is found twice is exactly as near to a third one, and to itself 1.0."""
    embedder = bundled_embedder(pooling="mean", precision="int8", normalize=True)
    query, text = embedder(TEXTS[0]), TEXTS[1]
    expected = embedder.similarity(query, embedder(text))
    for others in (TEXTS[2:9], TEXTS[20:], []):
        found = embedder([*others, text, *others[::-1], text])
        scores = embedder.similarity(query, found)[0]
        assert scores[len(others)].tobytes() == scores[-1].tobytes() == expected.tobytes()
        assert embedder.similarity(found[-1], embedder(text)).tolist() == [[1.0]]
        assert np.diagonal(embedder.similarity(found, found)).tolist() == [1.0] * len(found)


def test_sentence_transformers_fails_the_same_test(mean_folder: Path) -> None:
    """The control: its cosine of a query and a text depends on the texts in its batch."""
    model = SentenceTransformer(str(mean_folder), device="cpu", local_files_only=True)
    system = sentence_transformers(mean_folder)
    together, query = system(TEXTS), alone(system, TEXTS[:1])
    separate = alone(system, TEXTS)
    changed = model.similarity(query, together) != model.similarity(query, separate)
    assert changed.any()


# ---------------------------------------------------------------------- systems that must fail


def padded_hidden_states(folder: Path) -> Callable[[list[str]], tuple[torch.Tensor, torch.Tensor]]:
    """The last layer of transformers on a padded batch, and its mask."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def compute(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            return model(**batch).last_hidden_state, batch["attention_mask"]

    return compute


def mean_over_pads(folder: Path) -> System:
    hidden_states = padded_hidden_states(folder)
    return lambda texts: hidden_states(texts)[0].mean(dim=1).numpy()


def last_row_of_a_padded_batch(folder: Path) -> System:
    """The row of a pad, where a text is shorter than the longest."""
    hidden_states = padded_hidden_states(folder)
    return lambda texts: hidden_states(texts)[0][:, -1].numpy()


def masked_mean_of_a_padded_batch(folder: Path) -> System:
    """The usual way, right within rounding."""
    hidden_states = padded_hidden_states(folder)

    def compute(texts: list[str]) -> Logits:
        hidden, mask = hidden_states(texts)
        weights = mask[:, :, None].float()
        return ((hidden * weights).sum(1) / weights.sum(1)).numpy()

    return compute


def sentence_transformers(folder: Path) -> System:
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return lambda texts: model.encode(texts, show_progress_bar=False)


@pytest.mark.parametrize(
    "faulty",
    [
        mean_over_pads,
        last_row_of_a_padded_batch,
        masked_mean_of_a_padded_batch,
        sentence_transformers,
    ],
)
def test_a_system_with_a_usual_fault_fails_the_same_functions(
    faulty: Callable[[Path], System], mean_folder: Path
) -> None:
    system = faulty(mean_folder)
    assert changed_in_random_batches(system, TEXTS, seed=1) != []
    assert changed_needles(system, TEXTS[0], TEXTS[1:], seed=3, rounds=10) != []


@pytest.mark.parametrize("faulty", [mean_over_pads, last_row_of_a_padded_batch])
def test_such_a_fault_is_no_rounding_error(
    faulty: Callable[[Path], System], mean_folder: Path
) -> None:
    """Vectors move by a tenth, which no test of a text alone can show."""
    system = faulty(mean_folder)
    moved = abs(system(TEXTS) - alone(system, TEXTS)).max(axis=1)
    assert np.median(moved) > 0.1
