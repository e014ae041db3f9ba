"""Layers with random weights, sequences to compute with them, and the formula in float64.

For the tests of block kernels, which need no model and no checkpoint.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch, pack
from isobatch.checkpoint.quantized import QuantizedTensor
from isobatch.kernels import (
    BlockKernel,
    BlockWeights,
    LinearWeights,
    NormWeights,
    block_weights,
)
from isobatch.kernels.activations import IDENTITY, Activation
from isobatch.specification import BlockSpec, PositionRule
from isobatch.types import Encoding, Rows


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Unlike in torch.equal, 0.0 differs from -0.0 and a NaN is equal to itself."""
    return torch.equal(one.view(torch.int32), other.view(torch.int32))


def random_linear(
    num_in: int, num_out: int, activation: Activation = IDENTITY, seed: int = 0
) -> LinearWeights:
    weight = normal(num_out, num_in, seed=2 * seed + 1) / num_in**0.5
    bias = normal(num_out, seed=2 * seed + 2)
    return LinearWeights(nn.Parameter(weight), nn.Parameter(bias), activation)


def random_weights(spec: BlockSpec) -> BlockWeights:
    """Every parameter is random, so that none can be left out or swapped unnoticed."""
    hidden, wide = spec.hidden_size, spec.intermediate_size
    sizes = {name: (hidden, hidden) for name in ("query", "key", "value", "output")}
    sizes |= {"up": (hidden, wide), "down": (wide, hidden), "gate": (hidden, wide)}
    tensors: dict[str, Tensor] = {}
    for number, (name, (num_in, num_out)) in enumerate(sizes.items()):
        layer = random_linear(num_in, num_out, seed=number)
        assert isinstance(layer.weight, Tensor)
        assert layer.bias is not None
        tensors[f"{name}.weight"] = layer.weight
        if spec.biases:
            tensors[f"{name}.bias"] = layer.bias
    for number, name in enumerate(("attention_norm", "norm")):
        tensors[f"{name}.weight"] = nn.Parameter(1 + 0.2 * normal(hidden, seed=20 + number))
        tensors[f"{name}.bias"] = nn.Parameter(0.2 * normal(hidden, seed=30 + number))
    return block_weights(spec, tensors)


def random_block(
    hidden: int, wide: int, heads: int, activation: str = "gelu", eps: float = 1e-12
) -> BlockWeights:
    return random_weights(BlockSpec(hidden, heads, wide, activation, eps))


def parameters_of(weights: BlockWeights) -> list[nn.Parameter]:
    """Every weight and bias itself, not a copy."""
    return [each for each in weights.tensors.values() if isinstance(each, nn.Parameter)]


def batch_of(lengths: Sequence[int]) -> PackedBatch:
    return pack([Encoding([0] * length, [0] * length) for length in lengths], PositionRule())


def compute(
    kernel: BlockKernel, hidden: Tensor, lengths: Sequence[int], rows: Rows = Rows.ALL
) -> Tensor:
    return kernel(hidden, batch_of(lengths), rows)


def alone(
    kernel: BlockKernel, hidden: Tensor, lengths: Sequence[int], rows: Rows = Rows.ALL
) -> Tensor:
    """Compute each sequence in a call of its own."""
    parts = torch.split(hidden, list(lengths))
    return torch.cat([compute(kernel, part, (len(part),), rows) for part in parts])


def formula(
    weights: BlockWeights, hidden: Tensor, lengths: Sequence[int], rows: Rows = Rows.ALL
) -> Tensor:
    """The layer in float64, by torch's own operations, written without the package's formula."""
    wanted = {Rows.ALL: slice(None), Rows.FIRST: slice(0, 1), Rows.LAST: slice(-1, None)}[rows]
    parts = torch.split(hidden, list(lengths))
    return torch.cat([_sequence(weights, part.double())[wanted] for part in parts])


def _sequence(weights: BlockWeights, hidden: Tensor) -> Tensor:
    spec = weights.spec
    pre = spec.norm == "pre"
    source = _norm(weights.attention_norm, hidden) if pre else hidden
    query, key, value = (
        _linear(layer, source) for layer in (weights.query, weights.key, weights.value)
    )
    mixed = attention(query, key, value, spec.num_heads, spec.window)
    attended = _linear(weights.output, mixed) + hidden
    attended = attended if pre else _norm(weights.attention_norm, attended)
    source = _norm(weights.norm, attended) if pre else attended
    wide = _activated(weights.up, source)
    if weights.gate is not None:
        wide = wide * _activated(weights.gate, source)
    result = _linear(weights.down, wide) + attended
    return result if pre else _norm(weights.norm, result)


def attention(
    query: Tensor, key: Tensor, value: Tensor, num_heads: int, window: int | None = None
) -> Tensor:
    """One sequence, [length, hidden], in the dtype of its arguments."""
    q, k, v = (
        tensor.view(len(tensor), num_heads, -1).transpose(0, 1) for tensor in (query, key, value)
    )
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    if window is not None:
        places = torch.arange(len(key))
        scores = scores.masked_fill((places[:, None] - places).abs() > window, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(query.shape)


def _activated(layer: LinearWeights, x: Tensor) -> Tensor:
    return layer.activation.function(_linear(layer, x))


def _linear(layer: LinearWeights, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.double()
    return F.linear(x, layer.float_weight().double(), bias)


def exact_product(weight: QuantizedTensor, bias: Tensor, x: Tensor) -> Tensor:
    """An int8 linear by integers of 64 bits, written without the package's rounding of rows.

    float(sum) × channel's scale × row's scale + bias, each rounded to float32.
    """
    amax = x.detach().abs().amax(dim=1, keepdim=True).clamp_min(1e-30)
    integers = torch.round(x.detach() * (torch.full_like(amax, 127) / amax)).long()
    sums = (integers.double() @ weight.values.double().T).long().float()
    row_scale = amax / torch.full_like(amax, 127)
    return sums * weight.scale * row_scale + bias.detach()


def _norm(norm: NormWeights, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.weight.shape, norm.weight.double(), norm.bias.double(), norm.eps)
