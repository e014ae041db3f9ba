"""Each variant that this machine can run gives the bits of plain C++ on random numbers."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_blocks import batch_of, normal, random_block, same_bits
from torch import Tensor

from isobatch.kernels.activations import IDENTITY, activation_named
from isobatch.kernels.compiled import (
    ACTIVATIONS,
    PackedBlock,
    PackedWeight,
    compute_linear,
    kernels,
    variant_statuses,
)
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.types import Precision, Rows

REFERENCE = "reference"
USABLE = [status.name for status in variant_statuses() if status.problem is None]
FAST = [name for name in USABLE if name != REFERENCE]
pytestmark = pytest.mark.skipif(
    REFERENCE not in USABLE or not FAST, reason=f"only {', '.join(USABLE) or 'none'} runs here"
)

EXACT: tuple[Precision, ...] = ("fp32", "int8")
SIZES = st.integers(1, 200)
each_variant = pytest.mark.parametrize("variant", FAST)


def ties(*shape: int, seed: int) -> Tensor:
    """Halves between the integers that int8 rounds to, as the largest of each row is 127."""
    x = (normal(*shape, seed=seed) * 40).clamp(-126, 126).floor() + 0.5
    x[..., 0] = 127
    return x


def mixed(*shape: int, seed: int) -> Tensor:
    """Sizes from denormal to huge in one row, zeros of both signs among them."""
    x = normal(*shape, seed=seed) * 10 ** (12 * normal(*shape, seed=seed + 1)).clamp(-44, 15)
    zeros = normal(*shape, seed=seed + 2) > 1
    return torch.where(zeros, torch.copysign(torch.zeros(shape), x), x)


NUMBERS: dict[str, Callable[..., Tensor]] = {
    "normal": normal,
    "denormal": lambda *shape, seed: normal(*shape, seed=seed) * 1e-39,
    "huge": lambda *shape, seed: normal(*shape, seed=seed) * 1e15,
    "ties": ties,
    "mixed": mixed,
}
numbers = st.sampled_from(sorted(NUMBERS))


def computed_by(variant: str, compute: Callable[[], Tensor]) -> Tensor:
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setenv(VARIABLE, variant)
        assert kernels("fp32").name == kernels("int8").name == variant
        return compute()


def agree(variant: str, compute: Callable[[], Tensor]) -> None:
    expected = computed_by(REFERENCE, compute)
    assert expected.isfinite().all()
    assert same_bits(computed_by(variant, compute), expected)


@each_variant
@given(
    rows=st.integers(1, 14),
    sizes=st.tuples(SIZES, SIZES),
    precision=st.sampled_from(EXACT),
    packed=st.booleans(),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    kind=numbers,
    seed=st.integers(0, 2**20),
)
def test_linears(
    variant: str,
    rows: int,
    sizes: tuple[int, int],
    precision: Precision,
    packed: bool,
    activation: str,
    kind: str,
    seed: int,
) -> None:
    num_in, num_out = sizes
    x = NUMBERS[kind](rows, num_in, seed=seed)
    plain, bias = normal(num_out, num_in, seed=seed + 10), normal(num_out, seed=seed + 11)
    residual = NUMBERS[kind](rows, num_out, seed=seed + 12) if activation == IDENTITY.name else None

    def compute() -> Tensor:
        weight = PackedWeight(plain, precision) if packed or precision == "int8" else plain
        return compute_linear(x, weight, bias, activation_named(activation), residual)

    agree(variant, compute)


@each_variant
@settings(max_examples=30)
@given(
    heads=st.integers(1, 4),
    head_size=st.integers(1, 40),
    wide=SIZES,
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=3),
    precision=st.sampled_from(EXACT),
    rows=st.sampled_from(Rows),
    kind=numbers,
    seed=st.integers(0, 2**20),
)
def test_layers(
    variant: str,
    heads: int,
    head_size: int,
    wide: int,
    lengths: Sequence[int],
    precision: Precision,
    rows: Rows,
    kind: str,
    seed: int,
) -> None:
    hidden = heads * head_size
    weights = random_block(hidden, wide, heads)
    batch, x = batch_of(lengths), NUMBERS[kind](sum(lengths), hidden, seed=seed)
    agree(variant, lambda: PackedBlock(weights, precision)(x, batch, rows))


def test_another_number_is_noticed() -> None:
    """One last bit of the number that is added last, by the same comparison."""
    x, weight = normal(3, 7), normal(5, 7, seed=1)
    nudged = x.clone()
    nudged[1, 6] = torch.nextafter(x[1, 6], torch.tensor(torch.inf))

    def compute(x: Tensor) -> Tensor:
        return computed_by(REFERENCE, lambda: compute_linear(x, weight, None))

    assert not same_bits(compute(x), compute(nudged))
