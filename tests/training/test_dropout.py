"""Dropout by keys: masks of a text ignore its neighbours, and have the right share of zeros."""

import numpy as np
import pytest
import torch

from isobatch.kernels import KeyedDropout
from isobatch.kernels.compiled.dropout_masks import draw_masks
from isobatch.kernels.compiled.variants import unavailable
from isobatch.kernels.dropout import masks_by_numpy
from isobatch.types import Rows, Segment


def test_a_mask_is_the_same_alone_and_in_any_batch() -> None:
    lengths, keys = [3, 5, 2], [11, 2**63 + 7, 5]
    x = torch.ones(10, 24)
    together = KeyedDropout(1, 2, keys, lengths).rows(x, 0.1, 7, Rows.ALL)
    start = 0
    for key, length in zip(keys, lengths, strict=True):
        alone = KeyedDropout(1, 2, [key], [length]).rows(torch.ones(length, 24), 0.1, 7, Rows.ALL)
        assert torch.equal(alone, together[start : start + length])
        start += length
    first = KeyedDropout(1, 2, keys, lengths).rows(torch.ones(3, 24), 0.1, 7, Rows.FIRST)
    assert torch.equal(first, together[[0, 3, 8]])


def test_masks_of_attention_are_the_same_in_any_segment() -> None:
    x = torch.ones(2, 3, 5, 5)
    both = KeyedDropout(1, 0, [8, 9, 10], [4, 5, 5]).attention(x, 0.3, 1, Segment(1, 4, 2, 5))
    alone = KeyedDropout(1, 0, [10], [5]).attention(x[:1], 0.3, 1, Segment(0, 0, 1, 5))
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[:1], alone)


def test_the_mask_of_a_table_is_the_same_for_all_texts_of_an_epoch() -> None:
    x = torch.ones(30, 16)
    masks = [
        KeyedDropout(1, epoch, keys, [2] * len(keys)).table(x, 0.3, 5)
        for epoch, keys in ((4, [7]), (4, [9, 8]), (5, [7]))
    ]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("changed", ["seed", "epoch", "key", "place"])
def test_every_part_of_the_key_changes_the_mask(changed: str) -> None:
    given = {"seed": 1, "epoch": 2, "key": 3, "place": 4}
    masks = []
    for values in (given, {**given, changed: given[changed] + 1}):
        dropout = KeyedDropout(values["seed"], values["epoch"], [values["key"]], [40])
        masks.append(dropout.rows(torch.ones(40, 64), 0.5, values["place"], Rows.ALL))
    agreement = float((masks[0] == masks[1]).double().mean())
    assert 0.45 < agreement < 0.55


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_the_share_of_zeros_and_the_mean_are_those_of_dropout(probability: float) -> None:
    x = torch.ones(1000, 64)
    dropped = KeyedDropout(5, 0, [3], [1000]).rows(x, probability, 0, Rows.ALL)
    zeros = float((dropped == 0).double().mean())
    assert (
        abs(zeros - probability) < 5 * np.sqrt(probability * (1 - probability) / x.numel()) + 1e-5
    )
    if 0 < probability < 1:
        assert torch.equal(dropped[dropped != 0].unique(), dropped.max()[None])
        assert float(dropped.max()) == pytest.approx(1 / (1 - probability), rel=2e-2)


def test_the_stream_is_the_documented_one() -> None:
    """The mask as docs/training.md defines it, computed here a second time."""
    generator = np.random.Philox(
        key=np.array([6, 9], np.uint64), counter=np.array([0, 0, 3, 2], np.uint64)
    )
    draws = generator.random_raw(6).view(np.uint16)
    kept = torch.from_numpy((draws >= round(0.25 * 65536)).astype(np.float32)).view(2, 12)
    found = KeyedDropout(6, 3, [9], [2]).rows(torch.ones(2, 12), 0.25, 2, Rows.ALL)
    assert torch.equal(found, kept * np.float32(65536 / 49152))


@pytest.mark.skipif(unavailable("fp32") is not None, reason="no compiled kernels here")
@pytest.mark.parametrize("dropped", [0, 1, 6554, 32768, 65535, 65536])
@pytest.mark.parametrize("counter", [(0, 0, 0), (2**64 - 1, 3, 77), (5, 2**40, 2**33)])
def test_compiled_masks_are_those_of_numpy(counter: tuple[int, int, int], dropped: int) -> None:
    keys, counts = [1, 2**64 - 1, 0, 12_345_678_901_234_567], [1, 15, 16, 4_099]
    compiled = draw_masks(counter, keys, counts, dropped)
    assert np.array_equal(compiled, masks_by_numpy(counter, keys, counts, dropped))
