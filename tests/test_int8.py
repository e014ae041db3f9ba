"""int8: rounding with a scale for each row, exact products, and the block in plain torch.

tests/test_compiled.py compares it with the compiled block.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_blocks import (
    alone,
    compute,
    exact_product,
    formula,
    normal,
    random_block,
    random_linear,
    same_bits,
    threads,
)
from torch import Tensor

from isobatch.kernels import (
    BlockWeights,
    Int8Embedding,
    NormWeights,
    PackedAttention,
    block_weights,
    quantize_weight,
)
from isobatch.kernels.int8 import (
    Int8Block,
    Int8Product,
    StoredRows,
    gelu,
    int8_weight,
    normalize,
    quantize_rows,
    sum_columns,
)
from isobatch.types import Rows

LENGTHS = (70, 17, 17, 5, 1)

magnitudes = st.sampled_from([1e-38, 1e-30, 1e-10, 1e-3, 1.0, 1e4, 1e30])
seeds = st.integers(0, 2**16)
sizes = st.integers(1, 200)


# ------------------------------------------------------------------------------ rounding to int8


@given(rows=st.integers(1, 40), columns=sizes, magnitude=magnitudes, seed=seeds)
@example(rows=5000, columns=3, magnitude=1.0, seed=0)  # more rows than are rounded at a time
@settings(max_examples=40)
def test_weights_are_rounded_to_the_nearest_step_of_their_own_row(
    rows: int, columns: int, magnitude: float, seed: int
) -> None:
    weight = normal(rows, columns, seed=seed) * magnitude
    quantized = quantize_weight(weight)
    assert quantized.values.dtype == torch.int8
    assert quantized.values.abs().max() <= 127
    assert quantized.scale.shape == (rows,)
    error = (quantized.dequantize().double() - weight.double()).abs()
    assert (error <= 0.5001 * quantized.scale[:, None]).all()
    if magnitude > 1e-25:
        assert (quantized.values.abs().amax(dim=1) == 127).all()


@given(rows=st.integers(1, 40), columns=sizes, magnitude=magnitudes, seed=seeds)
@settings(max_examples=40)
def test_rows_are_rounded_to_the_nearest_step_of_their_own_row(
    rows: int, columns: int, magnitude: float, seed: int
) -> None:
    x = normal(rows, columns, seed=seed) * magnitude
    stored = quantize_rows(x)
    integers = stored.values.double()
    assert torch.equal(integers, integers.round())
    assert integers.abs().max() <= 127
    assert ((integers * stored.scale - x).abs() <= 0.5001 * stored.scale).all()


@given(rows=st.integers(2, 40), columns=sizes, seed=seeds)
@settings(max_examples=20)
def test_a_row_is_rounded_as_it_is_alone(rows: int, columns: int, seed: int) -> None:
    x = normal(rows, columns, seed=seed) * torch.logspace(-20, 20, rows)[:, None]
    together = quantize_rows(x)
    for index in range(rows):
        single = quantize_rows(x[index : index + 1])
        assert torch.equal(single.values, together.values[index : index + 1])
        assert same_bits(single.scale, together.scale[index : index + 1])


def test_rows_of_zeros_stay_zeros() -> None:
    zeros = torch.tensor([[0.0, -0.0, 0.0]])
    assert (quantize_rows(zeros).values == 0).all()
    assert (quantize_weight(zeros).dequantize() == 0).all()
    assert quantize_rows(zeros).scale.isfinite().all()


@given(rows=st.integers(1, 20), columns=sizes, magnitude=magnitudes, seed=seeds)
@settings(max_examples=30)
def test_rounding_is_idempotent(rows: int, columns: int, magnitude: float, seed: int) -> None:
    once = quantize_weight(normal(rows, columns, seed=seed) * magnitude)
    again = quantize_weight(once.dequantize())
    assert torch.equal(again.values, once.values)


def test_int8_weights_are_taken_as_they_are() -> None:
    plain = normal(6, 40, seed=1)
    stored = quantize_weight(plain)
    assert int8_weight(stored) is stored
    assert torch.equal(int8_weight(plain).values, stored.values)


def test_an_embedding_is_a_rounded_row_times_its_scale() -> None:
    table = normal(50, 24) * torch.logspace(-3, 3, 50)[:, None]
    ids = torch.tensor([0, 49, 7, 7, 31])
    embedded = Int8Embedding(quantize_weight(table))(ids)
    assert embedded.dtype == torch.float32
    assert ((embedded - table[ids]).abs() <= 0.51 * table[ids].abs().amax(1, True) / 127).all()


@pytest.mark.parametrize("wrong", [-1, 50])
def test_an_id_without_a_row_is_rejected(wrong: int) -> None:
    """A negative one would count from the end."""
    with pytest.raises(IndexError):
        Int8Embedding(quantize_weight(normal(50, 24)))(torch.tensor([0, wrong]))


# ------------------------------------------------------------------------- activation and norm


def test_gelu_is_gelu() -> None:
    x = torch.cat([torch.linspace(-12, 12, 100_001), torch.tensor([-0.0, 0.0, 1e-30, -1e4, 1e4])])
    expected = F.gelu(x.double())
    close = {"rtol": 2e-6, "atol": 2e-6}
    torch.testing.assert_close(gelu(x).double(), expected, **close)
    assert gelu(torch.tensor([torch.nan])).isnan().all()


@pytest.mark.parametrize("columns", [1, 7, 63, 64, 65, 384, 1000])
@pytest.mark.parametrize("eps", [1e-12, 1e-5])
def test_a_norm_is_a_layer_norm(columns: int, eps: float) -> None:
    x = normal(20, columns) * torch.logspace(-1, 2, 20)[:, None] + 0.1 * normal(20, 1, seed=9)
    norm = NormWeights(normal(columns, seed=1), normal(columns, seed=2), eps)
    expected = F.layer_norm(x.double(), (columns,), norm.weight.double(), norm.bias.double(), eps)
    if columns > 1:  # a single column is its own mean, and the rest of it is rounding
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(normalize(x, norm).double(), expected, **close)
    together = normalize(x, norm)
    singles = [normalize(row[None], norm) for row in x]
    assert same_bits(together, torch.cat(singles))


@given(rows=st.integers(1, 9), columns=sizes, seed=seeds)
@settings(max_examples=30)
def test_a_sum_of_columns_is_their_sum(rows: int, columns: int, seed: int) -> None:
    x = normal(rows, columns, seed=seed)
    assert sum_columns(x).shape == (rows, 1)
    expected = x.double().sum(1, True)
    torch.testing.assert_close(sum_columns(x).double(), expected, rtol=1e-5, atol=1e-5)


def test_nothing_here_follows_torch_s_default_dtype() -> None:
    x, norm = normal(3, 100), NormWeights(torch.ones(100), torch.zeros(100), 1e-5)
    expected = normalize(x, norm), quantize_rows(x).scale, quantize_weight(x).scale
    torch.set_default_dtype(torch.float64)
    try:
        found = normalize(x, norm), quantize_rows(x).scale, quantize_weight(x).scale
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(map(torch.equal, found, expected))


# ------------------------------------------------------------------------------------- products


@given(rows=st.integers(1, 70), num_in=sizes, num_out=sizes, seed=seeds)
@example(rows=3, num_in=3072, num_out=64, seed=0)
@example(rows=130, num_in=1, num_out=1, seed=0)
@settings(max_examples=25)
def test_a_product_is_that_of_exact_integers(
    rows: int, num_in: int, num_out: int, seed: int
) -> None:
    layer, x = random_linear(num_in, num_out, seed=seed), normal(rows, num_in, seed=seed)
    weight = quantize_weight(layer.weight.detach())
    product = Int8Product(weight, layer.bias.detach())(quantize_rows(x))
    assert same_bits(product, exact_product(weight, layer.bias.detach(), x))


@pytest.mark.parametrize("num_in", [1, 2, 63, 1024, 1025, 3072])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_are_exact(num_in: int, sign: int) -> None:
    """Of 1,041 products of 127 × 127 and more, 24 bits do not hold the sum."""
    weight = quantize_weight(normal(48, num_in).sign())
    x = sign * torch.cat([weight.values[:20].sign().float(), torch.ones(1, num_in)])
    product = Int8Product(weight, torch.zeros(48))(quantize_rows(x))
    assert same_bits(product, exact_product(weight, torch.zeros(48), x))
    own_rows = product[:20, :20].diagonal().abs()
    torch.testing.assert_close(own_rows, torch.full((20,), float(num_in)), rtol=1e-6, atol=0)


def test_a_sum_in_one_float32_would_not_be_exact() -> None:
    """The inverse: why longer rows are added in parts."""
    weight = torch.full((1, 3072), 127.0)
    weight[0, -1] = 126.0
    x = torch.full((1, 3072), 127.0)
    assert float(x.double() @ weight.double().T) != float(x @ weight.T)


# ---------------------------------------------------------------------------------------- blocks


def int8_block(weights: BlockWeights) -> Int8Block:
    return Int8Block(weights, PackedAttention(weights.spec.attention))


@pytest.mark.parametrize("rows", Rows, ids=lambda rows: rows.name)
@pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "gelu_new"])
def test_a_block_is_near_the_formula(activation: str, rows: Rows) -> None:
    """A block's numbers are of size 1 and more: 2 % is what rounding to 8 bits costs here."""
    layers, x = random_block(72, 40, 3, activation), normal(sum(LENGTHS), 72)
    with torch.no_grad():
        found = compute(int8_block(layers), x, LENGTHS, rows=rows)
        expected = formula(layers, x, LENGTHS, rows=rows)
    error = (found - expected).square().mean().sqrt()
    assert error < 0.03
    assert found.dtype == torch.float32


@pytest.mark.parametrize("rows", Rows, ids=lambda rows: rows.name)
@pytest.mark.parametrize("shape", [(64, 128, 4), (40, 33, 5), (21, 33, 3), (64, 20, 1)])
def test_a_sequence_has_the_same_bits_alone_and_in_a_batch(
    shape: tuple[int, int, int], rows: Rows
) -> None:
    kernel, x = int8_block(random_block(*shape)), normal(sum(LENGTHS), shape[0])
    with torch.no_grad():
        together = compute(kernel, x, LENGTHS, rows=rows)
        for count in (1, 2):
            with threads(count):
                again = compute(kernel, x, LENGTHS, rows=rows)
                assert same_bits(again, together)
                assert same_bits(alone(kernel, x, LENGTHS, rows=rows), together)


def one_scale_for_all(x: Tensor) -> StoredRows:
    """The planted fault: one scale for the whole batch, as in most libraries."""
    amax = x.abs().amax().clamp_min(1e-30)
    return StoredRows(torch.round(x * (127 / amax)), (amax / 127).expand(len(x), 1))


def test_one_scale_for_a_whole_batch_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inverse of the test above."""
    monkeypatch.setattr("isobatch.kernels.int8.quantize_rows", one_scale_for_all)
    kernel, x = int8_block(random_block(64, 128, 4)), normal(sum(LENGTHS), 64)
    with torch.no_grad():
        assert not same_bits(compute(kernel, x, LENGTHS), alone(kernel, x, LENGTHS))


def test_int8_weights_of_a_checkpoint_give_the_bits_of_rounding_at_load() -> None:
    layers, x = random_block(64, 128, 4), normal(9, 64)
    tensors = layers.tensors | {
        f"{name}.weight": quantize_weight(layer.weight) for name, layer in layers.linears.items()
    }
    stored = block_weights(layers.spec, tensors)
    with torch.no_grad():
        expected = compute(int8_block(layers), x, (9,))
        assert same_bits(compute(int8_block(stored), x, (9,)), expected)
    assert expected.isfinite().all()
