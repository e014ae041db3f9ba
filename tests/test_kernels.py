"""Kernels of single operations: their values, their batch invariance, and the checks at load.

Bits are compared with torch.equal, values with a formula in float64. The planted kernels are wrong
on purpose: a check that lets one of them pass is worthless.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from random_blocks import batch_of, block_spec, normal, random_linear, threads
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.errors import NotInvariantError, UnsupportedModelError
from isobatch.kernels import (
    KernelChoice,
    KernelSelector,
    Linear,
    LinearWeights,
    NormWeights,
    PackedAttention,
    PackedLinear,
    activation_named,
)
from isobatch.kernels.activations import _BY_NAME, IDENTITY, Activation
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.kernels.linear_kernels import (
    Bf16Kernel,
    LinearKernel,
    OneDnnKernel,
    RowKernel,
    TileKernel,
    candidate_kernels,
)
from isobatch.specification import AttentionSpec
from isobatch.types import Rows

CPU = torch.device("cpu")
ACTIVATIONS = sorted({activation.name for activation in _BY_NAME.values()})
FUSED = sorted({activation.name for activation in _BY_NAME.values() if activation.fused})
NUM_ROWS = 200
SOME_ROWS = (1, 2, 3, 5, 7, 9, 13, 16, 17, 31, 33, 65, 127)
HEAD_SHAPES = ((4, 8), (2, 32), (12, 32), (12, 64), (1, 64), (3, 7))

with_onednn = pytest.mark.skipif(
    not OneDnnKernel.is_available(CPU), reason="this build of torch has no oneDNN"
)
with_bf16 = pytest.mark.skipif(
    not Bf16Kernel.is_available(CPU), reason="this CPU has no bfloat16 products"
)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def select_linears(*layers: LinearWeights) -> tuple[KernelChoice, ...]:
    selector = KernelSelector(CPU)
    for layer in layers:
        selector.select_linear(layer)
    return selector.choices


def slices(num_rows: int) -> Iterator[slice]:
    """Some rows of all, of every kind of count, at the front, at odd places and at the end."""
    for count in (*SOME_ROWS, num_rows):
        for first in sorted({0, 1, 7, num_rows - count}):
            if 0 <= first <= num_rows - count:
                yield slice(first, first + count)


def rows_that_change(compute: Callable[[slice], Tensor], num_rows: int) -> set[str]:
    """Every way in which rows came out with other bits than among all rows on two threads."""
    with threads(2):
        reference = compute(slice(0, num_rows))
    changed = set()
    for count in (2, 1):
        with threads(count):
            for rows in slices(num_rows):
                if not torch.equal(compute(rows), reference[rows]):
                    changed.add(f"{rows.stop - rows.start} rows, {count} threads")
    return changed


def kernel_changes(
    kernel: LinearKernel,
    num_in: int,
    num_out: int,
    activation: Activation = IDENTITY,
    joined: bool = False,
    num_rows: int = NUM_ROWS,
) -> set[str]:
    layer, x = random_linear(num_in, num_out), normal(num_rows, num_in)
    residual = normal(num_rows, num_out, seed=3) if joined else None
    weight = kernel.prepack(layer.weight)

    def compute(rows: slice) -> Tensor:
        part = None if residual is None else residual[rows]
        return kernel.linear(x[rows], weight, layer.bias, activation, part)

    return rows_that_change(compute, num_rows)


# ------------------------------------------------------------------------ kernels: right values

KERNELS = [pytest.param(OneDnnKernel(), id="onednn", marks=with_onednn)]
KERNELS += [pytest.param(TileKernel(), id="tiles"), pytest.param(RowKernel(), id="rows")]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("num_rows", [1, 2, 33])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_computes_the_formula(kernel: LinearKernel, num_rows: int, name: str) -> None:
    activation, layer = activation_named(name), random_linear(40, 24)
    x, residual = normal(num_rows, 40), normal(num_rows, 24, seed=3)
    product = F.linear(x.double(), layer.weight.double(), layer.bias.double())
    expected = activation.function(product)
    for weight in (layer.weight.detach(), kernel.prepack(layer.weight)):
        plain = kernel.linear(x, weight, layer.bias, activation, None)
        torch.testing.assert_close(plain.double(), expected, rtol=1e-5, atol=1e-6)
        joined = kernel.linear(x, weight, layer.bias, activation, residual)
        torch.testing.assert_close(joined.double(), expected + residual, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_leaves_its_inputs_alone(kernel: LinearKernel) -> None:
    layer, x, residual = random_linear(40, 24), normal(5, 40), normal(5, 24, seed=3)
    before = [tensor.clone() for tensor in (x, residual, layer.weight, layer.bias)]
    kernel.linear(x, kernel.prepack(layer.weight), layer.bias, IDENTITY, residual)
    assert all(map(torch.equal, before, (x, residual, layer.weight, layer.bias)))


@with_bf16
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("num_rows", [1, 2, 33])
def test_bf16_computes_the_formula_of_rounded_numbers(num_rows: int, name: str) -> None:
    """Sums are float32 and rounded to bfloat16 once; a residual is added in float32."""
    activation, layer, kernel = activation_named(name), random_linear(40, 24), Bf16Kernel()
    x, residual = normal(num_rows, 40), normal(num_rows, 24, seed=3)
    rounded = (tensor.bfloat16().double() for tensor in (x, layer.weight, layer.bias))
    expected = activation.function(F.linear(*rounded))
    close = {"rtol": 2**-6 if activation.fused is None else 2**-8, "atol": 1e-3}
    for weight in (layer.weight.detach(), kernel.prepack(layer.weight)):
        plain = kernel.linear(x, weight, layer.bias, activation, None)
        assert plain.dtype == torch.float32
        torch.testing.assert_close(plain.double(), expected, **close)
        joined = kernel.linear(x, weight, layer.bias, activation, residual)
        assert torch.equal(joined, plain + residual)


# --------------------------------------------------------------------- kernels: rows by themselves

sizes = st.integers(1, 80)
multiples_of_four = st.integers(1, 20).map(lambda count: 4 * count)


@pytest.mark.parametrize("joined", [False, True], ids=("alone", "residual"))
@given(num_in=multiples_of_four, num_out=sizes)
@settings(max_examples=12)
def test_tiles_give_a_row_the_same_bits_at_every_position(
    num_in: int, num_out: int, joined: bool
) -> None:
    """Other inner sizes, which no checkpoint has, MKL treats by a row's place in the tile."""
    assert not kernel_changes(TileKernel(), num_in, num_out, joined=joined)


@given(num_in=sizes, num_out=sizes)
@settings(max_examples=8)
def test_rows_one_by_one_give_a_row_the_same_bits_at_every_position(
    num_in: int, num_out: int
) -> None:
    assert not kernel_changes(RowKernel(), num_in, num_out, num_rows=40)


@pytest.mark.parametrize("kernel", [TileKernel(), RowKernel()], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(("num_in", "num_out"), [(384, 1536), (1536, 384)])
def test_portable_kernels_give_a_row_the_same_bits_in_the_sizes_of_real_models(
    kernel: LinearKernel, num_in: int, num_out: int
) -> None:
    assert not kernel_changes(kernel, num_in, num_out, num_rows=40)


@with_onednn
@pytest.mark.parametrize("joined", [False, True], ids=("alone", "residual"))
@given(num_in=sizes, num_out=sizes)
@settings(max_examples=12)
def test_onednn_gives_a_row_the_same_bits_at_every_position(
    num_in: int, num_out: int, joined: bool
) -> None:
    assert not kernel_changes(OneDnnKernel(), num_in, num_out, joined=joined)


@with_onednn
@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize(("num_in", "num_out"), [(32, 48), (21, 33), (384, 1536), (1536, 384)])
def test_onednn_with_a_fused_activation_gives_a_row_the_same_bits(
    num_in: int, num_out: int, name: str
) -> None:
    assert not kernel_changes(OneDnnKernel(), num_in, num_out, activation_named(name))


@with_bf16
@pytest.mark.parametrize("joined", [False, True], ids=("alone", "residual"))
@given(num_in=sizes, num_out=sizes)
@settings(max_examples=12)
def test_bf16_gives_a_row_the_same_bits_at_every_position(
    num_in: int, num_out: int, joined: bool
) -> None:
    assert not kernel_changes(Bf16Kernel(), num_in, num_out, joined=joined)


@with_bf16
@pytest.mark.parametrize("name", ["linear", "gelu", "silu", "quick_gelu"])
@pytest.mark.parametrize(("num_in", "num_out"), [(384, 1536), (1536, 384)])
def test_bf16_gives_a_row_the_same_bits_in_the_sizes_of_real_models(
    num_in: int, num_out: int, name: str
) -> None:
    assert not kernel_changes(Bf16Kernel(), num_in, num_out, activation_named(name))


def test_each_precision_has_its_kernels() -> None:
    names = [kernel.name for kernel in candidate_kernels(CPU, "fp32")]
    assert names[-2:] == ["tiles", "rows"]
    assert {kernel.name for kernel in candidate_kernels(CPU, "bf16")} <= {"onednn bf16"}
    assert candidate_kernels(CPU, "int8") == ()
    assert candidate_kernels(torch.device("cuda"), "bf16") == ()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    ("num_in", "num_out"), [(16, 16), (32, 48), (64, 100), (33, 5), (384, 2), (64, 1037)]
)
def test_the_selected_kernel_keeps_the_bits_of_every_row(
    num_in: int, num_out: int, name: str
) -> None:
    """No shape and no activation may pass the check wrongly, or be left without a kernel."""
    layer, x = random_linear(num_in, num_out, activation_named(name)), normal(NUM_ROWS, num_in)
    selector = KernelSelector(CPU)
    packed = PackedLinear(layer, selector.select_linear(layer))
    assert not rows_that_change(lambda rows: packed(x[rows]), NUM_ROWS), selector.choices


# ----------------------------------------------------------------------------- the linear layer


def module_of(weights: LinearWeights) -> Linear:
    layer = Linear(weights.in_features, weights.out_features, weights.activation).eval()
    layer.load_state_dict({"weight": weights.weight, "bias": weights.bias})
    return layer


def test_a_linear_without_a_selected_kernel_says_what_to_call() -> None:
    with pytest.raises(RuntimeError, match="select_kernels"):
        module_of(random_linear(4, 4))(normal(2, 4))


@pytest.mark.parametrize("activation", ["linear", "gelu"])
def test_packing_holds_no_parameter_and_changes_no_bit(activation: str) -> None:
    layer, x = module_of(random_linear(40, 24, activation_named(activation))), normal(9, 40)
    layer.kernel = KernelSelector(CPU).select_linear(layer.weights)
    packed = PackedLinear(layer.weights, layer.kernel)
    assert list(packed.parameters()) == []
    assert torch.equal(packed(x), layer(x))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_layer_without_bias_is_one_with_zeros(kernel: LinearKernel) -> None:
    layer, x = random_linear(40, 24), normal(9, 40)
    weight = kernel.prepack(layer.weight.detach())
    zeros = kernel.linear(x, weight, torch.zeros(24), IDENTITY, None)
    assert torch.equal(kernel.linear(x, weight, None, IDENTITY, None), zeros)


def test_an_unsupported_activation_is_rejected_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match="'gelu_10' is not supported; supported: gelu"):
        activation_named("gelu_10")


# --------------------------------------------------------------------------------- attention


def attention_of(num_heads: int, head_dim: int, window: int | None = None) -> PackedAttention:
    size = num_heads * head_dim
    return PackedAttention(AttentionSpec(num_heads, size // num_heads, window=window))


def attention_by_formula(
    query: Tensor, key: Tensor, value: Tensor, num_heads: int, window: int | None = None
) -> Tensor:
    """One sequence in float64; all arguments are [length, hidden]."""
    q, k, v = (
        tensor.double().view(len(tensor), num_heads, -1).transpose(0, 1)
        for tensor in (query, key, value)
    )
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    if window is not None:
        places = torch.arange(len(key))
        scores = scores.masked_fill((places[:, None] - places).abs() > window, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(query.shape)


def attention_inputs(length: int, hidden: int) -> tuple[Tensor, Tensor, Tensor, PackedBatch]:
    """Three sequences of one length after a short one, so that they begin at an odd token."""
    query, key, value = (normal(3 + 3 * length, hidden, seed=seed) for seed in range(3))
    return query, key, value, batch_of((3, length, length, length))


def attention_changes(
    attention: PackedAttention, length: int, rows: Rows, thread_counts: tuple[int, ...]
) -> set[str]:
    """Where a sequence alone, or any thread count, gives other bits than all on the first count."""
    query, key, value, batch = attention_inputs(length, attention.spec.query_size)
    query = batch.select(query, rows)
    reference = None
    changed = set()
    for count in thread_counts:
        with threads(count):
            together = attention(query, key, value, batch, rows)
            reference = together if reference is None else reference
            if not torch.equal(together, reference):
                changed.add(f"length {length} in a batch, {count} threads")
            for segment in batch.segments[-1].split():
                own = segment.tokens if rows is Rows.ALL else segment.sequences
                parts = query[own], key[segment.tokens], value[segment.tokens]
                alone = attention(*parts, batch_of((length,)), rows)
                if not torch.equal(alone, reference[own]):
                    changed.add(f"length {length} alone, {count} threads")
    return changed


each_rows = pytest.mark.parametrize("rows", [Rows.ALL, Rows.FIRST], ids=lambda rows: rows.name)


@each_rows
@pytest.mark.parametrize(("num_heads", "head_dim"), HEAD_SHAPES)
def test_attention_gives_a_sequence_the_same_bits_alone_and_in_a_batch_at_every_length(
    num_heads: int, head_dim: int, rows: Rows
) -> None:
    attention = attention_of(num_heads, head_dim)
    lengths = (*range(1, 131), 191, 192, 257, 385, 512)
    assert not {c for n in lengths for c in attention_changes(attention, n, rows, (2, 1))}


@each_rows
@pytest.mark.parametrize(("num_heads", "head_dim"), HEAD_SHAPES)
def test_attention_gives_a_sequence_the_same_bits_on_three_threads(
    num_heads: int, head_dim: int, rows: Rows
) -> None:
    attention = attention_of(num_heads, head_dim)
    lengths = (1, 2, 5, 17, 20, 27, 33, 40, 98)
    assert not {c for n in lengths for c in attention_changes(attention, n, rows, (1, 3))}


@pytest.mark.parametrize("window", [None, 0, 1, 40])
@pytest.mark.parametrize("length", [1, 2, 3, 17, 64, 129])
@pytest.mark.parametrize(("num_heads", "head_dim"), HEAD_SHAPES)
def test_attention_computes_the_formula(
    num_heads: int, head_dim: int, length: int, window: int | None
) -> None:
    attention = attention_of(num_heads, head_dim, window)
    query, key, value, batch = attention_inputs(length, num_heads * head_dim)
    singles = [single for segment in batch.segments for single in segment.split()]
    expected = [
        attention_by_formula(
            query[each.tokens], key[each.tokens], value[each.tokens], num_heads, window
        )
        for each in singles
    ]
    wanted = {
        Rows.ALL: torch.cat(expected),
        Rows.FIRST: torch.stack([rows[0] for rows in expected]),
        Rows.LAST: torch.stack([rows[-1] for rows in expected]),
    }
    for by_sequence, rows in product((False, True), Rows):
        compute = replace(attention, by_sequence=by_sequence)
        found = compute(batch.select(query, rows), key, value, batch, rows)
        torch.testing.assert_close(found.double(), wanted[rows], rtol=1e-5, atol=1e-6)


# -------------------------------------------------------------------- checks: planted faults


def one_ulp_up(tensor: Tensor) -> Tensor:
    return torch.nextafter(tensor, torch.full_like(tensor, torch.inf))


@dataclass
class PlantedKernel:
    """Right but for `spoil`: (product, is the weight packed, is there a residual) → product."""

    spoil: Callable[[Tensor, bool, bool], Tensor]
    name: str = "planted"

    def prepack(self, weight: Tensor) -> Tensor:
        self.packed = weight.clone()
        return self.packed

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        product = candidate_kernels(x.device, "fp32")[0].linear(
            x, weight, bias, activation, residual
        )
        return self.spoil(product, weight is self.packed, residual is not None)


def _last_row_moves(product: Tensor) -> Tensor:
    return torch.cat([product[:-1], one_ulp_up(product[-1:])])


def _every_fourth_row_moves(product: Tensor) -> Tensor:
    fourth = torch.arange(len(product))[:, None] % 4 == 0
    return torch.where(fourth, one_ulp_up(product), product)


def _one_element_moves(product: Tensor) -> Tensor:
    moved = product.clone()
    moved[0, 0] = one_ulp_up(moved[0, 0])
    return moved


FAULTS: dict[str, Callable[[Tensor, bool, bool], Tensor]] = {
    "few rows take another kernel": lambda p, _, __: one_ulp_up(p) if len(p) < 10 else p,
    "one row takes another kernel": lambda p, _, __: one_ulp_up(p) if len(p) == 1 else p,
    "many rows take another kernel": lambda p, _, __: one_ulp_up(p) if len(p) > 100 else p,
    "the thread count counts": lambda p, _, __: p if torch.get_num_threads() > 1 else one_ulp_up(p),
    "packed is not plain": lambda p, packed, _: one_ulp_up(p) if packed else p,
    "the last row is another": lambda p, _, __: _last_row_moves(p),
    "the place in the batch counts": lambda p, _, __: _every_fourth_row_moves(p),
    "one element of the first row": lambda p, _, __: _one_element_moves(p),
    "the neighbours count": lambda p, _, __: p * (1 + 1e-6 * p.abs().max()),
    "only with a residual": lambda p, _, joined: one_ulp_up(p) if joined and len(p) < 3 else p,
}


def plant(monkeypatch: pytest.MonkeyPatch, *kernels: LinearKernel) -> None:
    monkeypatch.setattr(
        "isobatch.kernels.selection.candidate_kernels", lambda _device, _precision: kernels
    )


@pytest.fixture
def two_threads() -> Iterator[None]:
    with threads(2):
        yield


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_kernel_is_rejected_and_the_next_one_selected(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, PlantedKernel(FAULTS[fault]), TileKernel())
    (choice,) = select_linears(random_linear(32, 32))
    assert choice.operation == "linear 32→32 linear"
    assert choice.kernel == "tiles"
    assert choice.reason.startswith("planted rejected (the bits of a row differ between ")


def test_a_kernel_without_a_fault_is_selected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: it is the faults that are rejected above, not the planting."""
    plant(monkeypatch, PlantedKernel(lambda product, _, __: product), TileKernel())
    (choice,) = select_linears(random_linear(32, 32))
    assert choice.kernel == "planted"
    assert "rejected" not in choice.reason


def test_without_an_invariant_kernel_loading_fails_and_names_every_rejection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil = FAULTS["few rows take another kernel"]
    plant(monkeypatch, PlantedKernel(spoil, "first"), PlantedKernel(spoil, "second"))
    with pytest.raises(
        NotInvariantError, match=r"linear 8→6 linear: .*first rejected.*second rejected"
    ):
        select_linears(random_linear(8, 6))


def test_a_kernel_is_chosen_once_a_shape_and_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, TileKernel())
    gelu = activation_named("gelu")
    choices = select_linears(*(random_linear(8, 8, act) for act in (IDENTITY, gelu, IDENTITY)))
    assert [choice.operation for choice in choices] == ["linear 8→8 linear", "linear 8→8 gelu"]
    assert {choice.kernel for choice in choices} == {"tiles"}


SPEC = block_spec(32, 4, 64)


def select_all() -> tuple[KernelChoice, ...]:
    """One of each operation."""
    selector = KernelSelector(CPU)
    selector.select_linear(random_linear(32, 32))
    selector.select_attention(SPEC.attention)
    selector.select_norm(NormWeights(torch.ones(32), torch.zeros(32), 1e-12))
    return selector.choices


def test_every_operation_is_reported_with_a_reason() -> None:
    choices = select_all()
    assert {choice.operation for choice in choices} == {
        "linear 32→32 linear",
        "attention 4×8",
        "layer norm 32",
    }
    assert all(choice.reason for choice in choices)


class BatchDependent(PackedAttention):
    """Several sequences come out one ulp higher than each alone."""

    def _attend(self, query: Tensor, *others: Any) -> Tensor:
        mixed, segment = super()._attend(query, *others), others[2]
        return one_ulp_up(mixed) if segment.num_sequences > 1 else mixed


class OneQuery(PackedAttention):
    """Only with one query a sequence, and only for several sequences."""

    def _attend(self, query: Tensor, *others: Any) -> Tensor:
        mixed, segment = super()._attend(query, *others), others[2]
        queries = len(query) // segment.num_sequences
        several = segment.num_sequences > 1 and queries < segment.length
        return one_ulp_up(mixed) if several else mixed


class ThreadDependent(PackedAttention):
    """One thread gives other bits than two, alone as in a batch."""

    def _attend(self, query: Tensor, *others: Any) -> Tensor:
        mixed = super()._attend(query, *others)
        return mixed if torch.get_num_threads() > 1 else one_ulp_up(mixed)


def plant_attention(monkeypatch: pytest.MonkeyPatch, kind: type[PackedAttention]) -> None:
    monkeypatch.setattr("isobatch.kernels.selection.PackedAttention", kind)


@pytest.mark.parametrize("kind", [BatchDependent, OneQuery])
def test_batch_dependent_attention_is_computed_sequence_by_sequence(
    kind: type[PackedAttention], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_attention(monkeypatch, kind)
    selector = KernelSelector(CPU)
    attention = selector.select_attention(SPEC.attention)
    (choice,) = selector.choices
    assert choice.kernel == "sequence by sequence"
    assert choice.reason.startswith("segments of equal length rejected (bits differ at length ")
    assert attention.by_sequence
    for rows in Rows:
        assert not attention_changes(attention, 5, rows, thread_counts=(2, 1))


@pytest.mark.usefixtures("two_threads")
def test_thread_dependent_attention_is_rejected_and_the_threads_are_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant_attention(monkeypatch, ThreadDependent)
    with pytest.raises(NotInvariantError, match=r"attention 4×8: .*sequence by sequence rejected"):
        select_all()
    assert torch.get_num_threads() == 2


class BatchDependentNorm(NormWeights):
    """Few rows come out one ulp higher."""

    def __call__(self, x: Tensor) -> Tensor:
        normed = super().__call__(x)
        return one_ulp_up(normed) if len(x) < 10 else normed


def test_a_batch_dependent_layer_norm_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    norm = BatchDependentNorm(torch.ones(32), torch.zeros(32), 1e-12)
    with pytest.raises(NotInvariantError, match="layer norm 32"):
        KernelSelector(CPU).select_norm(norm)


@pytest.mark.parametrize("count", [1, 2])
def test_selection_restores_the_number_of_threads(count: int) -> None:
    with threads(count):
        select_all()
        assert torch.get_num_threads() == count


@pytest.mark.usefixtures("two_threads")
def test_selection_restores_the_number_of_threads_when_a_kernel_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_on_one_thread(product: Tensor, packed: bool, joined: bool) -> Tensor:
        if torch.get_num_threads() == 1:
            raise ArithmeticError("planted")
        return product

    plant(monkeypatch, PlantedKernel(fail_on_one_thread))
    with pytest.raises(ArithmeticError, match="planted"):
        select_linears(random_linear(8, 8))
    assert torch.get_num_threads() == 2


def test_selection_leaves_the_global_random_generator_alone() -> None:
    before = torch.get_rng_state()
    select_all()
    assert torch.equal(torch.get_rng_state(), before)
