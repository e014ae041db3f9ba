"""Operations on one row: int8 with a scale of its own, gelu, layer norm. The twin of rows.h.

Each multiplication, addition and division is rounded by itself and sums have a fixed order, so that
C++ gives the same bits. Invariant: a row of the result follows from the same row of the argument.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ZERO_POINT = 128
_LARGEST = {8: 127, 7: 63}
_TINY = 1e-30
_ROWS_AT_A_TIME = 2048

# x Φ(x) with Φ - 1/2 = c P(c²) / Q(c²), c = x within ±5.5: a minimax fit of degrees 5 and 5, whose
# largest error is 7e-9, and in float32 1.1e-6 of the result, as torch's own gelu.
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
_COLUMNS, _LANES = 64, 16


@dataclass(frozen=True, slots=True)
class QuantisedWeight:
    """values int8 [out, in], of 8 or 7 bits; scale float32 [out]; weight ≈ values × scale."""

    values: Tensor
    scale: Tensor
    bits: int = 8

    def dequantised(self) -> Tensor:
        """float32 [out, in]."""
        return self.values.to(torch.float32) * self.scale[:, None]


class StoredRows(NamedTuple):
    """Activations: values uint8 [rows, in] around ZERO_POINT; scale float32 [rows, 1]."""

    values: Tensor
    scale: Tensor


def quantise_weight(weight: Tensor, bits: int = 8) -> QuantisedWeight:
    """Round float32 [out, in] to int8, symmetric, each row by its own largest value.

    Some rows at a time: a table of words would need three times its own memory at once.
    """
    values, scales = torch.empty(weight.shape, dtype=torch.int8), weight.new_empty(len(weight))
    for first in range(0, len(weight), _ROWS_AT_A_TIME):
        rows = slice(first, first + _ROWS_AT_A_TIME)
        scale, inverse = _scales(weight[rows], _LARGEST[bits])
        values[rows] = torch.round(weight[rows] * inverse)
        scales[rows] = scale.flatten()
    return QuantisedWeight(values, scales, bits)


def quantised_weight(weight: Tensor, stored: QuantisedWeight | None, bits: int) -> QuantisedWeight:
    """A weight in int8: as its checkpoint has it (`stored`), or rounded here.

    Where the machine needs 7 bits, 8 are rounded once more in either case, so that a checkpoint and
    its quantised form have the same bits there too.
    """
    eight = quantise_weight(weight.detach()) if stored is None else stored
    return eight if eight.bits <= bits else quantise_weight(eight.dequantised(), bits)


def quantise_rows(x: Tensor) -> StoredRows:
    """Round float32 [rows, in] to int8 by each row's own largest value."""
    scale, inverse = _scales(x, _LARGEST[8])
    return StoredRows((torch.round(x * inverse) + ZERO_POINT).to(torch.uint8), scale)


def _scales(x: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """amax / largest and largest / amax of each row, [rows, 1].

    Divided by a tensor: torch divides a number by a tensor through the reciprocal, which rounds
    twice.
    """
    amax = x.abs().amax(dim=1, keepdim=True).clamp_min(_TINY)
    limit = torch.full_like(amax, largest)
    return amax / limit, limit / amax


def gelu(x: Tensor) -> Tensor:
    """x Φ(x) by multiplications, additions and one division."""
    c = x.clamp(-_GELU_LIMIT, _GELU_LIMIT)
    square = c * c
    p, q = torch.full_like(x, _GELU_P[-1]), torch.full_like(x, _GELU_Q[-1])
    for p_factor, q_factor in zip(_GELU_P[-2::-1], _GELU_Q[-2::-1], strict=True):
        p.mul_(square).add_(p_factor)
        q.mul_(square).add_(q_factor)
    return c.mul_(p).div_(q).add_(0.5).mul_(x)


def normalise(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer norm of each row, its sums in the order of `sum_columns`.

    The root is taken in float64: in float32 torch has MKL take it, which misrounds one in five.
    """
    size = torch.full((len(x), 1), x.shape[1], dtype=x.dtype)
    distance = x - sum_columns(x) / size
    variance = sum_columns(distance * distance) / size
    deviation = torch.sqrt((variance + norm.eps).double()).to(x.dtype)
    inverse = torch.ones_like(size) / deviation
    return distance.mul_(inverse).mul_(norm.weight.detach()).add_(norm.bias.detach())


def sum_columns(x: Tensor) -> Tensor:
    """Row sums [rows, 1] in a fixed order: of every 64th column, then of halves of the 64."""
    filled = F.pad(x, (0, -x.shape[1] % _COLUMNS)).view(len(x), -1, _COLUMNS)
    sums = x.new_zeros(len(x), _COLUMNS)
    for part in filled.unbind(1):
        sums = sums + part
    while sums.shape[1] > 1:
        half = sums.shape[1] // 2
        sums = sums[:, :half] + sums[:, half:]
    return sums
