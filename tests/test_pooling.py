"""Pooling and normalizing: the values of torch, and bits that depend on a sequence alone."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from isobatch.batching.packed import PackedBatch, pack
from isobatch.kernels import normalize_rows, pool_rows
from isobatch.specification import (
    CutStep,
    HeadSpec,
    LinearStep,
    NormalizeStep,
    NormSpec,
    NormStep,
    Pool,
    PositionRule,
)
from isobatch.types import Encoding, Rows

LENGTHS = (1, 2, 3, 5, 5, 5, 8, 17, 17, 33, 64, 130, 511, 512)
SIZE = 21


def batch_of(lengths: Sequence[int]) -> PackedBatch:
    return pack([Encoding([7] * each, [0] * each) for each in lengths], PositionRule())


@pytest.fixture(scope="module")
def hidden() -> Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.randn(sum(LENGTHS), SIZE, generator=generator)


def torch_pool(rows: Tensor, pool: Pool) -> Tensor:
    by_name = {"first": rows[0], "last": rows[-1], "mean": rows.mean(0), "max": rows.amax(0)}
    return by_name[pool]


@pytest.mark.parametrize("pool", ["first", "last", "mean", "max"])
def test_a_pool_has_the_values_of_torch(pool: Pool, hidden: Tensor) -> None:
    found = pool_rows(hidden, batch_of(LENGTHS), pool)
    wide = torch.split(hidden.double(), list(LENGTHS))
    expected = torch.stack([torch_pool(rows, pool) for rows in wide])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-7 if pool == "mean" else 0)


@pytest.mark.parametrize("num_threads", [1, 2, 4])
@pytest.mark.parametrize("pool", ["first", "last", "mean", "max"])
def test_a_pool_has_the_same_bits_alone_and_in_any_order(
    pool: Pool, num_threads: int, hidden: Tensor
) -> None:
    together = pool_rows(hidden, batch_of(LENGTHS), pool)
    torch.set_num_threads(num_threads)
    parts = torch.split(hidden, list(LENGTHS))
    alone = [pool_rows(part, batch_of([len(part)]), pool) for part in parts]
    assert torch.equal(torch.cat(alone), together)
    turned = pool_rows(torch.cat(parts[::-1]), batch_of(LENGTHS[::-1]), pool)
    assert torch.equal(turned, together.flip(0))


def test_the_largest_of_zeros_is_never_minus_zero() -> None:
    rows = torch.tensor([[-0.0, 0.0, -0.0], [0.0, -0.0, -0.0]])
    found = pool_rows(rows, batch_of([2]), "max")
    assert torch.signbit(found).tolist() == [[False, False, False]]


def test_not_a_number_stays_one() -> None:
    rows = torch.tensor([[1.0, float("nan")], [2.0, 1.0], [0.0, 0.0]])
    for pool in ("mean", "max"):
        found = pool_rows(rows, batch_of([3]), pool)
        assert torch.isnan(found).tolist() == [[False, True]]


def test_normalized_rows_have_the_values_of_torch() -> None:
    rows = torch.randn(40, 33, generator=torch.Generator().manual_seed(3))
    rows[7] = 0.0
    rows[8] *= 1e-30
    rows[9] *= 1e30
    found = normalize_rows(rows)
    expected = torch.nn.functional.normalize(rows.double(), dim=1)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=6e-8)
    assert not found[7].any()
    assert torch.equal(torch.cat([normalize_rows(row[None]) for row in rows]), found)


def test_a_caller_s_numpy_settings_do_not_matter() -> None:
    rows = torch.tensor([[1e-38, 3e38, 1.0], [1e-45, 3e38, 1e-45]])
    expected = pool_rows(rows, batch_of([2]), "mean"), normalize_rows(rows * 1e-30)
    with np.errstate(all="raise"):
        assert torch.equal(pool_rows(rows, batch_of([2]), "mean"), expected[0])
        assert torch.equal(normalize_rows(rows * 1e-30), expected[1])


def test_gradients_flow_through_pooled_and_normalized_rows() -> None:
    rows = torch.randn(9, SIZE, generator=torch.Generator().manual_seed(3))
    wanted = rows.clone().requires_grad_()
    found = normalize_rows(pool_rows(wanted, batch_of([9]), "mean"))
    plain = normalize_rows(pool_rows(rows, batch_of([9]), "mean"))
    assert torch.equal(found, plain), "the same bits as without gradients"
    found[0, 0].backward()
    other = rows.clone().requires_grad_()
    torch.nn.functional.normalize(other.mean(0, keepdim=True))[0, 0].backward()
    torch.testing.assert_close(wanted.grad, other.grad)


def test_a_head_reads_the_rows_that_its_pools_need() -> None:
    assert HeadSpec(("first",), ()).rows is Rows.FIRST
    assert HeadSpec(("last",), ()).rows is Rows.LAST
    for pools in ((), ("mean",), ("max",), ("first", "last")):
        assert HeadSpec(pools, ()).rows is Rows.ALL


def test_the_size_of_an_output_follows_from_pools_and_steps() -> None:
    assert HeadSpec(("mean",), ()).output_size(8) == 8
    assert HeadSpec((), ()).output_size(8) == 8
    steps = (LinearStep("a", 24, 6), NormStep("b", 6, NormSpec(1e-5)), NormalizeStep(), CutStep(4))
    assert HeadSpec(("mean", "max", "first"), steps).output_size(8) == 4
    assert HeadSpec(("mean",), (CutStep(100),)).output_size(8) == 8
