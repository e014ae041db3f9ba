"""Layers as modules: `Linear` is trainable; `PackedLinear` and `LayerwiseBlock` are for inference.

In eval mode all call kernels that passed the invariance check at load, whether or not a gradient is
requested, so that it never changes a bit.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.kernels.activations import IDENTITY, Activation
from isobatch.kernels.attention import PackedAttention
from isobatch.kernels.block_formula import (
    BlockOperations,
    KeptPositions,
    LinearWeights,
    NormWeights,
    compute_packed,
)
from isobatch.kernels.compiled import PackedWeight
from isobatch.kernels.gradients import with_reference_gradient
from isobatch.kernels.linear_kernels import LinearKernel
from isobatch.specification import BlockSpec, NormSpec
from isobatch.types import Rows

Drop = Callable[[Tensor, float], Tensor]
"""Dropout at one place of the model, with a probability."""


class Linear(nn.Module):
    """dropout(act(x Wᵀ + b)) + residual; x [rows, in], residual and result [rows, out].

    `weight` is [out, in], float32. In training the layer is computed by plain torch operations.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: Activation = IDENTITY,
        dropout: float = 0.0,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.activation = activation
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.kernel: LinearKernel | None = None

    def extra_repr(self) -> str:
        """Describe the layer in print(model)."""
        return f"{self.in_features}, {self.out_features}, {self.activation.name}"

    @property
    def weights(self) -> LinearWeights:
        return LinearWeights(self.weight, self.bias, self.activation)

    def forward(
        self, x: Tensor, residual: Tensor | None = None, drop: Drop | None = None
    ) -> Tensor:
        """Compute the layer; `drop` does the dropout in training, by default torch's generator."""
        if self.training:
            product = self.weights(x)
            dropped = drop(product, self.dropout) if drop else F.dropout(product, self.dropout)
            return dropped if residual is None else dropped + residual
        if self.kernel is None:
            raise RuntimeError("Linear: no kernel was selected. Call select_kernels(model) first")
        kernel, activation = self.kernel, self.activation

        def compute(
            x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None
        ) -> Tensor:
            return kernel.linear(x, weight, bias, activation, residual)

        def reference(
            x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None
        ) -> Tensor:
            return LinearWeights(weight, bias, activation)(x, residual)

        return with_reference_gradient(compute, reference, x, self.weight, self.bias, residual)


class Norm(nn.Module):
    """Layer norm or RMS norm of rows; in training by plain torch operations."""

    def __init__(self, size: int, spec: NormSpec) -> None:
        super().__init__()
        self.spec = spec
        self.weight = nn.Parameter(torch.empty(size))
        has_bias = spec.bias and spec.kind == "layer"
        self.bias = nn.Parameter(torch.empty(size)) if has_bias else None
        self.kernel: Callable[[NormWeights, Tensor], Tensor] | None = None

    def extra_repr(self) -> str:
        """Describe the norm in print(model)."""
        return f"{len(self.weight)}, {self.spec.kind}, eps={self.spec.eps}"

    @property
    def weights(self) -> NormWeights:
        """The present weights; the tensors are the parameters themselves."""
        return NormWeights(self.weight, self.bias, self.spec.eps, self.spec.kind)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.kernel is None:
            return self.weights(x)
        return self.kernel(self.weights, x)


class PackedLinear(nn.Module):
    """act(x Wᵀ + b) + residual from the kernel's own layout of the weight; for inference only."""

    def __init__(self, weights: LinearWeights, kernel: LinearKernel) -> None:
        super().__init__()
        self.in_features, self.out_features = weights.in_features, weights.out_features
        self.activation = weights.activation
        self.kernel = kernel
        self.packed = kernel.prepack(weights.float_weight())
        self.bias = None if weights.bias is None else weights.bias.detach()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the weight in rows, as PackedWeight does itself: its layout is of this machine."""
        if isinstance(self.packed, PackedWeight):
            return self.__dict__
        return {**self.__dict__, "packed": self.kernel.unpack(self.packed)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if not isinstance(self.packed, PackedWeight):
            self.packed = self.kernel.prepack(self.packed)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.kernel.linear(x, self.packed, self.bias, self.activation, residual)


class LayerwiseBlock(nn.Module):
    """A layer for inference, computed one linear, norm and attention after the other."""

    def __init__(
        self,
        spec: BlockSpec,
        linears: Mapping[str, PackedLinear],
        norms: Mapping[str, Callable[[Tensor], Tensor]],
        attention: PackedAttention,
        cross: PackedAttention | None = None,
    ) -> None:
        super().__init__()
        self.linears = nn.ModuleDict(linears)
        self.attention = attention
        self.cross = cross
        self._operations = BlockOperations(spec, linears, norms, project=KeptPositions())

    def forward(
        self, hidden: Tensor, batch: PackedBatch, rows: Rows, context: Tensor | None = None
    ) -> Tensor:
        return compute_packed(
            self._operations, hidden, batch, rows, context, self.attention, self.cross
        )
