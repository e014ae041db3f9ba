"""Compiled: a whole block in C++ for AVX-512, in fp32, bf16 and int8.

Several times fewer passes over memory than layer by layer, and one call instead of some twenty.
Here are packing, addresses and checks; the arithmetic is in the headers beside this file. It is
used where it was built and where the processor has the instructions; nothing else depends on it.
Invariant: the C++ side never sees a tensor that it does not expect.
"""

import ctypes
from collections.abc import Sequence
from operator import ge
from typing import Any

import torch
from torch import Tensor, nn

from isobatch.core import PRECISIONS, Precision, Run
from isobatch.numerics.blocks import BlockLayers, compute_by_layers
from isobatch.numerics.linear import Linear
from isobatch.numerics.rows import ZERO_POINT, QuantisedWeight, quantised_weight

try:  # after torch, whose OpenMP it then shares
    from isobatch.numerics.compiled import _kernels
except ImportError:
    _kernels = None  # type: ignore[assignment]

PANEL_COLUMNS, _HEAD_LANES = 64, 16
_NEIGHBOURS = {"fp32": 1, "bf16": 2, "int8": 4}
_ACTIVATIONS = {"gelu": 0, "relu": 1}


class _Product(ctypes.Structure):
    """`struct Product` of products.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "offset", "scale", "bias")),
        *((name, ctypes.c_int64) for name in ("columns_in", "columns_out", "packed")),
    )


class _Norm(ctypes.Structure):
    """`struct Norm` of rows.h."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("eps", ctypes.c_double),
    )


class _Block(ctypes.Structure):
    """`struct Block` of block.h."""

    _fields_ = (
        *((name, _Product) for name in ("query", "key", "value", "output", "up", "down")),
        *((name, _Norm) for name in ("attention_norm", "norm")),
        *((name, ctypes.c_int64) for name in ("heads", "activation")),
    )


def why_not(precision: Precision) -> str | None:
    """Why this machine cannot compute `precision` with the compiled kernels; None if it can."""
    if _kernels is None:
        return "not built: there was no compiler for it at installation"
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "this processor has no AVX-512, or torch was told not to use it"
    if not _kernels.is_supported(PRECISIONS.index(precision)):
        return f"no AVX-512 for {precision} in this processor, or ONEDNN_MAX_CPU_ISA forbids it"
    return None


def why_not_block(layers: BlockLayers) -> str | None:
    """Why a block of this shape cannot be computed here; None if it can."""
    hidden, wide = layers.up.in_features, layers.up.out_features
    if layers.up.weight.device.type != "cpu":
        return "compiled for CPUs only"
    if hidden % PANEL_COLUMNS or wide % PANEL_COLUMNS:
        return f"sizes {hidden} and {wide} are not both multiples of {PANEL_COLUMNS}"
    if layers.attend.head_dim % _HEAD_LANES:
        return f"head size {layers.attend.head_dim} is no multiple of {_HEAD_LANES}"
    if layers.up.activation.name not in _ACTIVATIONS:
        return f"activation {layers.up.activation.name} is not compiled"
    return None


class PackedProduct:
    """One weight as panels of 64 columns, and its bias; `offset` and `scale` are int8's."""

    def __init__(self, layer: Linear, precision: Precision) -> None:
        self.sizes = (layer.in_features, layer.out_features, 1)
        self.bias = _held(layer.bias, layer.out_features)
        self.offset = self.scale = None
        weight = layer.weight.detach()
        if precision == "int8":
            quantised: QuantisedWeight = quantised_weight(layer.weight, layer.quantised, 8)
            weight, self.scale = quantised.values, quantised.scale.contiguous()
            self.offset = -ZERO_POINT * weight.sum(dim=1, dtype=torch.int32)
        elif precision == "bf16":
            weight = weight.to(torch.bfloat16)
        self.weight = _panels(weight, _NEIGHBOURS[precision])

    @property
    def structure(self) -> _Product:
        tensors = (self.weight, self.offset, self.scale, self.bias)
        addresses = (None if tensor is None else tensor.data_ptr() for tensor in tensors)
        return _Product(*addresses, *self.sizes)


class _HeldNorm:
    """A layer norm's numbers, held so that their addresses stay good."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.size, self.eps = norm.normalized_shape[0], norm.eps
        self.weight, self.bias = _held(norm.weight, self.size), _held(norm.bias, self.size)

    @property
    def structure(self) -> _Norm:
        return _Norm(self.weight.data_ptr(), self.bias.data_ptr(), self.size, self.eps)


def _panels(weight: Tensor, neighbours: int) -> Tensor:
    """[out, in] → [out/64, in/neighbours, 64, neighbours]."""
    num_out, num_in = weight.shape
    cut = weight.view(num_out // PANEL_COLUMNS, PANEL_COLUMNS, num_in // neighbours, neighbours)
    return cut.permute(0, 2, 1, 3).contiguous()


class PackedBlock:
    """A block for inference only: its weights packed, their originals no longer needed."""

    def __init__(self, layers: BlockLayers, precision: Precision) -> None:
        self._code = PRECISIONS.index(precision)
        self._products = [PackedProduct(layer, precision) for layer in layers.linears]
        self._norms = [_HeldNorm(norm) for norm in (layers.attention_norm, layers.norm)]
        self._size = layers.up.in_features
        products = (product.structure for product in self._products)
        norms = (norm.structure for norm in self._norms)
        self._structure = _Block(*products, *norms, *_kind(layers))

    def __call__(
        self, hidden: Tensor, cu_seqlens: Tensor, runs: Sequence[Run], *, first_only: bool
    ) -> Tensor:
        return _forward(self._code, self._structure, hidden, cu_seqlens, self._size, first_only)

    def __deepcopy__(self, _memo: dict[int, Any]) -> "PackedBlock":
        """Itself: nothing in it ever changes, and its addresses hold for its own tensors only."""
        return self


class PlainBlock:
    """A block in fp32 from the weights that its layers hold at the moment, with gradients.

    The weights are brought into panels during each call, which costs some 4 ms for a DistilBERT;
    the bits are those of PackedBlock.
    """

    def __init__(self, layers: BlockLayers) -> None:
        self._layers = layers

    def __call__(
        self, hidden: Tensor, cu_seqlens: Tensor, runs: Sequence[Run], *, first_only: bool
    ) -> Tensor:
        if not torch.is_grad_enabled():
            return self.compute(hidden, cu_seqlens, first_only)
        result: Tensor = _BlockWithGradient.apply(  # type: ignore[no-untyped-call]
            self, (cu_seqlens, runs, first_only), hidden, *self._layers.parameters
        )
        return result

    def compute(self, hidden: Tensor, cu_seqlens: Tensor, first_only: bool) -> Tensor:
        """The block, without gradients."""
        layers, size = self._layers, self._layers.up.in_features
        weights = [
            _held(each.weight, each.out_features, each.in_features) for each in layers.linears
        ]
        biases = [_held(each.bias, each.out_features) for each in layers.linears]
        products = (
            _Product(weight.data_ptr(), None, None, bias.data_ptr(), *weight.shape[::-1], 0)
            for weight, bias in zip(weights, biases, strict=True)
        )
        norms = [_HeldNorm(norm) for norm in (layers.attention_norm, layers.norm)]
        structure = _Block(*products, *(norm.structure for norm in norms), *_kind(layers))
        return _forward(0, structure, hidden.detach(), cu_seqlens, size, first_only)

    def by_formula(self, hidden: Tensor, place: tuple[Any, ...]) -> Tensor:
        """The same by torch's own operations, for gradients."""
        cu_seqlens, runs, first_only = place
        return compute_by_layers(
            self._layers, hidden, cu_seqlens, runs, first_only=first_only, apply=Linear.formula
        )


class _BlockWithGradient(torch.autograd.Function):
    """Forward by the kernel; backward by autograd's own rules for the same formula."""

    @staticmethod
    def forward(
        ctx: Any, block: PlainBlock, place: tuple[Any, ...], hidden: Tensor, *parameters: Tensor
    ) -> Tensor:
        ctx.block, ctx.place = block, place
        ctx.save_for_backward(hidden, *parameters)
        cu_seqlens, _, first_only = place
        return block.compute(hidden, cu_seqlens, first_only)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            source = hidden.detach().requires_grad_()
            result = ctx.block.by_formula(source, ctx.place)
            asked = [source, *(each for each in parameters if each.requires_grad)]
            gradients = iter(torch.autograd.grad(result, asked, gradient))
        ours = next(gradients)
        return (
            None,
            None,
            ours,
            *(next(gradients) if each.requires_grad else None for each in parameters),
        )


def multiply(product: PackedProduct, precision: Precision, x: Tensor) -> Tensor:
    """x Wᵀ + b by itself, float32 [rows, in] → [rows, out]: for the proof of a product."""
    x = _checked(x, len(x), product.sizes[0])
    y = x.new_empty(len(x), product.sizes[1])
    structure = product.structure
    _kernels.forward_product(
        PRECISIONS.index(precision),
        ctypes.addressof(structure),
        x.data_ptr(),
        y.data_ptr(),
        len(x),
        torch.get_num_threads(),
    )
    return y


def _kind(layers: BlockLayers) -> tuple[int, int]:
    """What follows the products and norms in `struct Block`."""
    return layers.attend.num_heads, _ACTIVATIONS[layers.up.activation.name]


def _held(parameter: Tensor, *shape: int) -> Tensor:
    return _checked(parameter.detach(), *shape)


def _forward(
    code: int, structure: _Block, hidden: Tensor, cu_seqlens: Tensor, size: int, first_only: bool
) -> Tensor:
    hidden = _checked(hidden, len(hidden), size)  # a name of its own: a copy must outlive the call
    _check_borders(cu_seqlens, len(hidden))
    num_sequences = len(cu_seqlens) - 1
    y = hidden.new_empty(num_sequences if first_only else len(hidden), size)
    _kernels.forward_block(
        code,
        ctypes.addressof(structure),
        hidden.data_ptr(),
        y.data_ptr(),
        cu_seqlens.data_ptr(),
        num_sequences,
        first_only,
        torch.get_num_threads(),
    )
    return y


def _checked(x: Tensor, *shape: int) -> Tensor:
    """`x` in one piece; TypeError if it is not what its address is said to be."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or x.shape != shape:
        raise TypeError(f"expected float32 {[*shape]} on the CPU, got {x.dtype} {[*x.shape]}")
    return x.contiguous()


def _check_borders(cu_seqlens: Tensor, num_tokens: int) -> None:
    """Every sequence has tokens, and together they are all tokens."""
    if (
        cu_seqlens.dtype != torch.int64
        or cu_seqlens.device.type != "cpu"
        or not cu_seqlens.is_contiguous()
    ):
        raise TypeError(f"cu_seqlens must be contiguous int64 on the CPU, got {cu_seqlens.dtype}")
    borders = cu_seqlens.tolist()
    if borders[0] != 0 or borders[-1] != num_tokens or any(map(ge, borders, borders[1:])):
        raise ValueError(f"cu_seqlens must rise from 0 to {num_tokens}")
