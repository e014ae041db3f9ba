"""Weights as the compiled kernels read them: in panels, filled with zeros, in int8, bf16 or fp32.

The layout is the variant's; pickled weights are plain, and laid out again where they are loaded.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.errors import CheckpointError
from isobatch.kernels.block_formula import NormWeights, Weight
from isobatch.kernels.compiled.structures import NormStructure, ProductStructure, checked
from isobatch.kernels.compiled.variants import kernels, unavailable
from isobatch.kernels.int8 import int8_weight
from isobatch.types import Precision

COLUMNS = 64
"""Output columns are filled up to a multiple of these."""

_FILL: dict[Precision, int] = {"fp32": 1, "bf16": 2, "int8": 4}
"""Inner columns are filled up to a multiple of these."""


class PackedWeight:
    """One weight [out, in] as panels [out/P, in/n, P, n]; `offset` and `scale` are int8's.

    `module` is the variant that it is laid out for: no other may read it.
    """

    def __init__(self, weight: Weight, precision: Precision) -> None:
        scale = None
        if precision == "int8":
            quantized = int8_weight(weight)
            plain, scale = quantized.values, quantized.scale
        else:
            plain = weight if isinstance(weight, Tensor) else weight.dequantize()
            plain = plain.detach().to(torch.bfloat16 if precision == "bf16" else torch.float32)
        self._pack(precision, plain, scale)

    def _pack(self, precision: Precision, plain: Tensor, scale: Tensor | None) -> None:
        self.precision: Precision = precision
        self.out_features, self.in_features = plain.shape
        self.module = module = kernels(precision).module
        neighbours = module.INT8_NEIGHBOURS if precision == "int8" else _FILL[precision]
        fill = (0, -self.in_features % _FILL[precision], 0, -self.out_features % COLUMNS)
        filled = F.pad(plain, fill) if any(fill) else plain
        num_out, num_in = filled.shape
        shape = (num_out // module.PANEL, module.PANEL, num_in // neighbours, neighbours)
        panels = filled.reshape(shape).permute(0, 2, 1, 3)
        self.panels = panels.clone(memory_format=torch.contiguous_format)
        self.scale = self.offset = None
        if scale is not None:
            self.scale = filled_row(scale)
            self.offset = -module.INT8_ZERO * filled.sum(dim=1, dtype=torch.int32)

    def plain(self) -> Tensor:
        """Return the weight [out, in], int8, bfloat16 or float32."""
        panels, panel_in, panel, neighbours = self.panels.shape
        rows = self.panels.permute(0, 2, 1, 3).reshape(panels * panel, panel_in * neighbours)
        return rows[: self.out_features, : self.in_features].clone()

    def __getstate__(self) -> tuple[Precision, Tensor, Tensor | None]:
        scale = None if self.scale is None else self.scale[: self.out_features].clone()
        return self.precision, self.plain(), scale

    def __setstate__(self, state: tuple[Precision, Tensor, Tensor | None]) -> None:
        """Lay the weight out for this machine; CheckpointError without compiled kernels."""
        precision, _, _ = state
        if reason := unavailable(precision):
            raise CheckpointError(
                f"this model was pickled where {precision} kernels are compiled, and needs them; "
                f"here: {reason}. Load it here with from_pretrained instead"
            )
        self._pack(*state)

    def __deepcopy__(self, _memo: dict[int, Any]) -> "PackedWeight":
        """Return itself: nothing in it ever changes."""
        return self

    def structure(self, bias: Tensor) -> ProductStructure:
        """Describe the product with a filled bias, which the caller must keep."""
        tensors = (self.panels, self.offset, self.scale, bias)
        addresses = (None if tensor is None else tensor.data_ptr() for tensor in tensors)
        return ProductStructure(*addresses, self.in_features, self.out_features, 1)


class NormArguments:
    """The tensors of a layer norm, referenced so that their addresses stay valid."""

    def __init__(self, norm: NormWeights) -> None:
        self.size, self.eps, self.is_rms = len(norm.weight), norm.eps, norm.kind == "rms"
        self.weight = checked(norm.weight.detach(), self.size)
        self.bias = None if norm.bias is None else checked(norm.bias.detach(), self.size)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle copies: multiprocessing moves a tensor that it pickles to other memory."""
        bias = None if self.bias is None else self.bias.clone()
        return {**self.__dict__, "weight": self.weight.clone(), "bias": bias}

    @property
    def structure(self) -> NormStructure:
        bias = None if self.bias is None else self.bias.data_ptr()
        return NormStructure(self.weight.data_ptr(), bias, self.size, self.eps, self.is_rms)


def filled_bias(bias: Tensor | None, size: int) -> Tensor:
    """Return a bias of this size, or zeros, filled up to a multiple of COLUMNS."""
    if bias is None:
        return torch.zeros(size + -size % COLUMNS, dtype=torch.float32, device="cpu")
    return filled_row(checked(bias.detach(), size))


def filled_row(row: Tensor) -> Tensor:
    """Fill a row with zeros up to a multiple of COLUMNS, in memory that may be its own."""
    spare = -len(row) % COLUMNS
    return F.pad(row, (0, spare)) if spare else row.contiguous()
