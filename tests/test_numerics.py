"""Kernels: rows independent of their neighbours, and an invariance check that detects faults.

Bits are compared with torch.equal, values with a formula in float64. The planted kernels and
modules are wrong on purpose: the check must refuse each of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from random_blocks import normal, random_linear, threads
from torch import Tensor, nn

from isobatch.core import Run
from isobatch.errors import NotInvariantError, UnsupportedModelError
from isobatch.numerics import (
    Choice,
    KernelSettler,
    PackedAttention,
    activation_named,
)
from isobatch.numerics.activations import _BY_NAME, IDENTITY, Activation
from isobatch.numerics.kernels import (
    Bf16Kernel,
    Kernel,
    OneDnnKernel,
    RowKernel,
    TileKernel,
    candidate_kernels,
)

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
    not Bf16Kernel.is_available(CPU), reason="this processor does not multiply bfloat16"
)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def settle_kernels(model: nn.Module) -> tuple[Choice, ...]:
    """Choose the kernel of every module, as loading does for those outside of blocks."""
    settler = KernelSettler(CPU)
    for module in model.modules():
        settler.settle(module)
    return settler.choices


def slices(num_rows: int) -> Iterator[slice]:
    """Slices of several lengths at the front, at odd places and at the end."""
    for count in (*SOME_ROWS, num_rows):
        for first in sorted({0, 1, 7, num_rows - count}):
            if 0 <= first <= num_rows - count:
                yield slice(first, first + count)


def rows_that_change(compute: Callable[[slice], Tensor], num_rows: int) -> set[str]:
    """Cases in which rows have other bits than among all rows on two threads."""
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
    kernel: Kernel,
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
def test_a_kernel_computes_the_formula(kernel: Kernel, num_rows: int, name: str) -> None:
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
def test_a_kernel_leaves_its_inputs_alone(kernel: Kernel) -> None:
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
def test_tiles_give_a_row_the_same_bits_at_any_place(
    num_in: int, num_out: int, joined: bool
) -> None:
    """Other inner sizes, which no checkpoint has, MKL treats by a row's place in the tile."""
    assert not kernel_changes(TileKernel(), num_in, num_out, joined=joined)


@given(num_in=sizes, num_out=sizes)
@settings(max_examples=8)
def test_rows_one_by_one_give_a_row_the_same_bits_at_any_place(num_in: int, num_out: int) -> None:
    assert not kernel_changes(RowKernel(), num_in, num_out, num_rows=40)


@pytest.mark.parametrize("kernel", [TileKernel(), RowKernel()], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(("num_in", "num_out"), [(384, 1536), (1536, 384)])
def test_portable_kernels_give_a_row_the_same_bits_in_the_sizes_of_real_models(
    kernel: Kernel, num_in: int, num_out: int
) -> None:
    assert not kernel_changes(kernel, num_in, num_out, num_rows=40)


@with_onednn
@pytest.mark.parametrize("joined", [False, True], ids=("alone", "residual"))
@given(num_in=sizes, num_out=sizes)
@settings(max_examples=12)
def test_onednn_gives_a_row_the_same_bits_at_any_place(
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
def test_bf16_gives_a_row_the_same_bits_at_any_place(
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
def test_the_chosen_kernel_keeps_the_bits_of_every_row(
    num_in: int, num_out: int, name: str
) -> None:
    """Each shape and activation must have a kernel, and one that is batch-invariant."""
    layer, x = random_linear(num_in, num_out, activation_named(name)), normal(NUM_ROWS, num_in)
    (choice,) = settle_kernels(layer)
    assert not rows_that_change(lambda rows: layer(x[rows]), NUM_ROWS), choice


# ----------------------------------------------------------------------------- the linear layer


def test_a_linear_without_a_kernel_names_the_function_to_call() -> None:
    with pytest.raises(RuntimeError, match="settle_plain"):
        random_linear(4, 4)(normal(2, 4))


@pytest.mark.parametrize("activation", ["linear", "gelu"])
def test_prepacking_drops_the_weight_and_changes_no_bit(activation: str) -> None:
    layer, x = random_linear(40, 24, activation_named(activation)), normal(9, 40)
    settle_kernels(layer)
    before = layer(x)
    layer.prepack()
    assert "weight" not in dict(layer.named_parameters())
    assert torch.equal(layer(x), before)


def test_an_activation_that_is_not_implemented_is_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedModelError, match="'gelu_10' is not implemented; these are: gelu"
    ):
        activation_named("gelu_10")


# --------------------------------------------------------------------------------- attention


def attention_by_formula(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """One sequence in float64; query [asking, hidden], key and value [length, hidden]."""
    q, k, v = (
        tensor.double().view(len(tensor), num_heads, -1).transpose(0, 1)
        for tensor in (query, key, value)
    )
    weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).transpose(0, 1).reshape(query.shape)


def attention_inputs(length: int, hidden: int) -> tuple[Tensor, Tensor, Tensor, tuple[Run, ...]]:
    """Three sequences of one length behind a short one, so that they begin at an odd token."""
    runs = (Run(0, 0, 1, 3), Run(1, 3, 3, length))
    query, key, value = (normal(3 + 3 * length, hidden, seed=seed) for seed in range(3))
    return query, key, value, runs


def attention_changes(
    attention: PackedAttention, length: int, first_only: bool, thread_counts: tuple[int, ...]
) -> set[str]:
    """Cases in which a sequence alone, or a thread count, gives other bits than the first call."""
    query, key, value, runs = attention_inputs(length, attention.num_heads * attention.head_dim)
    if first_only:
        query = query[[run.first_token for whole in runs for run in whole.split()]]
    reference = None
    changed = set()
    for count in thread_counts:
        with threads(count):
            together = attention(query, key, value, runs, first_only=first_only)
            reference = together if reference is None else reference
            if not torch.equal(together, reference):
                changed.add(f"length {length} in a batch, {count} threads")
            for run in runs[1].split():
                rows = run.sequences if first_only else run.tokens
                parts = query[rows], key[run.tokens], value[run.tokens]
                alone = attention(*parts, (Run(0, 0, 1, length),), first_only=first_only)
                if not torch.equal(alone, reference[rows]):
                    changed.add(f"length {length} alone, {count} threads")
    return changed


@pytest.mark.parametrize("first_only", [False, True], ids=("full", "first"))
@pytest.mark.parametrize(("num_heads", "head_dim"), HEAD_SHAPES)
def test_attention_gives_a_sequence_the_same_bits_alone_and_in_a_batch_at_every_length(
    num_heads: int, head_dim: int, first_only: bool
) -> None:
    attention = PackedAttention(num_heads, head_dim).eval()
    lengths = (*range(1, 131), 191, 192, 257, 385, 512)
    assert not {c for n in lengths for c in attention_changes(attention, n, first_only, (2, 1))}


@pytest.mark.parametrize("first_only", [False, True], ids=("full", "first"))
@pytest.mark.parametrize(("num_heads", "head_dim"), HEAD_SHAPES)
def test_attention_gives_a_sequence_the_same_bits_on_three_threads(
    num_heads: int, head_dim: int, first_only: bool
) -> None:
    attention = PackedAttention(num_heads, head_dim).eval()
    lengths = (1, 2, 5, 17, 20, 27, 33, 40, 98)
    assert not {c for n in lengths for c in attention_changes(attention, n, first_only, (1, 3))}


@pytest.mark.parametrize("length", [1, 2, 3, 17, 64, 129])
@pytest.mark.parametrize(("num_heads", "head_dim"), HEAD_SHAPES)
def test_attention_computes_the_formula(num_heads: int, head_dim: int, length: int) -> None:
    attention = PackedAttention(num_heads, head_dim).eval()
    query, key, value, runs = attention_inputs(length, num_heads * head_dim)
    singles = [single for run in runs for single in run.split()]
    expected = [
        attention_by_formula(query[run.tokens], key[run.tokens], value[run.tokens], num_heads)
        for run in singles
    ]
    for attention.split_runs in (False, True):
        full = attention(query, key, value, runs, first_only=False)
        torch.testing.assert_close(full.double(), torch.cat(expected), rtol=1e-5, atol=1e-6)
        firsts = query[[run.first_token for run in singles]]
        first = attention(firsts, key, value, runs, first_only=True)
        wanted = torch.stack([rows[0] for rows in expected])
        torch.testing.assert_close(first.double(), wanted, rtol=1e-5, atol=1e-6)


# -------------------------------------------------------- invariance check: planted faults


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


def plant(monkeypatch: pytest.MonkeyPatch, *kernels: Kernel) -> None:
    monkeypatch.setattr(
        "isobatch.numerics.proof.candidate_kernels", lambda _device, _precision: kernels
    )


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_kernel_is_refused_and_the_next_one_chosen(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, PlantedKernel(FAULTS[fault]), TileKernel())
    layer = random_linear(32, 32)
    (choice,) = settle_kernels(layer)
    assert choice.operation == "linear 32→32 linear"
    assert choice.kernel == "tiles"
    assert choice.reason.startswith("planted refused (a row's bits are others in ")
    assert isinstance(layer.kernel, TileKernel)


def test_a_kernel_without_a_fault_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: it is the faults that are refused above, not the planting."""
    plant(monkeypatch, PlantedKernel(lambda product, _, __: product), TileKernel())
    (choice,) = settle_kernels(random_linear(32, 32))
    assert choice.kernel == "planted"
    assert "refused" not in choice.reason


def test_without_any_sound_kernel_loading_fails_and_names_every_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil = FAULTS["few rows take another kernel"]
    plant(monkeypatch, PlantedKernel(spoil, "first"), PlantedKernel(spoil, "second"))
    with pytest.raises(
        NotInvariantError, match=r"linear 8→6 linear: .*first refused.*second refused"
    ):
        settle_kernels(random_linear(8, 6))


def test_a_kernel_is_chosen_once_a_shape_and_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, TileKernel())
    gelu = activation_named("gelu")
    model = nn.Sequential(*(random_linear(8, 8, act) for act in (IDENTITY, gelu, IDENTITY)))
    choices = settle_kernels(model)
    assert [choice.operation for choice in choices] == ["linear 8→8 linear", "linear 8→8 gelu"]
    assert all(isinstance(layer.kernel, TileKernel) for layer in model)


class WholeModel(nn.Module):
    """One of each operation."""

    def __init__(
        self, attention: PackedAttention | None = None, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.linear = random_linear(32, 32)
        self.attention = attention or PackedAttention(4, 8)
        self.norm = norm or nn.LayerNorm(32)


def test_the_check_reports_every_operation_with_a_reason() -> None:
    choices = settle_kernels(WholeModel().eval())
    assert {choice.operation for choice in choices} == {
        "linear 32→32 linear",
        "attention 4×8",
        "layer norm 32",
    }
    assert all(choice.reason for choice in choices)


class BatchDependentAttention(PackedAttention):
    """A sequence among others comes out one ulp higher than alone."""

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, run: Run) -> Tensor:
        mixed = super()._attend(query, key, value, run)
        return one_ulp_up(mixed) if run.num_sequences > 1 else mixed


class ShortAttention(PackedAttention):
    """The same, but only with one query, that of the first token."""

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, run: Run) -> Tensor:
        mixed = super()._attend(query, key, value, run)
        asking = len(query) // run.num_sequences
        return one_ulp_up(mixed) if run.num_sequences > 1 and asking < run.length else mixed


class ThreadAttention(PackedAttention):
    """One thread gives other bits than two, alone and in a batch."""

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, run: Run) -> Tensor:
        mixed = super()._attend(query, key, value, run)
        return mixed if torch.get_num_threads() > 1 else one_ulp_up(mixed)


@pytest.mark.parametrize("kind", [BatchDependentAttention, ShortAttention])
def test_attention_that_depends_on_the_batch_is_computed_sequence_by_sequence(
    kind: type[PackedAttention],
) -> None:
    attention = kind(4, 8).eval()
    choice = choice_for("attention 4×8", settle_kernels(WholeModel(attention).eval()))
    assert choice.kernel == "sequence by sequence"
    assert choice.reason.startswith("runs of equal length refused (bits change at length ")
    assert attention.split_runs
    assert not attention_changes(attention, 5, first_only=False, thread_counts=(2, 1))
    assert not attention_changes(attention, 5, first_only=True, thread_counts=(2, 1))


@pytest.mark.usefixtures("two_threads")
def test_attention_that_changes_with_the_threads_is_refused_and_the_threads_are_restored() -> None:
    with pytest.raises(NotInvariantError, match=r"attention 4×8: .*sequence by sequence refused"):
        settle_kernels(WholeModel(ThreadAttention(4, 8)).eval())
    assert torch.get_num_threads() == 2


class NeighbourNorm(nn.LayerNorm):
    """Few rows come out one ulp higher."""

    def forward(self, x: Tensor) -> Tensor:
        normed = super().forward(x)
        return one_ulp_up(normed) if len(x) < 10 else normed


def test_a_layer_norm_that_depends_on_the_number_of_rows_is_refused() -> None:
    with pytest.raises(NotInvariantError, match="layer norm 32"):
        settle_kernels(WholeModel(norm=NeighbourNorm(32)).eval())


def choice_for(operation: str, choices: tuple[Choice, ...]) -> Choice:
    (choice,) = (choice for choice in choices if choice.operation == operation)
    return choice


@pytest.mark.parametrize("count", [1, 2])
def test_choosing_kernels_restores_the_number_of_threads(count: int) -> None:
    with threads(count):
        settle_kernels(WholeModel().eval())
        assert torch.get_num_threads() == count


@pytest.mark.usefixtures("two_threads")
def test_choosing_kernels_restores_the_number_of_threads_when_a_kernel_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_on_one_thread(product: Tensor, packed: bool, joined: bool) -> Tensor:
        if torch.get_num_threads() == 1:
            raise ArithmeticError("planted")
        return product

    plant(monkeypatch, PlantedKernel(fail_on_one_thread))
    with pytest.raises(ArithmeticError, match="planted"):
        settle_kernels(random_linear(8, 8))
    assert torch.get_num_threads() == 2


def test_choosing_kernels_leaves_the_global_random_generator_alone() -> None:
    before = torch.get_rng_state()
    settle_kernels(WholeModel().eval())
    assert torch.equal(torch.get_rng_state(), before)
