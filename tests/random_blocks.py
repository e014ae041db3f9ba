"""Blocks with random weights, random sequences, and the formula of a block in float64."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.core import Run
from isobatch.numerics import BlockKernel, BlockLayers, Linear, PackedAttention, activation_named
from isobatch.numerics.activations import IDENTITY, Activation


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


@torch.no_grad()
def random_linear(
    num_in: int, num_out: int, activation: Activation = IDENTITY, seed: int = 0
) -> Linear:
    layer = Linear(num_in, num_out, activation).eval()
    layer.weight.copy_(normal(num_out, num_in, seed=2 * seed + 1) / num_in**0.5)
    layer.bias.copy_(normal(num_out, seed=2 * seed + 2))
    return layer


@torch.no_grad()
def random_block(
    hidden: int, wide: int, heads: int, activation: str = "gelu", eps: float = 1e-12
) -> BlockLayers:
    """Every parameter is random, so that none can be left out or swapped unnoticed."""
    norms = [nn.LayerNorm(hidden, eps=eps) for _ in range(2)]
    for number, norm in enumerate(norms):
        norm.weight.copy_(1 + 0.2 * normal(hidden, seed=20 + number))
        norm.bias.copy_(0.2 * normal(hidden, seed=30 + number))
    query, key, value, output = (random_linear(hidden, hidden, seed=seed) for seed in range(4))
    return BlockLayers(
        query,
        key,
        value,
        PackedAttention(heads, hidden // heads).eval(),
        output,
        norms[0],
        random_linear(hidden, wide, activation_named(activation), seed=4),
        random_linear(wide, hidden, seed=5),
        norms[1],
    )


def runs_of(lengths: Sequence[int]) -> list[Run]:
    """As `isobatch.packed` makes them."""
    runs, sequence, token = [], 0, 0
    for length, same in groupby(lengths):
        count = len(list(same))
        runs.append(Run(sequence, token, count, length))
        sequence, token = sequence + count, token + count * length
    return runs


def borders_of(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def compute(
    kernel: BlockKernel, hidden: Tensor, lengths: Sequence[int], *, first_only: bool = False
) -> Tensor:
    return kernel(hidden, borders_of(lengths), runs_of(lengths), first_only=first_only)


def alone(
    kernel: BlockKernel, hidden: Tensor, lengths: Sequence[int], *, first_only: bool = False
) -> Tensor:
    """Compute each sequence in a call of its own."""
    parts = torch.split(hidden, list(lengths))
    return torch.cat([compute(kernel, part, (len(part),), first_only=first_only) for part in parts])


def formula(
    layers: BlockLayers, hidden: Tensor, lengths: Sequence[int], *, first_only: bool = False
) -> Tensor:
    """Compute the block in float64 with torch's operations."""
    rows = [_sequence(layers, part.double()) for part in torch.split(hidden, list(lengths))]
    return torch.cat([part[:1] if first_only else part for part in rows])


def _sequence(layers: BlockLayers, hidden: Tensor) -> Tensor:
    query, key, value = (_linear(layer, hidden) for layer in layers[:3])
    mixed = attention(query, key, value, layers.attend.num_heads)
    attended = _norm(layers.attention_norm, _linear(layers.output, mixed) + hidden)
    wide = layers.up.activation.function(_linear(layers.up, attended))
    return _norm(layers.norm, _linear(layers.down, wide) + attended)


def attention(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """Attention of one sequence, [length, hidden], in the dtype of its arguments."""
    q, k, v = (
        tensor.view(len(tensor), num_heads, -1).transpose(0, 1) for tensor in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
    return mixed.transpose(0, 1).reshape(query.shape)


def _linear(layer: Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.double(), layer.bias.double())


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    size = norm.normalized_shape
    return F.layer_norm(x, size, norm.weight.double(), norm.bias.double(), norm.eps)
