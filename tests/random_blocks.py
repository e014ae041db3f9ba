"""Layers with random weights, sequences to compute with them, and the formula in float64.

For the tests of block kernels, which need no model and no checkpoint.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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
from isobatch.kernels.block_formula import norms_of
from isobatch.specification import (
    LINEARS,
    AttentionSpec,
    BlockSpec,
    Disentangled,
    NormSpec,
    PositionRule,
    Rotary,
)
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
    tensors: dict[str, Tensor] = {}
    for name, (num_in, num_out) in spec.linears.items():
        layer = random_linear(num_in, num_out, seed=LINEARS.index(name))
        assert isinstance(layer.weight, Tensor)
        assert layer.bias is not None
        tensors[f"{name}.weight"] = layer.weight
        if name in spec.biases:
            tensors[f"{name}.bias"] = layer.bias
    head_dim, hidden = spec.attention.head_dim, spec.hidden_size
    for number, (name, norm) in enumerate(norms_of(spec)):
        size = head_dim if name in ("query_norm", "key_norm") else hidden
        tensors[f"{name}.weight"] = nn.Parameter(1 + 0.2 * normal(size, seed=20 + number))
        if norm.bias and norm.kind == "layer":
            tensors[f"{name}.bias"] = nn.Parameter(0.2 * normal(size, seed=30 + number))
    return block_weights(spec, tensors)


def block_spec(
    hidden: int, heads: int, wide: int, activation: str = "gelu", eps: float = 1e-12, **fields: Any
) -> BlockSpec:
    """A specification as BERT's, but for `fields` of it and of its attention."""
    own = {name: fields.pop(name) for name in [*fields] if name in AttentionSpec.__slots__}
    head_dim = own.pop("head_dim", hidden // heads)
    norm = fields.pop("norm", NormSpec(eps))
    attention = AttentionSpec(heads, head_dim, **own)
    return BlockSpec(hidden, attention, wide, activation, norm, **fields)


def random_block(
    hidden: int, wide: int, heads: int, activation: str = "gelu", eps: float = 1e-12
) -> BlockWeights:
    return random_weights(block_spec(hidden, heads, wide, activation, eps))


def parameters_of(weights: BlockWeights) -> list[nn.Parameter]:
    """Every weight and bias itself, not a copy."""
    return [each for each in weights.tensors.values() if isinstance(each, nn.Parameter)]


def batch_of(lengths: Sequence[int]) -> PackedBatch:
    return pack([Encoding([0] * length, [0] * length) for length in lengths], PositionRule())


def random_context(spec: BlockSpec, lengths: Sequence[int]) -> Tensor | None:
    """The second input of a layer that has one."""
    if spec.cross is not None:
        return normal(sum(lengths), spec.hidden_size, seed=90)
    if spec.attention.distances is not None:
        return normal(2 * spec.attention.distances.span, spec.hidden_size, seed=92)
    if spec.attention.positions is not None:
        return normal(spec.attention.num_heads, 2 * max(lengths) - 1, seed=91)
    return None


def compute(
    kernel: BlockKernel,
    hidden: Tensor,
    lengths: Sequence[int],
    rows: Rows = Rows.ALL,
    context: Tensor | None = None,
) -> Tensor:
    return kernel(hidden, batch_of(lengths), rows, context)


def alone(
    kernel: BlockKernel,
    hidden: Tensor,
    lengths: Sequence[int],
    rows: Rows = Rows.ALL,
    context: Tensor | None = None,
) -> Tensor:
    """Compute each sequence in a call of its own."""
    parts = torch.split(hidden, list(lengths))
    shared = context is None or len(context) != len(hidden)
    contexts = [context] * len(parts) if shared else torch.split(context, list(lengths))
    return torch.cat(
        [
            compute(kernel, part, (len(part),), rows, own)
            for part, own in zip(parts, contexts, strict=True)
        ]
    )


def formula(
    weights: BlockWeights,
    hidden: Tensor,
    lengths: Sequence[int],
    rows: Rows = Rows.ALL,
    context: Tensor | None = None,
) -> Tensor:
    """The layer in float64, by torch's own operations, written without the package's formula."""
    wanted = {Rows.ALL: slice(None), Rows.FIRST: slice(0, 1), Rows.LAST: slice(-1, None)}[rows]
    parts = torch.split(hidden.double(), list(lengths))
    wide = None if context is None else context.double()
    contexts = [wide] * len(parts) if weights.spec.cross is None else torch.split(wide, [*lengths])
    pairs = zip(parts, contexts, strict=True)
    return torch.cat([_sequence(weights, *pair)[wanted] for pair in pairs])


def _sequence(weights: BlockWeights, hidden: Tensor, context: Tensor | None) -> Tensor:
    spec, linears = weights.spec, weights.linears

    def norm(place: str, x: Tensor) -> Tensor:
        return _norm(weights.norms[place], x) if place in weights.norms else x

    def by_head(name: str, x: Tensor) -> Tensor:
        heads = _linear(linears[name], x).view(len(x), -1, spec.attention.head_dim)
        return norm(f"{name}_norm", heads).flatten(1)

    source = norm("attention_input_norm", hidden)
    query, key, value = (by_head(name, source) for name in ("query", "key", "value"))
    positions = None if spec.cross else context
    if spec.attention.distances is not None:
        assert context is not None
        positions = torch.stack(
            [_linear(linears[name], context) for name in spec.attention.distances.linears]
        )
    mixed = attention(query, key, value, spec.attention, positions)
    attended = norm("attention_norm", _linear(linears["output"], mixed) + hidden)
    if spec.cross is not None:
        assert context is not None
        query = _linear(linears["cross_query"], attended)
        key, value = (_linear(linears[f"cross_{name}"], context) for name in ("key", "value"))
        mixed = attention(query, key, value, spec.cross)
        attended = norm("cross_norm", _linear(linears["cross_output"], mixed) + attended)
    source = norm("feed_forward_input_norm", attended)
    wide = _activated(linears["up"], source)
    if spec.gated:
        wide = wide * _activated(linears["gate"], source)
    return norm("norm", _linear(linears["down"], wide) + attended)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spec: AttentionSpec,
    positions: Tensor | None = None,
) -> Tensor:
    """One sequence, in the dtype of its arguments."""
    q, k, v = (
        tensor.view(len(tensor), -1, spec.head_dim).transpose(0, 1)
        for tensor in (query, key, value)
    )
    if spec.rotary is not None:
        q, k = (_rotated(tensor, spec.rotary) for tensor in (q, k))
    k, v = (tensor.repeat_interleave(len(q) // len(tensor), 0) for tensor in (k, v))
    scores = q @ k.transpose(1, 2) * (spec.scale or q.shape[-1] ** -0.5)
    places = torch.arange(len(key))
    distances = places - places[: len(query), None]
    if spec.distances is not None:
        scores = scores + _disentangled(q, k, positions, spec)
    elif positions is not None:
        scores = scores + positions[:, distances + positions.shape[1] // 2]
    if spec.window is not None:
        scores = scores.masked_fill(distances.abs() > spec.window, -torch.inf)
    if spec.causal:
        scores = scores.masked_fill(distances > 0, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(query.shape)


def _disentangled(q: Tensor, k: Tensor, positions: Tensor | None, spec: AttentionSpec) -> Tensor:
    """One number of each head after the other, of distances query - key."""
    assert spec.distances is not None
    assert positions is not None
    tables = positions.unflatten(2, (-1, spec.head_dim))  # [products, rows, heads, size]
    scores = torch.zeros(len(q), q.shape[1], k.shape[1], dtype=q.dtype)
    for query, key in itertools.product(range(q.shape[1]), range(k.shape[1])):
        row = distance_row(query - key, spec.distances)
        for product, table in zip(spec.distances.products, tables, strict=True):
            content = q[:, query] if product == "c2p" else k[:, key]
            scores[:, query, key] += (content * table[row]).sum(-1)
    return scores * spec.score_scale


def distance_row(distance: int, rule: Disentangled) -> int:
    """DeBERTa's row of a distance, in the precision of Python."""
    exact = rule.span // 2
    if rule.max_distance is not None and abs(distance) > exact:
        share = math.log(abs(distance) / exact) / math.log((rule.max_distance - 1) / exact)
        distance = (math.ceil(share * (exact - 1) - 1e-6) + exact) * (1 if distance > 0 else -1)
    return min(max(distance + rule.span, 0), 2 * rule.span - 1)


def _rotated(heads: Tensor, rotary: Rotary) -> Tensor:
    """By complex numbers: those of a pair are turned by position / theta^(2i / size)."""
    half = rotary.size // 2
    angles = torch.arange(heads.shape[1])[:, None] * rotary.theta ** (-torch.arange(half) / half)
    turn = torch.polar(torch.ones_like(angles), angles).to(torch.complex128)
    pairs = torch.complex(heads[..., :half].double(), heads[..., half : 2 * half].double()) * turn
    turned = torch.cat([pairs.real, pairs.imag], -1).to(heads.dtype)
    return torch.cat([turned, heads[..., 2 * half :]], -1)


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
    weight, bias = norm.weight.double(), None if norm.bias is None else norm.bias.double()
    if norm.kind == "rms":
        return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * weight
    return F.layer_norm(x, weight.shape, weight, bias, norm.eps)
