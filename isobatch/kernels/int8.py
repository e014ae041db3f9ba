"""int8: weights with a scale for each channel, activations with one for each token, exact sums.

A row's scale follows from that row alone, and integers are added exactly in any order, so that
neither batch neighbours nor shapes change a bit. The operations on rows are the reference
implementation of `compiled/rows.h`: each multiplication, addition and division is rounded
separately and sums have a fixed order, so that C++ gives the same bits. Invariant: apart from
attention, `Int8Block` is bit-identical to the compiled int8 block with gelu or relu.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint.quantized import QuantizedTensor
from isobatch.kernels.activations import IDENTITY, Activation
from isobatch.kernels.attention import PackedAttention
from isobatch.kernels.block_formula import (
    BlockOperations,
    BlockWeights,
    KeptPositions,
    LinearWeights,
    NormWeights,
    compute_packed,
)
from isobatch.types import Rows

_LARGEST = 127
_EXACT_COLUMNS = 1024
_TINY = 1e-30
_ROWS_AT_A_TIME = 2048
_CHUNK_ROWS = 64
_COLUMNS = 64

# x Φ(x) with Φ - 1/2 = c P(c²) / Q(c²), c = x within ±5.5: a minimax fit of degrees 5 and 5, whose
# largest error is 7e-9, and 1.1e-6 within ±10 in float32 (torch: 3.7e-7).
_GELU_LIMIT = 5.5
_GELU_P = (
    0.398942232131958,
    0.033852770924568176,
    0.004677268676459789,
    0.00016882698400877416,
    6.352131549647311e-06,
    2.2749340189420764e-08,
)
_GELU_Q = (
    1.0,
    0.2515222132205963,
    0.028645943850278854,
    0.0018844521837309003,
    7.36479414626956e-05,
    1.197504161609686e-06,
)


class StoredRows(NamedTuple):
    """Activations: values [rows, in], integers in float32; scale float32 [rows, 1]."""

    values: Tensor
    scale: Tensor


class Int8Product(nn.Module):
    """act(x Wᵀ + b) + residual in float32 products whose sums are exact; x as StoredRows.

    The sum of _EXACT_COLUMNS products of two bytes is an integer below 2²⁴, which float32 holds
    exactly in every order of the additions; longer sums are added as integers.
    """

    def __init__(
        self, weight: QuantizedTensor, bias: Tensor, activation: Activation = IDENTITY
    ) -> None:
        super().__init__()
        self.scale = weight.scale
        self.bias = bias
        self.activation = activation
        self.values = weight.values

    def forward(self, x: StoredRows, residual: Tensor | None = None) -> Tensor:
        """Return float(sum) × channel's scale × token's scale + bias, rounded after each step."""
        sums = torch.zeros(len(x.values), len(self.values), dtype=torch.int32, device="cpu")
        for first in range(0, self.values.shape[1], _EXACT_COLUMNS):
            columns = slice(first, first + _EXACT_COLUMNS)
            weight = self.values[:, columns].to(torch.float32)
            sums += F.linear(x.values[:, columns], weight).to(torch.int32)
        product = (sums.to(torch.float32) * self.scale).mul_(x.scale).add_(self.bias)
        if self.activation is not IDENTITY:
            by_row = gelu if self.activation.name == "gelu" else self.activation.by_row
            product = by_row(product)
        return product if residual is None else product + residual


class Int8Block:
    """A layer in plain torch; with gelu or relu its bits differ in attention alone."""

    def __init__(
        self,
        weights: BlockWeights,
        attention: PackedAttention,
        cross: PackedAttention | None = None,
    ) -> None:
        self.attention, self.cross = attention, cross
        self._operations = BlockOperations(
            weights.spec,
            {name: int8_product(layer) for name, layer in weights.linears.items()},
            {name: partial(normalize, norm=norm) for name, norm in weights.norms.items()},
            read=quantize_rows,
            chunk_rows=_CHUNK_ROWS,  # their intermediate results stay in the cache
            project=KeptPositions(),
        )

    def __call__(
        self, hidden: Tensor, batch: PackedBatch, rows: Rows, context: Tensor | None = None
    ) -> Tensor:
        return compute_packed(
            self._operations, hidden, batch, rows, context, self.attention, self.cross
        )


class Int8Embedding(nn.Module):
    """A table of rows in int8, each with its own scale; ids → float32 [ids, columns]."""

    def __init__(self, table: QuantizedTensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, ids: Tensor) -> Tensor:
        """Raise IndexError for an id that has no row, a negative one included."""
        return self.table.lookup(ids)


def int8_product(layer: LinearWeights) -> Int8Product:
    """Prepare one linear layer."""
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
    return Int8Product(int8_weight(layer.weight), bias, layer.activation)


def int8_weight(weight: Tensor | QuantizedTensor) -> QuantizedTensor:
    """Bring a weight [out, in] to int8."""
    return weight if isinstance(weight, QuantizedTensor) else quantize_weight(weight.detach())


def quantize_weight(weight: Tensor) -> QuantizedTensor:
    """Round float32 [out, in] to int8, symmetric, each row by its own largest value.

    By numpy, in the calling thread, whose rounding mode is known; torch's threads may have another.
    Some rows at a time: a word table would need three times its own memory at once.
    """
    plain = weight.detach().cpu().numpy()
    values = np.empty(plain.shape, np.int8)
    scales = np.empty(len(plain), np.float32)
    for first in range(0, len(plain), _ROWS_AT_A_TIME):
        rows = slice(first, first + _ROWS_AT_A_TIME)
        amax = np.maximum(np.abs(plain[rows]).max(axis=1), np.float32(_TINY))
        scales[rows] = amax / np.float32(_LARGEST)
        with np.errstate(all="ignore"):  # the caller's may be "raise", and denormals underflow
            values[rows] = np.rint(plain[rows] * (np.float32(_LARGEST) / amax)[:, None])
    return QuantizedTensor(torch.from_numpy(values), torch.from_numpy(scales))


def quantize_rows(x: Tensor) -> StoredRows:
    """Round float32 [rows, in] to integers of int8 by each row's own largest value."""
    scale, inverse = _scales(x)
    return StoredRows(torch.round(x * inverse), scale)


def _scales(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return amax / 127 and 127 / amax of each row, [rows, 1].

    Divided by a tensor: torch divides a number by a tensor through the reciprocal, which rounds
    twice.
    """
    amax = x.abs().amax(dim=1, keepdim=True).clamp_min(_TINY)
    limit = torch.full_like(amax, _LARGEST)
    return amax / limit, limit / amax


def gelu(x: Tensor) -> Tensor:
    """Compute x Φ(x) by multiplications, additions and one division."""
    c = x.clamp(-_GELU_LIMIT, _GELU_LIMIT)
    square = c * c
    p, q = torch.full_like(x, _GELU_P[-1]), torch.full_like(x, _GELU_Q[-1])
    for p_factor, q_factor in zip(_GELU_P[-2::-1], _GELU_Q[-2::-1], strict=True):
        p.mul_(square).add_(p_factor)
        q.mul_(square).add_(q_factor)
    return c.mul_(p).div_(q).add_(0.5).mul_(x)


def normalize(x: Tensor, norm: NormWeights) -> Tensor:
    """Compute the norm of each row, or of each of its heads, by sums as in `sum_columns`.

    The root is taken in float64: in float32 torch has MKL take it, which misrounds one in five.
    """
    if x.dim() > 2:
        return normalize(x.reshape(-1, x.shape[-1]), norm).view(x.shape)
    size = torch.full((len(x), 1), x.shape[1], dtype=x.dtype)
    distance = x if norm.kind == "rms" else x - sum_columns(x) / size
    variance = sum_columns(distance * distance) / size
    deviation = torch.sqrt((variance + norm.eps).double()).to(x.dtype)
    inverse = torch.ones_like(size) / deviation
    normalized = (distance * inverse).mul_(norm.weight.detach())
    return normalized if norm.bias is None else normalized.add_(norm.bias.detach())


def sum_columns(x: Tensor) -> Tensor:
    """Sum each row, [rows, 1], in a fixed order: every 64th column, then halves of the 64."""
    filled = F.pad(x, (0, -x.shape[1] % _COLUMNS)).view(len(x), -1, _COLUMNS)
    sums = x.new_zeros(len(x), _COLUMNS)
    for part in filled.unbind(1):
        sums = sums + part
    while sums.shape[1] > 1:
        half = sums.shape[1] // 2
        sums = sums[:, :half] + sums[:, half:]
    return sums
