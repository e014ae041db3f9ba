"""The compiled embeddings: values and bits, ids without a row, and gradients."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from random_blocks import batch_of, normal, same_bits, threads
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.kernels import EmbeddingWeights, NormWeights, quantize_weight
from isobatch.kernels.compiled import embed, unavailable
from isobatch.kernels.compiled.variants import VARIABLE

pytestmark = pytest.mark.skipif(
    unavailable("fp32") is not None, reason=f"compiled: {unavailable('fp32')}"
)

TABLES = ["float", "int8", "one type", "no types"]
each_table = pytest.mark.parametrize("table", TABLES)


def embeddings(table: str = "float", size: int = 26) -> EmbeddingWeights:
    """Tables of 50 words and 40 positions."""
    word = normal(50, size, seed=1) * torch.logspace(-2, 2, 50)[:, None]
    types = {"one type": normal(1, size, seed=3), "no types": None}
    norm = NormWeights(normal(size, seed=4), normal(size, seed=5), 1e-12)
    return EmbeddingWeights(
        quantize_weight(word) if table == "int8" else word,
        normal(40, size, seed=2),
        types.get(table, normal(2, size, seed=3)),
        norm,
    )


def random_batch(lengths: tuple[int, ...] = (9, 1, 30, 2)) -> PackedBatch:
    batch = batch_of(lengths)
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(50, batch.input_ids.shape, generator=generator)
    types = torch.randint(2, batch.input_ids.shape, generator=generator)
    return replace(batch, input_ids=words, token_type_ids=types)


def exact(weights: EmbeddingWeights, batch: PackedBatch, words: Tensor | None = None) -> Tensor:
    """In float64, written without the package's formula."""
    table = weights.word if isinstance(weights.word, Tensor) else weights.word.dequantize()
    found = (table[batch.input_ids] if words is None else words).double()
    if weights.token_type is not None:
        types = batch.token_type_ids % len(weights.token_type)
        found = found + weights.token_type[types]
    norm = weights.norm
    found = found + weights.position[batch.position_ids]
    return F.layer_norm(
        found, norm.weight.shape, norm.weight.double(), norm.bias.double(), norm.eps
    )


@each_table
@pytest.mark.parametrize("size", [1, 5, 24, 64, 100, 312])
def test_embeddings_are_those_of_the_formula(table: str, size: int) -> None:
    weights, batch = embeddings(table, size), random_batch()
    found = embed(weights, batch)
    assert found.dtype == torch.float32
    if size > 1:  # a single number is its own mean
        close = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(found.double(), exact(weights, batch), **close)
    torch.testing.assert_close(found, weights(batch), rtol=1e-4, atol=1e-4)


@each_table
def test_a_token_has_the_same_bits_alone_and_in_any_batch(table: str) -> None:
    weights, batch = embeddings(table), random_batch()
    together = embed(weights, batch)
    for count in (1, 2, 7):
        with threads(count):
            assert same_bits(embed(weights, batch), together)
    for token in range(len(together)):
        one = slice(token, token + 1)
        single = replace(
            batch_of((1,)),
            input_ids=batch.input_ids[one],
            position_ids=batch.position_ids[one],
            token_type_ids=batch.token_type_ids[one],
        )
        assert same_bits(embed(weights, single), together[one])


@each_table
def test_given_words_replace_those_of_the_ids(table: str) -> None:
    """With the rows that the ids have, they give the same bits; the ids are not read."""
    weights, batch = embeddings(table), random_batch()
    rows = weights.word if isinstance(weights.word, Tensor) else weights.word.dequantize()
    words = rows[batch.input_ids]
    unread = replace(batch, input_ids=torch.full_like(batch.input_ids, -7))
    assert same_bits(embed(weights, unread, words), embed(weights, batch))
    torch.testing.assert_close(
        embed(weights, unread, 2 * words).double(),
        exact(weights, batch, 2 * words),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("words", [normal(3, 26), normal(42, 25), normal(42, 26).double()])
def test_given_words_of_another_shape_or_type_are_rejected(words: Tensor) -> None:
    with pytest.raises(TypeError, match=r"expected torch\.float32 \[42, 26\]"):
        embed(embeddings(), random_batch(), words)


@pytest.mark.parametrize("table", ["float", "int8"])
@pytest.mark.parametrize("token", [0, 17, 41])
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("input_ids", 50),
        ("input_ids", -1),
        ("input_ids", 2**40),
        ("input_ids", -(2**63)),
        ("position_ids", 40),
        ("position_ids", -1),
        ("token_type_ids", 2),
        ("token_type_ids", -1),
    ],
)
def test_an_id_without_a_row_is_rejected_with_its_place(
    name: str, wrong: int, token: int, table: str
) -> None:
    batch = random_batch()
    ids = getattr(batch, name).clone()
    ids[token] = wrong
    with pytest.raises(IndexError, match=rf"^token {token}: .*{wrong}"):
        embed(embeddings(table), replace(batch, **{name: ids}))
    with pytest.raises(IndexError):  # as the formula in torch does
        embeddings(table)(replace(batch, **{name: ids}))


@pytest.mark.parametrize("table", ["one type", "no types"])
def test_types_are_not_read_where_they_cannot_differ(table: str) -> None:
    weights, batch = embeddings(table), random_batch()
    other = replace(batch, token_type_ids=torch.full_like(batch.token_type_ids, 9))
    assert same_bits(embed(weights, other), embed(weights, batch))


def test_the_first_and_the_last_row_of_every_table_can_be_read() -> None:
    weights, batch = embeddings(), batch_of((2,))
    ends = replace(
        batch,
        input_ids=torch.tensor([0, 49]),
        position_ids=torch.tensor([39, 0]),
        token_type_ids=torch.tensor([1, 0]),
    )
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(embed(weights, ends).double(), exact(weights, ends), **close)


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("input_ids", torch.zeros(41, dtype=torch.int64)),
        ("input_ids", torch.zeros(42, dtype=torch.int32)),
        ("position_ids", torch.zeros(1, 42, dtype=torch.int64)),
    ],
)
def test_ids_of_another_shape_or_type_are_rejected(name: str, ids: Tensor) -> None:
    with pytest.raises(TypeError, match=r"expected torch\."):
        embed(embeddings(), replace(random_batch(), **{name: ids}))


def test_ids_in_another_layout_are_read_in_order() -> None:
    weights, batch = embeddings(), random_batch()
    strided = torch.stack([batch.input_ids, batch.input_ids + 1], dim=1)[:, 0]
    assert not strided.is_contiguous()
    assert same_bits(embed(weights, replace(batch, input_ids=strided)), embed(weights, batch))


@each_table
@pytest.mark.parametrize("given", [False, True], ids=["ids", "words"])
def test_gradients_are_those_of_the_formula(table: str, given: bool) -> None:
    weights, batch = embeddings(table), random_batch()
    words = normal(42, 26, seed=8) if given else None
    tensors = [weights.word, weights.position, weights.token_type, *weights.norm[:2], words]
    leaves = [each.requires_grad_() for each in tensors if isinstance(each, Tensor)]
    factor = normal(42, 26, seed=9)
    found = embed(weights, batch, words)
    assert found.requires_grad
    with torch.no_grad():
        assert same_bits(embed(weights, batch, words), found.detach())
    options = {"allow_unused": True}
    ours = torch.autograd.grad((found * factor).sum(), leaves, **options)
    theirs = torch.autograd.grad((weights(batch, words) * factor).sum(), leaves, **options)
    assert any(each is not None for each in theirs)
    for one, other in zip(ours, theirs, strict=True):
        if other is None or one is None:
            assert other is None or not other.any()
            assert one is None or not one.any()
        else:
            assert torch.equal(one, other)


def test_tables_that_change_are_seen_at_once() -> None:
    weights, batch = embeddings(), random_batch()
    before = embed(weights, batch)
    assert isinstance(weights.word, Tensor)
    weights.word.mul_(2)
    after = embed(weights, batch)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after.double(), exact(weights, batch), rtol=1e-4, atol=1e-4)


@each_table
def test_every_instruction_set_gives_the_same_bits(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isobatch.kernels.compiled import variant_statuses

    weights, batch, found = embeddings(table), random_batch(), []
    for status in variant_statuses():
        if status.problem is None:
            monkeypatch.setenv(VARIABLE, status.name)
            found.append(embed(weights, batch))
    assert all(same_bits(each, found[0]) for each in found)
