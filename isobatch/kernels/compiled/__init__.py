"""Compiled kernels: embeddings, layers and linears in C++, with the same bits on every processor.

This package packs weights, passes addresses and checks shapes; the arithmetic is in the headers in
this folder, and docs/arithmetic.md defines it. It is optional: everything else works without it, in
torch. Invariant: the C++ side never sees a tensor that it does not expect.
"""

import ctypes
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.kernels.activations import IDENTITY, Activation
from isobatch.kernels.attention import PackedAttention
from isobatch.kernels.block_formula import (
    BlockWeights,
    LinearWeights,
    block_weights,
    compute_block,
    reference_operations,
)
from isobatch.kernels.compiled.packed_weights import (
    NormArguments,
    PackedWeight,
    filled_bias,
)
from isobatch.kernels.compiled.structures import (
    LINEARS,
    NORMS,
    BlockStructure,
    ProductStructure,
    check_borders,
    checked,
)
from isobatch.kernels.compiled.token_embeddings import embed
from isobatch.kernels.compiled.variants import (
    KernelModule,
    VariantStatus,
    kernels,
    unavailable,
    variant_statuses,
)
from isobatch.kernels.gradients import with_reference_gradient
from isobatch.specification import BlockSpec
from isobatch.types import PRECISIONS, Precision, Rows

__all__ = [
    "PackedBlock",
    "PackedWeight",
    "VariantStatus",
    "compute_linear",
    "compute_trainable",
    "embed",
    "kernels",
    "unavailable",
    "unsupported",
    "variant_statuses",
]

ACTIVATIONS: Mapping[str, int] = {
    "linear": 0,
    "gelu": 1,
    "gelu_new": 2,
    "relu": 3,
    "relu6": 4,
    "silu": 5,
    "quick_gelu": 6,
    "mish": 7,
    "tanh": 8,
    "sigmoid": 9,
}
"""`enum class Activation` of functions.h, by the names of `isobatch.kernels.activations`."""


def unsupported(weights: BlockWeights) -> str | None:
    """Return why a layer of this kind is not compiled; None if it is."""
    spec = weights.spec
    if weights.up.device.type != "cpu":
        return "compiled for CPUs only"
    if spec.norm != "post" or spec.gated or spec.window is not None:
        return "only post-norm layers without gate and window are compiled"
    if weights.up.activation.name not in ACTIVATIONS:
        return f"activation {weights.up.activation.name} is not compiled"
    return None


class PackedBlock:
    """A layer for inference only, with its own packed copy of the weights."""

    def __init__(self, weights: BlockWeights, precision: Precision) -> None:
        self.precision: Precision = precision
        self.spec = weights.spec
        self._activation = weights.up.activation
        linears = [weights.linears[name] for name in LINEARS]
        self._weights = [PackedWeight(layer.weight, precision) for layer in linears]
        self._biases = [filled_bias(layer.bias, layer.out_features) for layer in linears]
        self._norms = [NormArguments(weights.norms[name]) for name in NORMS]
        self._structure = self._addresses()

    def _addresses(self) -> BlockStructure:
        pairs = zip(self._weights, self._biases, strict=True)
        products = [weight.structure(bias) for weight, bias in pairs]
        return _block(products, self._norms, self.spec, self._activation)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle everything but the addresses, which are of this process.

        Copies of the biases: multiprocessing moves a tensor that it pickles to other memory.
        """
        state = {name: each for name, each in self.__dict__.items() if name != "_structure"}
        return state | {"_biases": [bias.clone() for bias in self._biases]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._structure = self._addresses()

    def __call__(self, hidden: Tensor, batch: PackedBatch, rows: Rows) -> Tensor:
        module = self._weights[0].module
        size = self.spec.hidden_size
        return _forward(module, self.precision, self._structure, hidden, batch, size, rows)

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
    held = [_PlainLinear(weights.linears[name]) for name in LINEARS]
    norms = [NormArguments(weights.norms[name]) for name in NORMS]
    products = [linear.structure for linear in held]
    structure = _block(products, norms, weights.spec, weights.up.activation)
    module, size = kernels("fp32").module, weights.spec.hidden_size
    return _forward(module, "fp32", structure, hidden.detach(), batch, size, rows)


class _PlainLinear:
    """A weight in rows; a copy that `checked` made must outlive the call."""

    def __init__(self, layer: LinearWeights) -> None:
        sizes = layer.out_features, layer.in_features
        self.weight = checked(layer.float_weight().detach(), *sizes)
        self.bias = filled_bias(layer.bias, layer.out_features)

    @property
    def structure(self) -> ProductStructure:
        num_out, num_in = self.weight.shape
        addresses = self.weight.data_ptr(), None, None, self.bias.data_ptr()
        return ProductStructure(*addresses, num_in, num_out, 0)


def compute_linear(
    x: Tensor,
    weight: Tensor | PackedWeight,
    bias: Tensor | None,
    activation: Activation = IDENTITY,
    residual: Tensor | None = None,
) -> Tensor:
    """Compute act(x Wᵀ + b) + residual, float32 [rows, in] → [rows, out].

    In fp32 from a plain weight [out, in], or in the precision of a packed one.
    """
    assert residual is None or activation is IDENTITY
    if isinstance(weight, PackedWeight):
        filled = filled_bias(bias, weight.out_features)
        structure, precision, module = weight.structure(filled), weight.precision, weight.module
    else:
        plain = _PlainLinear(LinearWeights(weight, bias))
        structure, precision, module = plain.structure, "fp32", kernels("fp32").module
    num_rows, num_out = len(x), structure.columns_out
    x = checked(x.detach(), num_rows, structure.columns_in)
    y = x.new_empty(num_rows, num_out)
    if residual is not None:
        residual = checked(residual.detach(), num_rows, num_out)
    if num_rows == 0:
        return y
    module.forward_linear(
        PRECISIONS.index(precision),
        ctypes.addressof(structure),
        ACTIVATIONS[activation.name],
        x.data_ptr(),
        0 if residual is None else residual.data_ptr(),
        y.data_ptr(),
        num_rows,
        torch.get_num_threads(),
    )
    return y


def _block(
    products: list[ProductStructure],
    norms: list[NormArguments],
    spec: BlockSpec,
    activation: Activation,
) -> BlockStructure:
    _check_sizes(products, norms, spec)
    kind = spec.num_heads, ACTIVATIONS[activation.name]
    return BlockStructure(*products, *(norm.structure for norm in norms), *kind)


def _check_sizes(
    products: list[ProductStructure], norms: list[NormArguments], spec: BlockSpec
) -> None:
    """Raise ValueError for weights of another layer, such as ones assigned to `.data`."""
    size, wide = spec.hidden_size, spec.intermediate_size
    expected = {"up": (wide, size), "down": (size, wide)}
    for name, product in zip(LINEARS, products, strict=True):
        found, wanted = (product.columns_out, product.columns_in), expected.get(name, (size, size))
        if found != wanted:
            raise ValueError(f"{name}: the weight is {[*found]}, expected {[*wanted]}")
    for name, norm in zip(NORMS, norms, strict=True):
        if norm.size != size:
            raise ValueError(f"{name}: the weight is [{norm.size}], expected [{size}]")


def _forward(
    module: KernelModule,
    precision: Precision,
    structure: BlockStructure,
    hidden: Tensor,
    batch: PackedBatch,
    size: int,
    rows: Rows,
) -> Tensor:
    hidden = checked(hidden, len(hidden), size)  # a name of its own: a copy must outlive the call
    cu_seqlens = batch.cu_seqlens
    check_borders(cu_seqlens, len(hidden))
    num_sequences = len(cu_seqlens) - 1
    y = hidden.new_empty(len(hidden) if rows is Rows.ALL else num_sequences, size)
    module.forward_block(
        PRECISIONS.index(precision),
        ctypes.addressof(structure),
        hidden.data_ptr(),
        y.data_ptr(),
        cu_seqlens.data_ptr(),
        num_sequences,
        rows.value,
        torch.get_num_threads(),
    )
    return y
