"""The compiled activations against torch's in float64, over everything that float32 can hold."""

import pytest
import torch
from random_blocks import same_bits
from torch import Tensor

from isobatch.errors import UnsupportedModelError
from isobatch.kernels import activation_named
from isobatch.kernels.activations import _BY_NAME
from isobatch.kernels.compiled import ACTIVATIONS, compute_linear, unavailable

needs_compiled = pytest.mark.skipif(
    unavailable("fp32") is not None, reason=f"compiled: {unavailable('fp32')}"
)

ERRORS = {
    "linear": 0.0,
    "gelu": 9e-7,
    "gelu_new": 2e-7,
    "relu": 0.0,
    "relu6": 0.0,
    "silu": 2e-7,
    "quick_gelu": 2e-7,
    "mish": 2e-7,
    "tanh": 4e-7,
    "sigmoid": 1e-7,
}
"""Largest error, of numbers up to 1 absolute and of larger ones relative."""


def compiled(name: str, x: Tensor) -> Tensor:
    """The activation alone: a product with 1 changes no number."""
    one = torch.ones(1, 1)
    return compute_linear(x[:, None], one, None, activation_named(name)).flatten()


def numbers() -> Tensor:
    exponents = torch.arange(-149, 128, dtype=torch.float64)
    powers = torch.cat([2.0**exponents, 1.7 * 2.0 ** exponents[:-1]]).float()
    dense = torch.cat([torch.linspace(-12, 12, 200_001), torch.linspace(-120, 120, 50_001)])
    limits = torch.tensor([0.0, -0.0, torch.finfo(torch.float32).max, torch.inf])
    return torch.cat([powers, -powers, dense, limits, -limits])


def test_every_activation_is_compiled() -> None:
    assert {each.name for each in _BY_NAME.values()} == {*ACTIVATIONS} == {*ERRORS}
    with pytest.raises(UnsupportedModelError, match="'gelu_10' is not supported; supported: gelu"):
        activation_named("gelu_10")


@needs_compiled
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_near_torch_s_in_float64(name: str) -> None:
    """Up to 10³⁰: below that, x e⁻⁸⁷ is no longer nothing, and no smaller power is computed."""
    x = numbers()
    x = x[x.abs() <= 1e30]
    found, expected = compiled(name, x).double(), activation_named(name).function(x.double())
    expected = expected.float().double()
    error = (found - expected).abs() / expected.abs().clamp_min(1)
    worst = int(error.nan_to_num(torch.inf).argmax())
    assert error[worst] <= ERRORS[name], (float(x[worst]), float(found[worst]))


@needs_compiled
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_infinity_has_its_limit(name: str) -> None:
    limits = {"relu6": 6.0, "tanh": 1.0, "sigmoid": 1.0}
    above, below = compiled(name, torch.tensor([torch.inf, -torch.inf])).tolist()
    assert above == pytest.approx(limits.get(name, torch.inf), abs=3e-7)
    zeros = {"relu", "relu6", "sigmoid"}
    if name in zeros:
        assert below == pytest.approx(0, abs=1e-37)
    elif name == "tanh":
        assert below == pytest.approx(-1, abs=3e-7)
    else:
        assert not -1e30 < below < 1e30, "0 × ∞ is NaN, in torch as well"


@needs_compiled
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_number_has_the_same_bits_at_every_place(name: str) -> None:
    """Sixteen are computed at once, and the last ones fewer."""
    x = numbers()[::997]
    expected, weight = compiled(name, x), torch.eye(len(x))
    row = compute_linear(x[None].nan_to_num(), weight, None, activation_named(name))[0]
    finite = x.isfinite()
    zero = x == 0  # a sum of zeros is +0
    assert same_bits(row[finite & ~zero], expected[finite & ~zero])
