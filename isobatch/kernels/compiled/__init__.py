"""Compiled kernels: a whole Transformer layer in C++ for AVX-512, in fp32, bf16 and int8.

Several times fewer passes over memory than layer by layer, and one call instead of some twenty.
This module packs weights, passes addresses and checks shapes; the arithmetic is in the headers in
this folder. It is optional: everything else works without it, in torch.
Invariant: the C++ side never sees a tensor that it does not expect.
"""

import ctypes
from functools import partial
from operator import ge
from typing import Any

import torch
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.kernels.attention import PackedAttention
from isobatch.kernels.block_formula import (
    BlockWeights,
    LinearWeights,
    NormWeights,
    block_weights,
    compute_block,
    reference_operations,
)
from isobatch.kernels.gradients import with_reference_gradient
from isobatch.kernels.int8 import ZERO_POINT, int8_weight
from isobatch.types import PRECISIONS, Precision, Rows

try:  # after torch, whose OpenMP it then shares
    from isobatch.kernels.compiled import _kernels
except ImportError:
    _kernels = None  # type: ignore[assignment]

PANEL_COLUMNS, _HEAD_LANES = 64, 16
_NEIGHBOURS = {"fp32": 1, "bf16": 2, "int8": 4}
"""How many weights of adjacent inner columns share four bytes."""
_ACTIVATIONS = {"gelu": 0, "relu": 1}
_LINEARS = ("query", "key", "value", "output", "up", "down")
_NORMS = ("attention_norm", "norm")


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


def unavailable(precision: Precision) -> str | None:
    """Return why this machine lacks the compiled kernels of `precision`; None if it has them."""
    if _kernels is None:
        return "not built: no suitable compiler at installation"
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "this CPU has no AVX-512, or torch was configured not to use it"
    if not _kernels.is_supported(PRECISIONS.index(precision)):
        return f"no AVX-512 for {precision} in this CPU, or ONEDNN_MAX_CPU_ISA forbids it"
    return None


def unsupported(weights: BlockWeights) -> str | None:
    """Return why a layer of this kind is not compiled; None if it is."""
    spec = weights.spec
    if weights.up.device.type != "cpu":
        return "compiled for CPUs only"
    if spec.norm != "post" or spec.gated or not spec.biases or spec.window is not None:
        return "only post-norm layers with biases, without gate and window, are compiled"
    if spec.hidden_size % PANEL_COLUMNS or spec.intermediate_size % PANEL_COLUMNS:
        sizes = f"{spec.hidden_size} and {spec.intermediate_size}"
        return f"sizes {sizes} are not both multiples of {PANEL_COLUMNS}"
    if spec.head_dim % _HEAD_LANES:
        return f"head size {spec.head_dim} is not a multiple of {_HEAD_LANES}"
    if weights.up.activation.name not in _ACTIVATIONS:
        return f"activation {weights.up.activation.name} is not compiled"
    return None


class PackedProduct:
    """One weight as panels of 64 columns, and its bias; `offset` and `scale` are int8's."""

    def __init__(self, layer: LinearWeights, precision: Precision) -> None:
        self.sizes = (layer.in_features, layer.out_features, 1)
        assert layer.bias is not None
        self.bias = _checked(layer.bias.detach(), layer.out_features)
        self.offset = self.scale = None
        if precision == "int8":
            quantized = int8_weight(layer.weight)
            weight, self.scale = quantized.values, quantized.scale.contiguous()
            self.offset = -ZERO_POINT * weight.sum(dim=1, dtype=torch.int32)
        else:
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            weight = layer.float_weight().detach().to(dtype)
        self.weight = _panels(weight, _NEIGHBOURS[precision])

    @property
    def structure(self) -> _Product:
        tensors = (self.weight, self.offset, self.scale, self.bias)
        addresses = (None if tensor is None else tensor.data_ptr() for tensor in tensors)
        return _Product(*addresses, *self.sizes)


class _NormArguments:
    """The tensors of a layer norm, referenced so that their addresses stay valid."""

    def __init__(self, norm: NormWeights) -> None:
        self.size, self.eps = len(norm.weight), norm.eps
        self.weight = _checked(norm.weight.detach(), self.size)
        self.bias = _checked(norm.bias.detach(), self.size)

    @property
    def structure(self) -> _Norm:
        return _Norm(self.weight.data_ptr(), self.bias.data_ptr(), self.size, self.eps)


def _panels(weight: Tensor, neighbours: int) -> Tensor:
    """[out, in] → [out/64, in/neighbours, 64, neighbours]."""
    num_out, num_in = weight.shape
    cut = weight.view(num_out // PANEL_COLUMNS, PANEL_COLUMNS, num_in // neighbours, neighbours)
    return cut.permute(0, 2, 1, 3).contiguous()


class PackedBlock:
    """A layer for inference only, with its own packed copy of the weights."""

    def __init__(self, weights: BlockWeights, precision: Precision) -> None:
        self._code = PRECISIONS.index(precision)
        self._products = [PackedProduct(weights.linears[name], precision) for name in _LINEARS]
        self._norms = [_NormArguments(weights.norms[name]) for name in _NORMS]
        self._size = weights.spec.hidden_size
        self._kind = _kind(weights)
        self._structure = self._addresses()

    def _addresses(self) -> _Block:
        products = (product.structure for product in self._products)
        norms = (norm.structure for norm in self._norms)
        return _Block(*products, *norms, *self._kind)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle everything but the addresses, which are of this process."""
        return {name: each for name, each in self.__dict__.items() if name != "_structure"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._structure = self._addresses()

    def __call__(self, hidden: Tensor, batch: PackedBatch, rows: Rows) -> Tensor:
        return _forward(self._code, self._structure, hidden, batch, self._size, rows)

    def __deepcopy__(self, _memo: dict[int, Any]) -> "PackedBlock":
        """Return itself: nothing in it ever changes, and its addresses are of its own tensors."""
        return self


def compute_trainable(
    weights: BlockWeights, hidden: Tensor, batch: PackedBatch, rows: Rows
) -> Tensor:
    """Compute a layer in fp32 from the weights as they are now, differentiable.

    The weights are packed into panels during each call, which costs some 4 ms for a DistilBERT; the
    result is bit-identical to PackedBlock's.
    """
    spec, named = weights.spec, weights.tensors

    def assemble(tensors: tuple[Tensor, ...]) -> BlockWeights:
        return block_weights(spec, dict(zip(named, tensors, strict=True)))

    def kernel(hidden: Tensor, *tensors: Tensor) -> Tensor:
        return _compute_plain(assemble(tensors), hidden, batch, rows)

    def reference(hidden: Tensor, *tensors: Tensor) -> Tensor:
        attend = partial(PackedAttention(spec), batch=batch, rows=rows)
        operations = reference_operations(assemble(tensors))
        return compute_block(operations, hidden, attend, partial(batch.select, rows=rows))

    return with_reference_gradient(kernel, reference, hidden, *named.values())


def _compute_plain(weights: BlockWeights, hidden: Tensor, batch: PackedBatch, rows: Rows) -> Tensor:
    products, held = [], []
    for name in _LINEARS:
        layer = weights.linears[name]
        assert layer.bias is not None
        weight = _checked(layer.float_weight().detach(), layer.out_features, layer.in_features)
        bias = _checked(layer.bias.detach(), layer.out_features)
        held += [weight, bias]  # a copy that _checked made must outlive the call
        addresses = (weight.data_ptr(), None, None, bias.data_ptr())
        products.append(_Product(*addresses, layer.in_features, layer.out_features, 0))
    norms = [_NormArguments(weights.norms[name]) for name in _NORMS]
    structure = _Block(*products, *(norm.structure for norm in norms), *_kind(weights))
    return _forward(0, structure, hidden.detach(), batch, weights.spec.hidden_size, rows)


def multiply_int8(layer: LinearWeights, x: Tensor) -> Tensor:
    """Compute x Wᵀ + b in int8, float32 [rows, in] → [rows, out]: for the check of a product."""
    return multiply(PackedProduct(layer, "int8"), "int8", x)


def multiply(product: PackedProduct, precision: Precision, x: Tensor) -> Tensor:
    """Compute x Wᵀ + b, float32 [rows, in] → [rows, out]."""
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


def _kind(weights: BlockWeights) -> tuple[int, int]:
    """Return what follows the products and norms in `struct Block`."""
    return weights.spec.num_heads, _ACTIVATIONS[weights.up.activation.name]


def _forward(
    code: int, structure: _Block, hidden: Tensor, batch: PackedBatch, size: int, rows: Rows
) -> Tensor:
    hidden = _checked(hidden, len(hidden), size)  # a name of its own: a copy must outlive the call
    cu_seqlens = batch.cu_seqlens
    _check_borders(cu_seqlens, len(hidden))
    num_sequences = len(cu_seqlens) - 1
    y = hidden.new_empty(len(hidden) if rows is Rows.ALL else num_sequences, size)
    _kernels.forward_block(
        code,
        ctypes.addressof(structure),
        hidden.data_ptr(),
        y.data_ptr(),
        cu_seqlens.data_ptr(),
        num_sequences,
        rows.value,
        torch.get_num_threads(),
    )
    return y


def _checked(x: Tensor, *shape: int) -> Tensor:
    """Return `x` contiguous; raises TypeError if dtype, device or shape are not the expected."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or x.shape != shape:
        raise TypeError(f"expected float32 {[*shape]} on the CPU, got {x.dtype} {[*x.shape]}")
    return x.contiguous()


def _check_borders(cu_seqlens: Tensor, num_tokens: int) -> None:
    """Check that every sequence has tokens and that together they are all tokens."""
    if (
        cu_seqlens.dtype != torch.int64
        or cu_seqlens.device.type != "cpu"
        or not cu_seqlens.is_contiguous()
    ):
        raise TypeError(f"cu_seqlens must be contiguous int64 on the CPU, got {cu_seqlens.dtype}")
    borders = cu_seqlens.tolist()
    if borders[0] != 0 or borders[-1] != num_tokens or any(map(ge, borders, borders[1:])):
        raise ValueError(f"cu_seqlens must increase from 0 to {num_tokens}")
