"""Weights and rows that are not finite, and sums that overflow: never a finite wrong answer.

The results that a classifier refuses are those that are not finite, so that no kernel may turn one
into a number, as a rounding to int8 or a comparison with NaN could. Compiled kernels only: torch's
attention on CPUs takes a NaN among fewer than sixteen scores for nothing.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import pytest
import torch
from random_blocks import (
    batch_of,
    compute,
    formula,
    normal,
    parameters_of,
    random_block,
    random_linear,
)
from torch import Tensor

from isobatch.kernels import (
    BlockKernel,
    BlockWeights,
    EmbeddingWeights,
    NormWeights,
    PackedAttention,
    activation_named,
    compute_block,
    reference_operations,
)
from isobatch.kernels.compiled import (
    ACTIVATIONS,
    PackedBlock,
    PackedWeight,
    compute_linear,
    compute_trainable,
    embed,
    unavailable,
)
from isobatch.types import PRECISIONS, Rows

COMPILED = [precision for precision in PRECISIONS if unavailable(precision) is None]
LENGTHS = (9, 8, 3)
POISONS = [torch.nan, torch.inf, -torch.inf]

each_poison = pytest.mark.parametrize("poison", POISONS)
pytestmark = pytest.mark.skipif("int8" not in COMPILED, reason="nothing is compiled here")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def ways_to_compute(layers: BlockWeights) -> dict[str, BlockKernel]:
    ways: dict[str, BlockKernel] = {name: PackedBlock(layers, name) for name in COMPILED}
    return ways | {"trainable": partial(compute_trainable, layers)}


def in_float32(layers: BlockWeights, x: Tensor, lengths: Sequence[int]) -> Tensor:
    batch = batch_of(lengths)
    attend = partial(PackedAttention(layers.spec.attention), batch=batch, rows=Rows.ALL)
    select = partial(batch.select, rows=Rows.ALL)
    return compute_block(reference_operations(layers), x, attend, select)


def finite_rows(x: Tensor) -> Tensor:
    return x.isfinite().all(dim=1)


@each_poison
@pytest.mark.parametrize("activation", ["gelu", "relu", "sigmoid"])
def test_no_row_is_finite_where_a_weight_spoils_it(activation: str, poison: float) -> None:
    for number in range(16):
        layers, x = random_block(24, 40, 2, activation), normal(sum(LENGTHS), 24)
        parameter = parameters_of(layers)[number]
        parameter.view(-1)[parameter.numel() // 2] = poison
        expected = formula(layers, x, LENGTHS)
        for name, kernel in ways_to_compute(layers).items():
            found = compute(kernel, x, LENGTHS)
            wrong = finite_rows(found) & ~finite_rows(expected)
            assert not wrong.any(), (name, number)


@each_poison
def test_a_row_that_is_not_finite_spoils_its_sequence_and_no_other(poison: float) -> None:
    layers, x = random_block(24, 40, 2), normal(sum(LENGTHS), 24)
    x[10, 5] = poison
    for name, kernel in ways_to_compute(layers).items():
        found = finite_rows(compute(kernel, x, LENGTHS))
        assert found.tolist() == [True] * 9 + [False] * 8 + [True] * 3, name


@pytest.mark.parametrize("layer", ["query", "key", "value", "output", "up", "down"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_no_row_is_finite_where_a_sum_overflows(activation: str, layer: str) -> None:
    """In int8 the next layer rounds what overflowed. Torch sees a NaN among 40 scores."""
    lengths = (40, 8, 3)
    layers, x = random_block(24, 40, 2, activation), normal(sum(lengths), 24)
    layers.linears[layer].weight.mul_(1e38)
    layers.linears[layer].bias.fill_(3e38)
    expected = in_float32(layers, x, lengths)
    assert not finite_rows(expected).all(), "the test must overflow"
    for name, kernel in ways_to_compute(layers).items():
        wrong = finite_rows(compute(kernel, x, lengths)) & ~finite_rows(expected)
        assert not wrong.any(), name


@each_poison
@pytest.mark.parametrize("precision", COMPILED)
def test_a_linear_hides_nothing(precision: str, poison: float) -> None:
    layer, x = random_linear(30, 70), normal(9, 30)
    x[4, 7] = poison
    found = compute_linear(x, PackedWeight(layer.weight, precision), layer.bias)  # type: ignore[arg-type]
    assert not found[4].isfinite().any()
    assert finite_rows(found).sum() == 8
    layer.weight[3, 3] = poison
    found = compute_linear(normal(9, 30), PackedWeight(layer.weight, precision), layer.bias)  # type: ignore[arg-type]
    assert not found[:, 3].isfinite().any()
    found[:, 3] = 0
    assert found.isfinite().all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_of_nan_is_nan(name: str) -> None:
    x = torch.full((1, 40), torch.nan)
    assert compute_linear(x, torch.eye(40), None, activation_named(name)).isnan().all()


@each_poison
@pytest.mark.parametrize("table", ["word", "position", "token_type", "weight", "bias"])
def test_an_embedding_hides_nothing(table: str, poison: float) -> None:
    norm = NormWeights(torch.ones(20), torch.zeros(20), 1e-12)
    weights = EmbeddingWeights(normal(9, 20), normal(9, 20), normal(2, 20), norm)
    tensor = getattr(norm, table) if table in norm._fields else getattr(weights, table)
    tensor[0 if tensor.dim() == 1 else (0, 3)] = poison
    found = embed(weights, batch_of((3,)))
    assert not found[0].isfinite().all()
