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
    NormWeights,
    block_weights,
    compute_packed,
    reference_operations,
)
from isobatch.kernels.compiled.distance_panels import DistancePanels, row_numbers
from isobatch.kernels.compiled.packed_weights import (
    NormArguments,
    PackedWeight,
    filled_bias,
)
from isobatch.kernels.compiled.structures import (
    LINEARS,
    NORMS,
    BlockStructure,
    NormStructure,
    PositionsStructure,
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
from isobatch.kernels.rotary import angles
from isobatch.specification import AttentionSpec, BlockSpec, Disentangled
from isobatch.types import PRECISIONS, Precision, Rows

__all__ = [
    "PackedBlock",
    "PackedWeight",
    "VariantStatus",
    "compute_linear",
    "compute_trainable",
    "embed",
    "kernels",
    "normalize",
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
    if weights.device.type != "cpu":
        return "compiled for CPUs only"
    if spec.cross is not None:
        return "cross-attention is not compiled"
    if _activation(weights).name not in ACTIVATIONS:
        return f"activation {_activation(weights).name} is not compiled"
    return None


def _activation(weights: BlockWeights) -> Activation:
    return weights.linears[weights.spec.activated].activation


class PackedBlock:
    """A layer for inference only, with its own packed copy of the weights."""

    def __init__(self, weights: BlockWeights, precision: Precision) -> None:
        self.precision: Precision = precision
        self.spec = weights.spec
        self._activation = _activation(weights)
        linears = weights.linears
        self._weights = {
            name: PackedWeight(layer.weight, precision) for name, layer in linears.items()
        }
        self._biases = {
            name: filled_bias(layer.bias, layer.out_features) for name, layer in linears.items()
        }
        self._norms = {name: NormArguments(norm) for name, norm in weights.norms.items()}
        self._structure = self._addresses()
        self._panels: DistancePanels | None = None

    def _addresses(self) -> BlockStructure:
        products = {
            name: weight.structure(self._biases[name]) for name, weight in self._weights.items()
        }
        return _block(products, self._norms, self.spec, self._activation)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle everything but the addresses, which are of this process, and the kept panels.

        Copies of the biases: multiprocessing moves a tensor that it pickles to other memory.
        """
        state = {name: each for name, each in self.__dict__.items() if name != "_structure"}
        biases = {name: bias.clone() for name, bias in self._biases.items()}
        return state | {"_biases": biases, "_panels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._structure = self._addresses()

    def __call__(
        self, hidden: Tensor, batch: PackedBatch, rows: Rows, context: Tensor | None = None
    ) -> Tensor:
        module = self._weights["up"].module
        positions = context if self.spec.attention.distances is None else self._distances(context)
        return _forward(
            module, self.precision, self._structure, self.spec, hidden, batch, rows, positions
        )

    def _distances(self, context: Tensor | None) -> DistancePanels:
        """Project the rows for distances once for a tensor `context`."""
        assert context is not None, "a layer with distances needs their rows"
        kept = self._panels  # one read and one write, so that threads may share it
        if kept is None or kept.context is not context:
            linears = {
                name: partial(compute_linear, weight=weight, bias=self._bias(name))
                for name, weight in self._weights.items()
            }
            panel = self._weights["up"].module.PANEL
            kept = self._panels = DistancePanels(self.spec, linears, context, panel)
        return kept

    def _bias(self, name: str) -> Tensor:
        return self._biases[name][: self._weights[name].out_features]

    def __deepcopy__(self, _memo: dict[int, Any]) -> "PackedBlock":
        """Return itself: nothing in it ever changes, and its addresses are of its own tensors."""
        return self


def compute_trainable(
    weights: BlockWeights,
    hidden: Tensor,
    batch: PackedBatch,
    rows: Rows,
    context: Tensor | None = None,
) -> Tensor:
    """Compute a layer in fp32 from the weights as they are now, differentiable.

    The weights are packed into panels during each call, which costs some 4 ms for a DistilBERT; the
    result is bit-identical to PackedBlock's.
    """
    spec, named = weights.spec, weights.tensors

    def assemble(tensors: tuple[Tensor, ...]) -> BlockWeights:
        return block_weights(spec, dict(zip(named, tensors, strict=True)))

    def kernel(hidden: Tensor, positions: Tensor | None, *tensors: Tensor) -> Tensor:
        return _compute_plain(assemble(tensors), hidden, batch, rows, positions)

    def reference(hidden: Tensor, positions: Tensor | None, *tensors: Tensor) -> Tensor:
        operations, attention = reference_operations(assemble(tensors)), spec.attention
        return compute_packed(
            operations, hidden, batch, rows, positions, PackedAttention(attention), None
        )

    return with_reference_gradient(kernel, reference, hidden, context, *named.values())


def _compute_plain(
    weights: BlockWeights,
    hidden: Tensor,
    batch: PackedBatch,
    rows: Rows,
    positions: Tensor | None,
) -> Tensor:
    held = {name: _PlainLinear(layer) for name, layer in weights.linears.items()}
    norms = {name: NormArguments(norm) for name, norm in weights.norms.items()}
    products = {name: linear.structure for name, linear in held.items()}
    structure = _block(products, norms, weights.spec, _activation(weights))
    module, hidden = kernels("fp32").module, hidden.detach()
    added: Tensor | DistancePanels | None = positions
    if weights.spec.attention.distances is not None and positions is not None:
        linears = {
            name: partial(compute_linear, weight=linear.weight, bias=weights.linears[name].bias)
            for name, linear in held.items()
        }
        added = DistancePanels(weights.spec, linears, positions, module.PANEL)
    return _forward(module, "fp32", structure, weights.spec, hidden, batch, rows, added)


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


def normalize(norm: NormWeights, x: Tensor) -> Tensor:
    """Compute a norm of rows [..., size] in fp32, differentiable."""

    def kernel(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        arguments = NormArguments(norm._replace(weight=weight, bias=bias))
        rows = checked(x.detach(), *x.shape[:-1], arguments.size)
        y, structure = torch.empty_like(rows), arguments.structure
        kernels("fp32").module.normalize_rows(
            ctypes.addressof(structure),
            rows.data_ptr(),
            y.data_ptr(),
            rows.numel() // arguments.size,
            torch.get_num_threads(),
        )
        return y

    def reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return norm._replace(weight=weight, bias=bias)(x)

    return with_reference_gradient(kernel, reference, x, norm.weight, norm.bias)


def _block(
    products: Mapping[str, ProductStructure],
    norms: Mapping[str, NormArguments],
    spec: BlockSpec,
    activation: Activation,
) -> BlockStructure:
    _check_sizes(products, norms, spec)
    attention = spec.attention
    rotary, window = attention.rotary, attention.window
    return BlockStructure(
        *(products.get(name, ProductStructure()) for name in LINEARS),
        *(norms[name].structure if name in norms else NormStructure() for name in NORMS),
        attention.num_heads,
        attention.num_key_heads or attention.num_heads,
        ACTIVATIONS[activation.name],
        0 if rotary is None else rotary.size,
        -1 if window is None else window,
        attention.causal,
        attention.scale or 0.0,
    )


def _check_sizes(
    products: Mapping[str, ProductStructure], norms: Mapping[str, NormArguments], spec: BlockSpec
) -> None:
    """Raise ValueError for weights of another layer, such as ones assigned to `.data`."""
    sizes = spec.linears
    for name, product in products.items():
        found, wanted = (product.columns_out, product.columns_in), sizes[name][::-1]
        if found != wanted:
            raise ValueError(f"{name}: the weight is {[*found]}, expected {[*wanted]}")
    for name, norm in norms.items():
        of_head = name in ("query_norm", "key_norm")
        wanted_size = spec.attention.head_dim if of_head else spec.hidden_size
        if norm.size != wanted_size:
            raise ValueError(f"{name}: the weight is [{norm.size}], expected [{wanted_size}]")


def _forward(
    module: KernelModule,
    precision: Precision,
    structure: BlockStructure,
    spec: BlockSpec,
    hidden: Tensor,
    batch: PackedBatch,
    rows: Rows,
    added: Tensor | DistancePanels | None,
) -> Tensor:
    size = spec.hidden_size
    hidden = checked(hidden, len(hidden), size)  # a name of its own: a copy must outlive the call
    cu_seqlens = batch.cu_seqlens
    check_borders(cu_seqlens, len(hidden))
    num_sequences = len(cu_seqlens) - 1
    y = hidden.new_empty(len(hidden) if rows is Rows.ALL else num_sequences, size)
    positions = _Positions(spec.attention, max(each.length for each in batch.segments), added)
    module.forward_block(
        PRECISIONS.index(precision),
        ctypes.addressof(structure),
        ctypes.addressof(positions.structure),
        hidden.data_ptr(),
        y.data_ptr(),
        cu_seqlens.data_ptr(),
        num_sequences,
        rows.value,
        torch.get_num_threads(),
    )
    return y


class _Positions:
    """The angles of the positions, and what the scores have of them; keeps all in memory."""

    def __init__(
        self, spec: AttentionSpec, longest: int, added: Tensor | DistancePanels | None
    ) -> None:
        self._held: list[Tensor] = []
        self.structure = structure = PositionsStructure()
        if spec.rotary is not None:
            cosine, sine = angles(spec.rotary, longest, torch.device("cpu"))
            structure.cosine, structure.sine = self._hold(cosine), self._hold(sine)
        if spec.positions is None:
            return
        assert added is not None, "a layer with positions needs them"
        if isinstance(added, Tensor):
            self._add(added, spec.num_heads, longest)
        else:
            assert spec.distances is not None
            self._multiply(added, spec.distances, longest)

    def _add(self, added: Tensor, num_heads: int, longest: int) -> None:
        columns = added.shape[1]
        span = self.structure.span = (columns + 1) // 2
        if span < longest:
            raise ValueError(f"positions: of {span} tokens, and a sequence has {longest}")
        self.structure.added = self._hold(checked(added.detach(), num_heads, columns))

    def _multiply(self, panels: DistancePanels, rule: Disentangled, longest: int) -> None:
        structure, numbers = self.structure, row_numbers(rule, longest)
        structure.panels_of_queries = panels.address("c2p")
        structure.panels_of_keys = panels.address("p2c")
        structure.rows_of_queries = self._hold(numbers.of_queries)
        structure.rows_of_keys = self._hold(numbers.of_keys)
        structure.span, structure.rows, structure.near = numbers.span, panels.num_rows, panels.near

    def _hold(self, table: Tensor) -> int:
        self._held.append(table)
        return table.data_ptr()
