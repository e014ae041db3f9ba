"""One Transformer layer: its weights, and the formula that computes it.

`compute_block` is the reference implementation, the only place where the formula is written in
Python. Training, layer-by-layer inference, int8 and the padded model of the lesson page pass it
other linears, norms and attention; the compiled kernels (`compiled/block.h`) are the same in C++.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint.quantized import QuantizedTensor
from isobatch.kernels.activations import IDENTITY, Activation, activation_named
from isobatch.specification import BlockSpec, NormPlace, NormSpec
from isobatch.types import Rows

Weight = Tensor | QuantizedTensor


class LinearWeights(NamedTuple):
    """act(x Wᵀ + b): weight [out, in], float32 or int8 with scales; bias float32 [out] or None."""

    weight: Weight
    bias: Tensor | None
    activation: Activation = IDENTITY

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def float_weight(self) -> Tensor:
        """Return the weight as float32 [out, in]."""
        return self.weight if isinstance(self.weight, Tensor) else self.weight.dequantize()

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute the layer with plain torch operations: the reference implementation."""
        product = self.activation.function(F.linear(x, self.float_weight(), self.bias))
        return product if residual is None else product + residual


class NormWeights(NamedTuple):
    """Layer norm or RMS norm: weight and, if it has one, bias, float32 [size]."""

    weight: Tensor
    bias: Tensor | None
    eps: float
    kind: Literal["layer", "rms"] = "layer"

    def __call__(self, x: Tensor) -> Tensor:
        if self.kind == "rms":
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """The weights of one layer by the names of its parts, linears in the order of LINEARS."""

    spec: BlockSpec
    linears: Mapping[str, LinearWeights]
    norms: Mapping[str, NormWeights]

    @property
    def device(self) -> torch.device:
        return self.linears["up"].device

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every weight and bias by name, as `block_weights` takes them; int8 ones widened."""
        tensors = {}
        for name, layer in self.linears.items():
            tensors[f"{name}.weight"] = layer.float_weight()
            if layer.bias is not None:
                tensors[f"{name}.bias"] = layer.bias
        for name, norm in self.norms.items():
            tensors[f"{name}.weight"] = norm.weight
            if norm.bias is not None:
                tensors[f"{name}.bias"] = norm.bias
        return tensors


def block_weights(spec: BlockSpec, tensors: Mapping[str, Weight]) -> BlockWeights:
    """Assemble the weights of a layer from `tensors`, whose names are "query.weight" and so on."""

    def linear(name: str) -> LinearWeights:
        bias = tensors.get(f"{name}.bias")
        assert bias is None or isinstance(bias, Tensor)
        return LinearWeights(tensors[f"{name}.weight"], bias, linear_activation(spec, name))

    def norm(name: str, kind: NormSpec) -> NormWeights:
        weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
        assert isinstance(weight, Tensor)
        assert bias is None or isinstance(bias, Tensor)
        return NormWeights(weight, bias, kind.eps, kind.kind)

    linears = {name: linear(name) for name in spec.linears}
    return BlockWeights(spec, linears, {name: norm(name, kind) for name, kind in norms_of(spec)})


def norms_of(spec: BlockSpec) -> list[tuple[str, NormSpec]]:
    """List the norms of a layer by name: those of its places, then those of queries and keys."""
    named: list[tuple[str, NormSpec]] = [(place, spec.norm) for place in spec.norms]
    heads = ("query_norm", "key_norm") if spec.attention.head_norm else ()
    return named + [(name, NormSpec(spec.norm.eps, "rms")) for name in heads]


def linear_activation(spec: BlockSpec, name: str) -> Activation:
    """Return the activation that ends the linear of that name."""
    return activation_named(spec.activation) if name == spec.activated else IDENTITY


class BlockKernel(Protocol):
    """A way to compute one layer, bound to its weights."""

    def __call__(
        self, hidden: Tensor, batch: PackedBatch, rows: Rows, context: Tensor | None = None
    ) -> Tensor:
        """Compute `rows` of hidden [tokens, hidden]: the same shape, or [sequences, hidden].

        context: the second input of layers that have one. For cross-attention the rows [tokens,
        hidden] of the other sequence; for positions, what `model.positions` makes of the lengths.
        """


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query, key, value) → the mixed values, in the shape of `query`."""


def _unchanged(x: Tensor) -> Tensor:
    return x


def project_positions(operations: "BlockOperations", context: Tensor | None) -> Tensor | None:
    """Return what attention reads of `context` [rows, hidden] next to queries, keys and values.

    Of the "disentangled" term the rows of each product, [products, heads, rows, head_dim]; of any
    other `context` itself.
    """
    spec = operations.spec.attention
    if spec.distances is None:
        return context
    assert context is not None, "a layer with distances needs their rows"
    stored = operations.read(context)
    rows = torch.stack([operations.linears[name](stored) for name in spec.distances.linears])
    by_head = rows.view(*rows.shape[:2], spec.num_heads, spec.head_dim)
    return by_head.transpose(1, 2).contiguous()


class KeptPositions:
    """`project_positions` for weights that never change: computed once for a tensor `context`."""

    def __init__(self) -> None:
        self._kept: tuple[Tensor | None, Tensor | None] = (None, None)

    def __call__(self, operations: "BlockOperations", context: Tensor | None) -> Tensor | None:
        kept = self._kept  # one read and one write, so that threads may share it
        if context is not None and kept[0] is not context:
            kept = self._kept = context, project_positions(operations, context)
        return kept[1]

    def __reduce__(self) -> tuple[type["KeptPositions"], tuple[()]]:
        """Pickle nothing: a copy computes its own."""
        return KeptPositions, ()


@dataclass(frozen=True, slots=True)
class BlockOperations:
    """How the parts of a layer are computed.

    linears: functions (x, residual=None) → act(x Wᵀ + b) + residual, x as `read` returns it.
    norms: functions of rows; places that have none are missing.
    read: brings rows into the form that the linears take, such as int8 with a scale for each row.
    chunk_rows: rows that the part after attention is computed for at a time, None for all.
    project: as `project_positions`.
    """

    spec: BlockSpec
    linears: Mapping[str, Any]
    norms: Mapping[str, Any]
    read: Callable[[Tensor], Any] = _unchanged
    chunk_rows: int | None = None
    project: Callable[["BlockOperations", Tensor | None], Tensor | None] = project_positions

    def normalize(self, place: NormPlace, x: Tensor) -> Tensor:
        """Normalize rows where the layer has a norm."""
        return cast("Tensor", self.norms[place](x)) if place in self.norms else x

    def normalize_heads(self, name: str, x: Tensor) -> Tensor:
        """Normalize queries or keys by head, where the layer does so."""
        if name not in self.norms:
            return x
        by_head = x.view(*x.shape[:-1], -1, self.spec.attention.head_dim)
        return cast("Tensor", self.norms[name](by_head)).view(x.shape)


def reference_operations(weights: BlockWeights) -> BlockOperations:
    """Compute every part with plain torch operations, differentiable and in any shape."""
    return BlockOperations(weights.spec, weights.linears, weights.norms)


def compute_block(
    operations: BlockOperations,
    hidden: Tensor,
    attend: Attend,
    select: Callable[[Tensor], Tensor] = _unchanged,
    cross: Callable[[Tensor, BlockOperations], Tensor] | None = None,
) -> Tensor:
    """Compute one Transformer layer; the last axis of `hidden` is hidden_size.

    select: takes the rows that are wanted of `hidden`; attention reads the keys of all rows.
    cross: attention to another sequence, of rows that are already selected; see `cross_attention`.
    """
    linears, read = operations.linears, operations.read
    source = operations.normalize("attention_input_norm", hidden)
    selected = select(source)
    stored = read(source)
    query = linears["query"](stored if selected is source else read(selected))
    key = operations.normalize_heads("key_norm", linears["key"](stored))
    query = operations.normalize_heads("query_norm", query)
    mixed = attend(query, key, linears["value"](stored))
    residual = select(hidden)
    if cross is not None:
        attended = linears["output"](read(mixed), residual)
        attended = operations.normalize("attention_norm", attended)
        attended = cross(attended, operations)
        return _join(_compute_feed_forward, operations, attended)
    return _join(_finish, operations, mixed, residual)


def cross_attention(
    context: Tensor, attend: Attend, rows: Tensor, operations: BlockOperations
) -> Tensor:
    """Add what `rows` read in `context` [tokens, hidden], and normalize."""
    linears, read = operations.linears, operations.read
    stored = read(context)
    key, value = linears["cross_key"](stored), linears["cross_value"](stored)
    mixed = attend(linears["cross_query"](read(rows)), key, value)
    return operations.normalize("cross_norm", linears["cross_output"](read(mixed), rows))


def compute_packed(
    operations: BlockOperations,
    hidden: Tensor,
    batch: PackedBatch,
    rows: Rows,
    context: Tensor | None,
    attention: Callable[..., Tensor],
    cross: Callable[..., Tensor] | None,
) -> Tensor:
    """Compute a layer over a packed batch; the others are as in BlockKernel.

    attention: as PackedAttention. cross: the same, of layers with cross-attention.
    """
    select = partial(batch.select, rows=rows)
    if cross is None:
        positions = operations.project(operations, context)
        attend = partial(attention, batch=batch, rows=rows, positions=positions)
        return compute_block(operations, hidden, attend, select)
    assert context is not None, "a layer with cross-attention needs the other sequence's rows"
    attend = partial(attention, batch=batch, rows=rows)
    crossing = partial(cross_attention, context, partial(cross, batch=batch, rows=rows))
    return compute_block(operations, hidden, attend, select, crossing)


def _finish(operations: BlockOperations, mixed: Tensor, residual: Tensor) -> Tensor:
    """Compute everything that follows attention."""
    attended = operations.linears["output"](operations.read(mixed), residual)
    return _compute_feed_forward(operations, operations.normalize("attention_norm", attended))


def _compute_feed_forward(operations: BlockOperations, attended: Tensor) -> Tensor:
    linears, read = operations.linears, operations.read
    stored = read(operations.normalize("feed_forward_input_norm", attended))
    wide = linears["up"](stored)
    if operations.spec.gated:
        wide = wide * linears["gate"](stored)
    return operations.normalize("norm", linears["down"](read(wide), attended))


def _join(compute: Callable[..., Tensor], operations: BlockOperations, *tensors: Tensor) -> Tensor:
    """Compute `chunk_rows` of the tensors at a time, and concatenate the results."""
    size = operations.chunk_rows
    if size is None:
        return compute(operations, *tensors)
    chunks = zip(*(torch.split(tensor, size) for tensor in tensors), strict=True)
    parts = [compute(operations, *chunk) for chunk in chunks]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
