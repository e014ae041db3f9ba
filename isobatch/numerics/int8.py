"""int8: weights with a scale for each channel, activations with one for each token, exact sums.

A row's scale follows from that row alone, and integers are added exactly in any order, so that
neither company nor shape can change a bit. This is the plain-torch twin of what
`isobatch.numerics.compiled` does in C++: the same operations in the same order, each rounded by
itself. Invariant: apart from attention both give the same bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isobatch.core import Run
from isobatch.numerics.activations import Activation
from isobatch.numerics.blocks import BlockLayers
from isobatch.numerics.linear import Linear
from isobatch.numerics.rows import (
    ZERO_POINT,
    QuantisedWeight,
    StoredRows,
    gelu,
    normalise,
    quantise_rows,
    quantised_weight,
)

_CHUNK_ROWS = 64


class Int8Product(nn.Module):
    """x Wᵀ + b by oneDNN's integer product; x as StoredRows, result float32 [rows, out]."""

    def __init__(self, weight: QuantisedWeight, bias: Tensor) -> None:
        super().__init__()
        self.scale = weight.scale
        self.bias = bias
        self.packed = torch.ops.onednn.qlinear_prepack(weight.values.contiguous(), None)
        self._zeros = torch.zeros(len(bias), dtype=torch.int32)

    def forward(self, x: StoredRows) -> Tensor:
        """float(sum) × channel's scale × token's scale + bias, rounded after each step."""
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            x.values, 1.0, ZERO_POINT, self.packed, self.scale, self._zeros,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product.mul_(x.scale).add_(self.bias)


class Int8Block:
    """A whole block in plain torch, with the bits of the compiled one but for its attention."""

    def __init__(self, layers: BlockLayers, bits: int = 8) -> None:
        self._attend = layers.attend
        self._products = [_product(layer, bits) for layer in layers.linears]
        self._norms = (layers.attention_norm, layers.norm)
        self._activation = layers.up.activation

    def __call__(
        self, hidden: Tensor, cu_seqlens: Tensor, runs: Sequence[Run], *, first_only: bool
    ) -> Tensor:
        query, key, value, *_ = self._products
        stored = quantise_rows(hidden)
        asking, asked = hidden, stored
        if first_only:
            asking = hidden[cu_seqlens[:-1]]
            asked = quantise_rows(asking)
        mixed = self._attend(query(asked), key(stored), value(stored), runs, first_only=first_only)
        # Few rows at a time, so that their intermediate results stay in the cache.
        chunks = (torch.split(rows, _CHUNK_ROWS) for rows in (mixed, asking))
        return torch.cat([self._finish(*chunk) for chunk in zip(*chunks, strict=True)])

    def _finish(self, mixed: Tensor, residual: Tensor) -> Tensor:
        """Everything that follows attention."""
        output, up, down = self._products[3:]
        attention_norm, norm = self._norms
        attended = normalise(output(quantise_rows(mixed)) + residual, attention_norm)
        wide = _activate(up(quantise_rows(attended)), self._activation)
        return normalise(down(quantise_rows(wide)) + attended, norm)


class Int8Embedding(nn.Module):
    """A table of rows in int8, each with its own scale; ids → float32 [ids, columns]."""

    def __init__(self, table: QuantisedWeight) -> None:
        super().__init__()
        self.table = table

    def forward(self, ids: Tensor) -> Tensor:
        return self.table.values[ids].to(torch.float32) * self.table.scale[ids, None]


def _product(layer: Linear, bits: int) -> Int8Product:
    weight = quantised_weight(layer.weight, layer.quantised, bits)
    return Int8Product(weight, layer.bias.detach())


def _activate(x: Tensor, activation: Activation) -> Tensor:
    return gelu(x) if activation.name == "gelu" else activation.by_row(x)
