"""Errors of the functions of docs/arithmetic.md are those that its table states."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain_arithmetic as plain
import pytest
import torch
from torch import Tensor

from isobatch.batching.packed import pack
from isobatch.kernels import EmbeddingWeights, NormWeights, activation_named, compiled
from isobatch.specification import PositionRule
from isobatch.types import Encoding

PAGE = (Path(__file__).parents[2] / "docs" / "arithmetic.md").read_text(encoding="utf-8")
ROW = re.compile(r"\| `(\w+)` \| ([\de.-]+) \| ([\de.-]+) \|")

FLOAT64: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda x: 0.5 * x * torch.erfc(-x / math.sqrt(2)),
    "gelu_new": lambda x: x * torch.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
    "silu": lambda x: x * torch.sigmoid(x),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "mish": lambda x: x * torch.tanh(torch.log1p(torch.exp(x))),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
"""Independent formulas in float64."""

compiled_only = pytest.mark.skipif(
    compiled.unavailable("fp32") is not None, reason="no compiled kernels run here"
)


def stated() -> dict[str, tuple[float, float]]:
    section = PAGE.split("## Accuracy")[1].split("\n## ")[0]
    return {name: (float(one), float(other)) for name, one, other in ROW.findall(section)}


def errors(x: Tensor, given: Tensor, exact: Tensor) -> tuple[float, float]:
    """Return the largest absolute error within ±10, and the largest relative one above 0."""
    distance = (given.double() - exact).abs()
    return (
        distance[x.abs() <= 10].max().item(),
        (distance / exact.abs())[x > 0].max().item(),
    )


def of_every_magnitude(smallest: float, largest: float, count: int) -> Tensor:
    """Return float32 numbers at equal distances of their bits: the same on every machine."""
    first, last = (int(np.float32(each).view(np.int32)) for each in (smallest, largest))
    bits = np.arange(first, last, (last - first) // count, dtype=np.int32)
    return torch.tensor(bits.view(np.float32))


def sample() -> Tensor:
    above = of_every_magnitude(1e-30, 20, 300_000)
    return torch.cat([torch.arange(-200_000, 200_001) / 10_000, above, -above])


def activation_errors(name: str) -> tuple[float, float]:
    x = sample()[:, None]
    one, zero = torch.ones(1, 1), torch.zeros(1)
    return errors(
        x,
        compiled.compute_linear(x, one, zero, activation_named(name)),
        FLOAT64[name](x.double()),
    )


def exp_errors() -> tuple[float, float]:
    """Of exp(-x), in the plain implementation: no kernel gives it alone."""
    x = torch.cat([torch.arange(3001) * 0.029, of_every_magnitude(1e-20, 10, 500)])
    given = torch.tensor(np.array([plain.exp(number) for number in -x.numpy()]))
    return errors(x, given, torch.exp(-x.double()))


def norm_errors() -> tuple[float, float]:
    """Of rows of 384 numbers around 0 and around 1; the relative error is of the row's largest."""
    drawn = np.random.default_rng(0).standard_normal((1000, 384))
    x = torch.tensor(drawn, dtype=torch.float32)
    x[500:] += 1
    norm = NormWeights(torch.ones(384), torch.zeros(384), 1e-12)
    tables = EmbeddingWeights(x, torch.zeros(len(x), 384), None, norm)
    ids = list(range(len(x)))
    given = compiled.embed(tables, pack([Encoding(ids, [0] * len(ids))], PositionRule()))
    exact = torch.nn.functional.layer_norm(x.double(), (384,), eps=1e-12)
    distance = (given.double() - exact).abs()
    return distance.max().item(), (distance / exact.abs().amax(1, keepdim=True)).max().item()


def measured(name: str) -> tuple[float, float]:
    if name in ("exp", "norm"):
        return exp_errors() if name == "exp" else norm_errors()
    return activation_errors(name)


def rounded_up(error: float) -> float:
    """Round to two digits, as the page has it."""
    unit = 10.0 ** (math.floor(math.log10(error)) - 1)
    return float(f"{math.ceil(error / unit) * unit:.1e}")


def test_the_page_states_every_function_that_is_not_exact() -> None:
    exact = {"linear", "relu", "relu6"}
    names = {activation_named(name).name for name in plain.ACTIVATIONS}
    assert set(stated()) == (names - exact) | {"exp", "norm"}


@compiled_only
@pytest.mark.parametrize("name", [*FLOAT64, "exp", "norm"])
def test_the_largest_errors_are_those_of_the_page(name: str) -> None:
    found = measured(name)
    row = " | ".join(f"{rounded_up(error):.1e}" for error in found)
    for error, bound in zip(found, stated()[name], strict=True):
        assert error <= bound < 1.2 * error, f"| `{name}` | {row} |"
