"""The compiled blocks: values of the formula, bits of the int8 reference, and batch invariance.

Each test runs for the precisions whose instructions this CPU has. int8 is compared bit by bit with
its reference in plain torch; on sequences of one token attention is the identity in both.
tests/test_compiled_variants.py compares the instruction sets.
"""

import copy
import ctypes
import gc
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from random_blocks import (
    alone,
    attention,
    batch_of,
    block_spec,
    compute,
    exact_product,
    formula,
    normal,
    parameters_of,
    random_block,
    random_linear,
    random_weights,
    same_bits,
    threads,
)
from torch import Tensor, nn

from isobatch.checkpoint import Dropouts
from isobatch.kernels import (
    BlockKernel,
    BlockWeights,
    Linear,
    PackedAttention,
    activation_named,
    block_weights,
    quantize_weight,
)
from isobatch.kernels.compiled import (
    ACTIVATIONS,
    PackedBlock,
    PackedWeight,
    compute_linear,
    compute_trainable,
    unavailable,
    unsupported,
)
from isobatch.kernels.compiled.variants import kernels
from isobatch.kernels.int8 import Int8Block
from isobatch.kernels.linear_kernels import CompiledKernel
from isobatch.model.block import Block
from isobatch.specification import LINEARS
from isobatch.types import PRECISIONS, Precision, Rows

COMPILED = [precision for precision in PRECISIONS if unavailable(precision) is None]
pytestmark = pytest.mark.skipif("fp32" not in COMPILED, reason=f"compiled: {unavailable('fp32')}")
needs_int8 = pytest.mark.skipif("int8" not in COMPILED, reason=f"int8: {unavailable('int8')}")

each_precision = pytest.mark.parametrize("precision", COMPILED)
each_rows = pytest.mark.parametrize("rows", Rows, ids=lambda rows: rows.name)

SHAPES = [
    (64, 64, 4),
    (64, 192, 1),
    (192, 128, 4),
    (320, 64, 4),
    (768, 64, 16),
    (5, 7, 1),
    (312, 600, 12),
    (21, 33, 3),
]
"""Hidden, intermediate and heads: head sizes 16, 64, 48, 80, 48, 5, 26 and 7."""

LENGTHS = (130, 17, 16, 15, 5, 5, 2, 1, 1, 64, 3)
ERRORS = {"fp32": 2e-6, "bf16": 0.01, "int8": 0.03}
"""Largest error of a precision: root mean square, of numbers of size 1."""


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def trainable(weights: BlockWeights) -> BlockKernel:
    """The kernel that packs the parameters at each call."""
    return partial(compute_trainable, weights)


def int8_reference(weights: BlockWeights) -> BlockKernel:
    return Int8Block(weights, PackedAttention(weights.spec.attention))


def blocks_of(layers: BlockWeights) -> dict[str, BlockKernel]:
    """Every compiled way to compute a block."""
    packed = {name: PackedBlock(layers, name) for name in COMPILED}
    return {"plain": trainable(layers), **packed}


# ------------------------------------------------------------------------------------- values


@each_rows
@pytest.mark.parametrize("biases", [True, False], ids=["biases", "no biases"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_block_computes_the_formula(
    shape: tuple[int, int, int], biases: bool, rows: Rows
) -> None:
    hidden, wide, heads = shape
    layers = random_weights(block_spec(hidden, heads, wide, biases=LINEARS if biases else ()))
    x = normal(sum(LENGTHS), hidden)
    assert unsupported(layers) is None
    assert (layers.linears["query"].bias is not None) == biases
    expected = formula(layers, x, LENGTHS, rows=rows)
    for name, kernel in blocks_of(layers).items():
        found = compute(kernel, x, LENGTHS, rows=rows)
        assert found.dtype == torch.float32
        error = (found - expected).square().mean().sqrt()
        assert error < ERRORS["fp32" if name == "plain" else name], name


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_block_computes_the_formula_with_every_activation(activation: str) -> None:
    layers, x = random_block(21, 33, 3, activation), normal(sum(LENGTHS), 21)
    assert unsupported(layers) is None
    expected = formula(layers, x, LENGTHS)
    for name, kernel in blocks_of(layers).items():
        error = (compute(kernel, x, LENGTHS) - expected).square().mean().sqrt()
        assert error < ERRORS["fp32" if name == "plain" else name], name


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 130, 513, 2000])
@pytest.mark.parametrize(("hidden", "heads"), [(64, 4), (35, 7), (78, 3), (320, 4), (128, 2)])
def test_attention_computes_the_formula(hidden: int, heads: int, length: int) -> None:
    """q, k and v are x with its columns shuffled, exactly; of the rest two norms remain."""
    layers = random_block(hidden, 64, heads)
    for layer in layers.linears.values():
        layer.bias.zero_()
    orders = [torch.arange(hidden), torch.arange(hidden).flip(0), torch.arange(hidden).roll(1)]
    for layer, order in zip(layers.linears.values(), [*orders, orders[0]], strict=False):
        layer.weight.copy_(torch.eye(hidden)[order])
    layers.linears["down"].weight.zero_()
    x = normal(length, hidden, seed=length)
    expected = formula(layers, x, (length,))
    mixed = attention(*(x[:, order].double() for order in orders), layers.spec.attention)
    assert length == 1 or (mixed - x).abs().max() > 1, "attention must have something to do"
    found = compute(PackedBlock(layers, "fp32"), x, (length,))
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_attention_to_one_key_alone() -> None:
    """Scores so far strided that every other key's weight is nothing."""
    layers = random_block(64, 64, 1)
    for layer in layers.linears.values():
        layer.bias.zero_()
    for layer, factor in zip(layers.linears.values(), (1e3, 1e3, 1.0, 1.0, 1.0, 0.0), strict=True):
        layer.weight.copy_(factor * torch.eye(64))
    x = torch.eye(64)[[3, 3, 7, 7, 7, 50]]
    found = compute(PackedBlock(layers, "fp32"), x, (6,))
    torch.testing.assert_close(found.double(), formula(layers, x, (6,)), rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------------- int8: reference, linears


def extreme_rows(hidden: int) -> Tensor:
    """Rows with extreme scales: zero, nearly zero, large, all equal, a single number."""
    single = torch.zeros(hidden)
    single[hidden // 3] = 3.0
    rows = [
        torch.zeros(hidden),
        torch.full((hidden,), -0.0),
        torch.full((hidden,), 1e-30),
        torch.full((hidden,), -1e4),
        torch.full((hidden,), 0.1),
        single,
        torch.linspace(-1, 1, hidden),
    ]
    random = [normal(6, hidden, seed=number) * 10.0**number for number in range(-30, 5, 6)]
    return torch.cat([torch.stack(rows), *random])


@needs_int8
@each_rows
@pytest.mark.parametrize(("activation", "eps"), [("gelu", 1e-12), ("relu", 1e-5)])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_attention_the_int8_reference_gives_the_same_bits(
    shape: tuple[int, int, int], activation: str, eps: float, rows: Rows
) -> None:
    layers, x = random_block(*shape, activation, eps), extreme_rows(shape[0])
    lengths = [1] * len(x)
    for count in (1, 2):
        with threads(count):
            ours = compute(PackedBlock(layers, "int8"), x, lengths, rows=rows)
            reference = compute(int8_reference(layers), x, lengths, rows=rows)
        assert same_bits(ours, reference)
        assert ours.isfinite().all()


@needs_int8
@each_rows
def test_with_attention_the_int8_reference_is_near(rows: Rows) -> None:
    """Attention's last digits differ, and now and then one of them moves a rounding."""
    layers, x = random_block(192, 128, 4), normal(sum(LENGTHS), 192)
    ours = compute(PackedBlock(layers, "int8"), x, LENGTHS, rows=rows)
    reference = compute(int8_reference(layers), x, LENGTHS, rows=rows)
    assert (ours - reference).square().mean().sqrt() < 1e-3


@needs_int8
@given(
    num_rows=st.integers(1, 60),
    num_in=st.one_of(st.integers(1, 200), st.just(3072)),
    num_out=st.integers(1, 200),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=20)
def test_a_product_is_that_of_exact_integers(
    num_rows: int, num_in: int, num_out: int, seed: int
) -> None:
    layer, x = random_linear(num_in, num_out, seed=seed), normal(num_rows, num_in, seed=seed)
    exact = exact_product(quantize_weight(layer.weight), layer.bias.detach(), x)
    assert same_bits(compute_linear(x, PackedWeight(layer.weight, "int8"), layer.bias), exact)


@needs_int8
@pytest.mark.parametrize("num_in", [1, 3, 66, 768, 3072, 100_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_are_exact(num_in: int, sign: int) -> None:
    """Of a hundred thousand inputs, 1.6e9: near the end of 32 bits."""
    layer = random_linear(num_in, 42)
    layer.weight.copy_(layer.weight.sign())
    x = sign * torch.cat([layer.weight.sign()[:40], torch.ones(1, num_in)])
    found = compute_linear(x, PackedWeight(layer.weight, "int8"), layer.bias)
    assert same_bits(found, exact_product(quantize_weight(layer.weight), layer.bias, x))


@each_precision
@pytest.mark.parametrize("num_rows", [0, 1, 6, 7, 130])
@pytest.mark.parametrize("num_out", [1, 2, 77, 1000])
def test_a_linear_is_near_the_formula(precision: Precision, num_out: int, num_rows: int) -> None:
    layer, x = random_linear(77, num_out), normal(num_rows, 77)
    residual = normal(num_rows, num_out, seed=1)
    packed = PackedWeight(layer.weight, precision)
    for bias, added in product((None, layer.bias), (None, residual)):
        found = compute_linear(x, packed, bias, residual=added)
        exact = x.double() @ layer.weight.double().T
        exact = exact if bias is None else exact + bias
        exact = exact if added is None else exact + added
        assert found.shape == (num_rows, num_out)
        assert num_rows == 0 or (found - exact).square().mean().sqrt() < ERRORS[precision]
        if precision == "fp32":
            assert same_bits(compute_linear(x, layer.weight, bias, residual=added), found)


def test_a_linear_applies_its_activation() -> None:
    layer, x = random_linear(30, 20), normal(9, 30)
    plain = compute_linear(x, layer.weight, layer.bias)
    for name in ACTIVATIONS:
        activation = activation_named(name)
        found = compute_linear(x, layer.weight, layer.bias, activation)
        torch.testing.assert_close(found, activation.function(plain), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("activation", ["linear", "gelu", "tanh"])
@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no bias"])
def test_gradients_of_a_linear_are_those_of_torch(activation: str, has_bias: bool) -> None:
    module = Linear(30, 77, activation_named(activation), bias=has_bias).eval()
    module.kernel = CompiledKernel()
    with torch.enable_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.data = normal(*parameter.shape, seed=number)
        x, factor = normal(9, 30).requires_grad_(), normal(9, 77, seed=7)
        leaves = [x, *module.parameters()]
        ours = torch.autograd.grad((module(x) * factor).sum(), leaves)
        exact = F.linear(x.double(), *(each.double() for each in module.parameters()))
        exact = module.activation.function(exact)
        theirs = torch.autograd.grad((exact * factor).sum(), leaves)
    torch.testing.assert_close(module(x).double(), exact, rtol=1e-5, atol=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


# --------------------------------------------------------------------------- batch invariance


@each_precision
@each_rows
@pytest.mark.parametrize("shape", [*SHAPES[1:4], *SHAPES[5:]])
def test_a_sequence_has_the_same_bits_alone_and_in_a_batch(
    shape: tuple[int, int, int], rows: Rows, precision: Precision
) -> None:
    kernel, x = PackedBlock(random_block(*shape), precision), normal(sum(LENGTHS), shape[0])
    together = compute(kernel, x, LENGTHS, rows=rows)
    for count in (1, 2, 3, 7):
        with threads(count):
            assert same_bits(compute(kernel, x, LENGTHS, rows=rows), together)
    for count in (1, 2):
        with threads(count):
            assert same_bits(alone(kernel, x, LENGTHS, rows=rows), together)


@each_precision
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=30),
    place=st.integers(0, 29),
    rows=st.sampled_from(Rows),
    count=st.sampled_from([1, 2]),
)
@settings(max_examples=40)
def test_a_sequence_has_the_same_bits_in_any_batch(
    precision: Precision, lengths: list[int], place: int, rows: Rows, count: int
) -> None:
    """From one row to two thousand: through both ways of dividing the work."""
    kernel, x = PackedBlock(NARROW, precision), normal(sum(lengths), 64, seed=len(lengths))
    place %= len(lengths)
    borders = batch_of(lengths).cu_seqlens.tolist()
    own = slice(borders[place], borders[place + 1])
    expected = compute(kernel, x[own], (lengths[place],), rows=rows)
    with threads(count):
        together = compute(kernel, x, lengths, rows=rows)
    found = own if rows is Rows.ALL else slice(place, place + 1)
    assert same_bits(together[found], expected)


NARROW = random_block(64, 128, 2)


@each_precision
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 1e38])
def test_a_neighbour_that_is_not_finite_changes_no_bit(precision: Precision, poison: float) -> None:
    """Vectors of 16 keys and groups of 6 rows reach over a sequence's end; nothing may be kept."""
    kernel, lengths = PackedBlock(NARROW, precision), (3, 7, 30, 5)
    x = normal(sum(lengths), 64)
    expected = alone(kernel, x, lengths)
    x[3:10] = poison
    x[40:] = poison
    spoilt = compute(kernel, x, lengths)
    assert same_bits(spoilt[:3], expected[:3])
    assert same_bits(spoilt[10:40], expected[10:40])
    assert same_bits(alone(kernel, x[:3], (3,)), expected[:3])


@each_precision
def test_an_argument_is_left_alone(precision: Precision) -> None:
    x, batch = normal(30, 64), batch_of((20, 10))
    before = x.clone()
    PackedBlock(NARROW, precision)(x, batch, Rows.ALL)
    assert torch.equal(x, before)
    assert batch.cu_seqlens.tolist() == [0, 20, 30]


@each_precision
@each_rows
def test_two_thousand_tokens_have_the_same_bits_on_any_number_of_threads(
    precision: Precision, rows: Rows
) -> None:
    kernel, x = PackedBlock(NARROW, precision), normal(2513, 64)
    with threads(1):
        expected = compute(kernel, x, (513, 2000), rows=rows)
        assert same_bits(alone(kernel, x, (513, 2000), rows=rows), expected)
    with threads(2):
        assert same_bits(compute(kernel, x, (513, 2000), rows=rows), expected)


@each_precision
def test_concurrent_calls_are_independent(precision: Precision) -> None:
    kernel = PackedBlock(NARROW, precision)
    jobs = [(length, normal(length, 64, seed=length)) for length in (1, 5, 40, 130, 300)]
    expected = [compute(kernel, x, (length,)) for length, x in jobs]
    wrong: list[int] = []

    def call(shift: int) -> None:
        for turn in range(20):
            index = (turn * 3 + shift) % len(jobs)
            length, x = jobs[index]
            with torch.no_grad():
                if not same_bits(compute(kernel, x, (length,)), expected[index]):
                    wrong.append(length)

    callers = [threading.Thread(target=call, args=(shift,)) for shift in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


# ------------------------------------------------------------------------------- the wrapper


@pytest.mark.parametrize(
    ("hidden", "borders", "error"),
    [
        (normal(4, 64).double(), [0, 4], TypeError),
        (normal(4, 64).bfloat16(), [0, 4], TypeError),
        (normal(4, 128), [0, 4], TypeError),
        (normal(1, 4, 64), [0, 4], TypeError),
        (normal(64), [0, 1], TypeError),
        (normal(4, 64), torch.tensor([0, 4], dtype=torch.int32), TypeError),
        (normal(4, 64), torch.tensor([0, 9, 4, 9])[::2], TypeError),
        (normal(4, 64), [0, 5], ValueError),
        (normal(4, 64), [0, 3], ValueError),
        (normal(4, 64), [1, 4], ValueError),
        (normal(4, 64), [0, 2, 2, 4], ValueError),
        (normal(4, 64), [0, 3, 1, 4], ValueError),
    ],
)
def test_invalid_arguments_are_rejected(
    hidden: Tensor, borders: Sequence[int] | Tensor, error: type[Exception]
) -> None:
    cu_seqlens = borders if isinstance(borders, Tensor) else torch.tensor(borders)
    for kernel in blocks_of(NARROW).values():
        with pytest.raises(error):
            kernel(hidden, replace(batch_of((1,)), cu_seqlens=cu_seqlens), Rows.ALL)


@pytest.mark.parametrize(
    "x", [normal(4, 64).double(), normal(4, 128), normal(64), normal(1, 4, 64)]
)
def test_a_linear_rejects_invalid_arguments(x: Tensor) -> None:
    for weight in (NARROW.linears["up"].weight, PackedWeight(NARROW.linears["up"].weight, "fp32")):
        with pytest.raises(TypeError, match=r"expected torch\.float32"):
            compute_linear(x, weight, None)


def test_strided_rows_are_read_as_rows() -> None:
    strided = normal(500, 128)[:, ::2]
    for kernel in blocks_of(NARROW).values():
        assert same_bits(
            compute(kernel, strided, (500,)), compute(kernel, strided.contiguous(), (500,))
        )
    found, expected = (
        compute_linear(x, NARROW.linears["up"].weight, None)
        for x in (strided, strided.contiguous())
    )
    assert same_bits(found, expected)


def test_results_do_not_depend_on_torch_s_default_dtype() -> None:
    x = normal(9, 64)
    for kernel in blocks_of(NARROW).values():
        expected = compute(kernel, x, (9,))
        torch.set_default_dtype(torch.float64)
        try:
            assert same_bits(compute(kernel, x, (9,)), expected)
        finally:
            torch.set_default_dtype(torch.float32)


@each_precision
def test_a_packed_block_does_not_read_its_source_weights(precision: Precision) -> None:
    layers, x = random_block(64, 128, 2), normal(9, 64)
    kernel = PackedBlock(layers, precision)
    expected = compute(kernel, x, (9,))
    for parameter in parameters_of(layers):
        parameter.data = torch.full_like(parameter, torch.nan)
    del layers
    gc.collect()
    assert same_bits(compute(kernel, x, (9,)), expected)


@each_precision
def test_a_copy_of_a_packed_block_outlives_the_first(precision: Precision) -> None:
    kernel, x = PackedBlock(random_block(64, 128, 2), precision), normal(9, 64)
    expected = compute(kernel, x, (9,))
    other = copy.deepcopy(kernel)
    del kernel
    gc.collect()
    assert same_bits(compute(other, x, (9,)), expected)


# ------------------------------------------------------ plain parameters, with and without grads


@each_rows
@pytest.mark.parametrize("lengths", [(1,), (9, 3), LENGTHS, (600, 20)])
def test_plain_parameters_give_the_bits_of_packed_ones(
    lengths: tuple[int, ...], rows: Rows
) -> None:
    for shape in SHAPES[:4]:
        layers, x = random_block(*shape), normal(sum(lengths), shape[0])
        packed = compute(PackedBlock(layers, "fp32"), x, lengths, rows=rows)
        plain = trainable(layers)
        assert same_bits(compute(plain, x, lengths, rows=rows), packed)
        with torch.enable_grad():
            found = compute(plain, x, lengths, rows=rows)
        assert found.requires_grad
        assert same_bits(found.detach(), packed)
        assert same_bits(alone(plain, x, lengths, rows=rows), packed)


Gradients = dict[str, Tensor]


def gradients_of(layers: BlockWeights, result: Tensor, x: Tensor) -> Gradients:
    """Of a fixed sum of the result, after all parameters and x."""
    wanted = {f"{number}": each for number, each in enumerate(parameters_of(layers))} | {"x": x}
    wanted = {name: each for name, each in wanted.items() if each.requires_grad}
    weights = normal(*result.shape, seed=77).to(result.dtype)
    found = torch.autograd.grad((result * weights).sum(), list(wanted.values()))
    return dict(zip(wanted, found, strict=True))


@each_rows
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_gradients_are_those_of_the_formula(activation: str, rows: Rows) -> None:
    layers, lengths = random_block(128, 192, 4, activation), (9, 3, 3, 40)
    with torch.enable_grad():
        x = normal(sum(lengths), 128).requires_grad_()
        found = compute(trainable(layers), x, lengths, rows=rows)
        ours = gradients_of(layers, found, x)
        theirs = gradients_of(layers, formula(layers, x, lengths, rows=rows), x)
    assert len(ours) == 17
    for name, gradient in ours.items():
        scale = max(1.0, float(theirs[name].abs().max()))
        close = {"rtol": 0, "atol": 1e-5 * scale}
        torch.testing.assert_close(gradient.double(), theirs[name].double(), **close, msg=name)


def test_frozen_parameters_have_no_gradients_and_change_no_other() -> None:
    layers, x = random_block(64, 128, 2), normal(12, 64)
    with torch.enable_grad():
        x.requires_grad_()
        expected = gradients_of(layers, compute(trainable(layers), x, (9, 3)), x)
        for parameter in parameters_of(layers)[:13]:
            parameter.requires_grad_(False)
        ours = gradients_of(layers, compute(trainable(layers), x, (9, 3)), x)
    assert set(ours) == {"13", "14", "15", "x"}
    assert all(torch.equal(gradient, expected[name]) for name, gradient in ours.items())


def test_a_gradient_after_the_input_alone() -> None:
    layers, x = random_block(64, 128, 2), normal(12, 64)
    for parameter in parameters_of(layers):
        parameter.requires_grad_(False)
    with torch.enable_grad():
        assert not compute(trainable(layers), x, (9, 3)).requires_grad
        x.requires_grad_()
        ours = gradients_of(layers, compute(trainable(layers), x, (9, 3)), x)
        theirs = gradients_of(layers, formula(layers, x, (9, 3)), x)
    torch.testing.assert_close(ours["x"], theirs["x"], rtol=0, atol=1e-5)


def test_a_parameter_that_changes_before_its_gradient_is_noticed() -> None:
    layers, x = random_block(64, 128, 2), normal(12, 64)
    with torch.enable_grad():
        result = compute(trainable(layers), x, (9, 3)).sum()
    layers.linears["down"].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()


def test_no_gradient_unless_requested() -> None:
    x = normal(12, 64).requires_grad_()
    assert compute(trainable(NARROW), x, (9, 3)).grad_fn is None
    with torch.inference_mode():
        assert compute(trainable(NARROW), x, (9, 3)).grad_fn is None


def test_parameters_that_change_are_seen_at_once() -> None:
    layers, x = random_block(64, 128, 2), normal(12, 64)
    kernel = trainable(layers)
    for parameter in parameters_of(layers):
        before = compute(kernel, x, (9, 3))
        parameter.mul_(1.5)
        changed = compute(kernel, x, (9, 3))
        # A key's bias moves all scores of a query alike.
        assert parameter is layers.linears["key"].bias or not torch.equal(changed, before)
        parameter.data = parameter.data.clone()
        assert same_bits(compute(kernel, x, (9, 3)), changed)
    layers.linears["up"].weight.data = (
        layers.linears["up"].weight.t().contiguous().t()
    )  # the same, in another layout
    assert same_bits(compute(kernel, x, (9, 3)), changed)


def test_a_copy_of_a_model_reads_its_own_parameters() -> None:
    weights, x = random_block(64, 128, 2), normal(12, 64)
    model = Block(weights.spec, Dropouts()).eval()
    for parameter, value in zip(
        model.weights.tensors.values(), weights.tensors.values(), strict=True
    ):
        parameter.copy_(value)
    model.is_compiled = True
    other = copy.deepcopy(model)
    expected = compute(model, x, (9, 3))
    for parameter in model.parameters():
        parameter.zero_()
    assert same_bits(compute(other, x, (9, 3)), expected)
    assert not compute(model, x, (9, 3)).any()


@pytest.mark.parametrize("change", ["double", "half"])
@pytest.mark.parametrize("index", [0, 8, 12, 15])
def test_parameters_that_were_cast_are_refused(index: int, change: str) -> None:
    layers, x = random_block(64, 128, 2), normal(12, 64)
    parameter = parameters_of(layers)[index]
    parameter.data = getattr(parameter.data, change)()
    with pytest.raises(TypeError, match=r"expected torch\.float32"):
        compute(trainable(layers), x, (9, 3))


def test_parameters_of_another_shape_are_refused() -> None:
    layers, x = random_block(64, 128, 2), normal(12, 64)
    layers = replace(
        layers,
        norms={
            **layers.norms,
            "norm": layers.norms["norm"]._replace(weight=nn.Parameter(torch.ones(32))),
        },
    )
    with pytest.raises(TypeError, match=r"expected torch\.float32"):
        compute(trainable(layers), x, (9, 3))


@pytest.mark.parametrize("name", ["query.weight", "up.weight", "down.weight", "norm.weight"])
def test_weights_of_another_layer_are_refused(name: str) -> None:
    """Each is consistent in itself, as after an assignment to `.data`."""
    layers, x = random_block(64, 128, 2), normal(12, 64)
    tensors = dict(layers.tensors)
    tensors[name] = torch.ones([2 * size for size in tensors[name].shape])
    tensors[name.replace("weight", "bias")] = torch.ones(len(tensors[name]))
    other = block_weights(layers.spec, tensors)
    with pytest.raises(ValueError, match=f"{name.partition('.')[0]}: the weight is"):
        compute(trainable(other), x, (9, 3))
    with pytest.raises(ValueError, match=f"{name.partition('.')[0]}: the weight is"):
        PackedBlock(other, "fp32")


@each_precision
def test_too_little_memory_is_an_error_of_python(precision: Precision) -> None:
    """With more tokens than addresses, so that no address is read before the memory is missed."""
    packed = PackedBlock(random_block(64, 128, 2), precision)
    cu_seqlens, number = torch.tensor([0, 1 << 50]), PRECISIONS.index(precision)
    module, structure = kernels(precision).module, ctypes.addressof(packed._structure)
    with pytest.raises(MemoryError):
        module.forward_block(number, structure, 0, 0, 0, cu_seqlens.data_ptr(), 1, 0, 1)
    product = packed._structure.up
    with pytest.raises(MemoryError):
        module.forward_linear(number, ctypes.addressof(product), 0, 0, 0, 0, 1 << 50, 1)
    assert same_bits(compute(packed, normal(3, 64), (3,)), compute(packed, normal(3, 64), (3,)))
