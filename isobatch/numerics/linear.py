"""Linear: one linear layer with its activation, dropout and residual, for training and inference.

In training it is F.linear. In inference it calls the kernel that `proof.KernelSettler` chose, with
or without gradients, so that asking for a gradient never changes a bit. It knows no model.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.numerics.activations import IDENTITY, Activation
from isobatch.numerics.kernels import Kernel
from isobatch.numerics.rows import QuantisedWeight


class Linear(nn.Module):
    """dropout(act(x Wᵀ + b)) + residual; x [rows, in], residual and result [rows, out].

    `weight` is [out, in], float32. After `prepack` it is in the kernel's own layout, the original
    is gone, and the layer can no longer be trained or moved.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: Activation = IDENTITY,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.activation = activation
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        self.kernel: Kernel | None = None
        self.packed: Tensor | None = None
        self.quantised: QuantisedWeight | None = None

    def extra_repr(self) -> str:
        """What print(model) says of the layer."""
        return f"{self.in_features}, {self.out_features}, {self.activation.name}"

    def prepack(self) -> None:
        """Replace the weight by the kernel's layout of it, so that it is never held twice."""
        self.packed = self._settled().prepack(self.weight)
        self.forget_weight()

    def forget_weight(self) -> None:
        """Let the weight go: whoever computes this layer holds it in a form of their own."""
        del self.weight
        self.quantised = None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if self.training:
            return self._train(x, residual)
        kernel = self._settled()
        if self.packed is not None:
            return kernel.linear(x, self.packed, self.bias, self.activation, residual)
        if torch.is_grad_enabled():
            product = _KernelLinear.apply(  # type: ignore[no-untyped-call]
                x, self.weight, self.bias, residual, kernel, self.activation
            )
            return cast("Tensor", product)
        return kernel.linear(x, self.weight, self.bias, self.activation, residual)

    def formula(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """What the layer means, by torch's own operations, without dropout."""
        product = self.activation.function(F.linear(x, self.weight, self.bias))
        return product if residual is None else product + residual

    def _train(self, x: Tensor, residual: Tensor | None) -> Tensor:
        dropped = F.dropout(self.formula(x), self.dropout)
        return dropped if residual is None else dropped + residual

    def _settled(self) -> Kernel:
        if self.kernel is None:
            raise RuntimeError(
                "no kernel was chosen for this layer; call settle_plain(model) first"
            )
        return self.kernel


class _KernelLinear(torch.autograd.Function):
    """Forward by the kernel; backward by autograd's own rules for the same formula."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        kernel: Kernel,
        activation: Activation,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.activation, ctx.has_residual = activation, residual is not None
        return kernel.linear(x, weight, bias, activation, residual)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            product = ctx.activation.function(F.linear(*inputs))
            gradients = torch.autograd.grad(product, inputs, gradient)
        return (*gradients, gradient if ctx.has_residual else None, None, None)
