"""Gradients of kernels: forward by the kernel, backward through the reference implementation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isobatch.ambient import default_float_environment

TensorFunction = Callable[..., Tensor]


def with_reference_gradient(
    kernel: TensorFunction, reference: TensorFunction, *tensors: Tensor | None
) -> Tensor:
    """Return kernel(*tensors), differentiable by autograd's own rules for reference(*tensors).

    Both are functions of the tensors alone; a tensor may be None.
    """
    if not torch.is_grad_enabled():
        return kernel(*tensors)
    result: Tensor = _KernelFunction.apply(kernel, reference, *tensors)  # type: ignore[no-untyped-call]
    return result


class _KernelFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: TensorFunction, reference: TensorFunction, *tensors: Tensor | None
    ) -> Tensor:
        ctx.reference = reference
        ctx.save_for_backward(*tensors)
        return kernel(*tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[2:]
        with default_float_environment(), torch.enable_grad():
            inputs = [
                None if tensor is None else tensor.detach().requires_grad_(is_needed)
                for tensor, is_needed in zip(ctx.saved_tensors, needed, strict=True)
            ]
            wanted = [each for each in inputs if each is not None and each.requires_grad]
            gradients = iter(torch.autograd.grad(ctx.reference(*inputs), wanted, gradient))
        return (None, None, *(next(gradients) if is_needed else None for is_needed in needed))
