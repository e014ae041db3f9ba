"""Kernels of one linear layer, act(x Wᵀ + b) + residual, whose rows should not affect each other.

Each is a small object with a `linear`; none holds weights. Whether one is batch-invariant on this
machine is checked at load (`isobatch.kernels.selection`). Kernels raise on failure; they never fall
back silently.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.kernels import compiled
from isobatch.kernels.activations import IDENTITY, Activation
from isobatch.types import Precision

_TILE_ROWS, _TILE_ROWS_ON_GPU = 32, 512
"""On an H200, in batches of 65,536 tokens, tiles of 512 rows are six times as fast as those of 32;
2,048 rows are faster for long texts and slower for short ones."""
_PACKING_HINT = 24
_FEW_ROWS, _MANY_ROWS = 6, 48


class LinearKernel(Protocol):
    """act(x Wᵀ + b) + residual for x [rows, in], W [out, in], b [out], residual [rows, out]."""

    @property
    def name(self) -> str: ...

    def prepack(self, weight: Tensor) -> Any:
        """Copy the weight into the layout that `linear` reads fastest; it also takes plain ones."""

    def unpack(self, packed: Any) -> Tensor:
        """Return the weight [out, in] of what `prepack` returned."""

    def linear(
        self,
        x: Tensor,
        weight: Any,
        bias: Tensor | None,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        """Return the product, [rows, out]."""


class CompiledKernel:
    """The C++ kernel, in fp32."""

    name = "compiled"

    @staticmethod
    def is_available(device: torch.device) -> bool:
        return device.type == "cpu" and compiled.unavailable("fp32") is None

    def prepack(self, weight: Tensor) -> compiled.PackedWeight:
        return compiled.PackedWeight(weight, "fp32")

    def unpack(self, packed: compiled.PackedWeight) -> Tensor:
        return packed.plain()

    def linear(
        self,
        x: Tensor,
        weight: Tensor | compiled.PackedWeight,
        bias: Tensor | None,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        return compiled.compute_linear(x, weight, bias, activation, residual)


class OneDnnKernel:
    """oneDNN's inner product, with bias, activation and residual fused.

    Measured (torch 2.13, Zen 4): a row has the same bits at every number of rows from 2 on, at
    every offset, with 1 and 2 threads, from a packed and from a plain weight. One row alone takes
    another kernel where the inner size is large, so rows of zeros are added, up to a multiple of
    six: six fill the kernel's registers and are faster than two (7.4 ms against 9.9 ms, all linears
    of a DistilBERT). Above 48 rows, up to a multiple of 48: oneDNN caches the code that it
    generates for each number of rows, half a megabyte each, and a job has all of them.
    The packing hint hardly matters: 2, 24 and 512 rows were within 3 % of each other.
    """

    name = "onednn"

    @staticmethod
    def is_available(device: torch.device) -> bool:
        return device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]

    def prepack(self, weight: Tensor) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _PACKING_HINT)
        return packed

    def unpack(self, packed: Tensor) -> Tensor:
        return packed.to_dense()

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        spare = -x.shape[0] % (_FEW_ROWS if x.shape[0] <= _MANY_ROWS else _MANY_ROWS)
        if not spare:
            return self._product(x, weight, bias, activation, residual)
        filled = F.pad(x, (0, 0, 0, spare))
        joined = None if residual is None else F.pad(residual, (0, 0, 0, spare))
        return self._product(filled, weight, bias, activation, joined)[: x.shape[0]]

    def _product(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        product: Tensor
        if activation.name == "linear" and residual is not None:
            product = torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, bias, "add")
            return product
        post_op, algorithm = activation.fused or ("none", "")
        product = torch.ops.mkldnn._linear_pointwise(x, weight, bias, post_op, [], algorithm)
        if activation.fused is None:
            product = activation.by_row(product)
        return product if residual is None else product + residual


class Bf16Kernel(OneDnnKernel):
    """The same product of bfloat16 numbers, summed in float32; x and the result stay float32."""

    name = "onednn bf16"

    @staticmethod
    def is_available(device: torch.device) -> bool:
        """Return whether the CPU has bfloat16 products: without them this is slower than float32.

        oneDNN may have been limited to an older instruction set, which only an error reveals.
        """
        has_instructions = (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
        if not has_instructions or not OneDnnKernel.is_available(device):
            return False
        try:
            OneDnnKernel().prepack(torch.zeros(16, 16, dtype=torch.bfloat16))
        except RuntimeError:
            return False
        return True

    def prepack(self, weight: Tensor) -> Tensor:
        return super().prepack(weight.to(torch.bfloat16))

    def _product(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        bias = None if bias is None else bias.to(torch.bfloat16)
        product = super()._product(x, weight, bias, activation, None).to(torch.float32)
        return product if residual is None else product + residual


class TileKernel:
    """torch's own linear over tiles of a fixed number of rows, the last filled up with zeros.

    Always the same call, so the number of rows selects no other code; works on any device. Where
    the last rows of a tile are treated unlike the first (by MKL at 5→4 and other tiny shapes), the
    invariance check rejects this one too.
    """

    name = "tiles"

    def prepack(self, weight: Tensor) -> Tensor:
        return weight.detach().clone()

    def unpack(self, packed: Tensor) -> Tensor:
        return packed

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        num_rows = x.shape[0]
        tile_rows = _TILE_ROWS if x.device.type == "cpu" else _TILE_ROWS_ON_GPU
        filled = F.pad(x, (0, 0, 0, -num_rows % tile_rows))
        tiles = [
            activation.by_row(F.linear(tile, weight, bias))
            for tile in torch.split(filled, tile_rows)
        ]
        product = torch.cat(tiles)[:num_rows]
        return product if residual is None else product + residual


class RowKernel:
    """One row at a time, by products and a sum over the inner size: the slow fallback.

    torch sums a contiguous row in an order that follows from its length alone.
    """

    name = "rows"

    def prepack(self, weight: Tensor) -> Tensor:
        return weight.detach().clone()

    def unpack(self, packed: Tensor) -> Tensor:
        return packed

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        sums = torch.stack([(weight * row).sum(dim=1) for row in x])
        sums = sums if bias is None else sums + bias
        product = torch.stack([activation.function(row) for row in sums])
        return product if residual is None else product + residual


def multiply_by_head(kernel: LinearKernel, x: Tensor, columns: Tensor) -> Tensor:
    """Multiply [heads, rows, size] by [heads, columns, size]: [heads, rows, columns]."""
    return torch.stack(
        [
            kernel.linear(rows, weight, None, IDENTITY, None)
            for rows, weight in zip(x, columns, strict=True)
        ]
    )


def candidate_kernels(device: torch.device, precision: Precision) -> tuple[LinearKernel, ...]:
    """List the kernels available on `device`, the fastest first; int8 has only block kernels."""
    if precision == "bf16":
        return (Bf16Kernel(),) if Bf16Kernel.is_available(device) else ()
    if precision == "int8":
        return ()
    kernels: list[LinearKernel] = [TileKernel(), RowKernel()]
    if OneDnnKernel.is_available(device):
        kernels.insert(0, OneDnnKernel())
    if CompiledKernel.is_available(device):
        kernels.insert(0, CompiledKernel())
    return tuple(kernels)
