"""One Transformer layer: its weights, and the formula that computes it.

`compute_block` is the reference implementation, the only place where the formula is written in
Python. Training, layer-by-layer inference, int8 and the padded model of the lesson page pass it
other linears, norms and attention; the compiled kernels (`compiled/block.h`) are the same in C++.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint.quantized import QuantizedTensor
from isobatch.kernels.activations import IDENTITY, Activation, activation_named
from isobatch.specification import BlockSpec
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
    """Layer norm: weight and bias, float32 [size]."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """The weights of one layer; `gate` is None unless the feed-forward is gated."""

    spec: BlockSpec
    query: LinearWeights
    key: LinearWeights
    value: LinearWeights
    output: LinearWeights
    attention_norm: NormWeights
    up: LinearWeights
    gate: LinearWeights | None
    down: LinearWeights
    norm: NormWeights

    @property
    def linears(self) -> dict[str, LinearWeights]:
        """The linear layers by name, in the order in which they are computed."""
        named = {name: getattr(self, name) for name in LINEARS}
        return {name: layer for name, layer in named.items() if layer is not None}

    @property
    def norms(self) -> dict[str, NormWeights]:
        return {"attention_norm": self.attention_norm, "norm": self.norm}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every weight and bias by name, as `block_weights` takes them; int8 ones widened."""
        tensors = {}
        for name, layer in self.linears.items():
            tensors[f"{name}.weight"] = layer.float_weight()
            if layer.bias is not None:
                tensors[f"{name}.bias"] = layer.bias
        for name, norm in self.norms.items():
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = norm.weight, norm.bias
        return tensors


LINEARS = ("query", "key", "value", "output", "up", "gate", "down")


def block_weights(spec: BlockSpec, tensors: Mapping[str, Weight]) -> BlockWeights:
    """Assemble the weights of a layer from `tensors`, whose names are "query.weight" and so on."""

    def linear(name: str, activation: Activation = IDENTITY) -> LinearWeights:
        bias = tensors.get(f"{name}.bias")
        assert bias is None or isinstance(bias, Tensor)
        return LinearWeights(tensors[f"{name}.weight"], bias, activation)

    def norm(name: str) -> NormWeights:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        return NormWeights(weight, bias, spec.norm_eps)

    activation = activation_named(spec.activation)
    return BlockWeights(
        spec=spec,
        query=linear("query"),
        key=linear("key"),
        value=linear("value"),
        output=linear("output"),
        attention_norm=norm("attention_norm"),
        up=linear("up", IDENTITY if spec.gated else activation),
        gate=linear("gate", activation) if spec.gated else None,
        down=linear("down"),
        norm=norm("norm"),
    )


class BlockKernel(Protocol):
    """A way to compute one layer, bound to its weights."""

    def __call__(self, hidden: Tensor, batch: PackedBatch, rows: Rows) -> Tensor:
        """Compute `rows` of hidden [tokens, hidden]: the same shape, or [sequences, hidden]."""


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query, key, value) → the mixed values, in the shape of `query`."""


def _unchanged(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, slots=True)
class BlockOperations:
    """How the parts of a layer are computed.

    linears: functions (x, residual=None) → act(x Wᵀ + b) + residual, x as `read` returns it.
    norms: functions of rows.
    read: brings rows into the form that the linears take, such as int8 with a scale for each row.
    chunk_rows: rows that the part after attention is computed for at a time, None for all.
    """

    spec: BlockSpec
    linears: Mapping[str, Any]
    norms: Mapping[str, Any]
    read: Callable[[Tensor], Any] = _unchanged
    chunk_rows: int | None = None


def reference_operations(weights: BlockWeights) -> BlockOperations:
    """Compute every part with plain torch operations, differentiable and in any shape."""
    return BlockOperations(weights.spec, weights.linears, weights.norms)


def compute_block(
    operations: BlockOperations,
    hidden: Tensor,
    attend: Attend,
    select: Callable[[Tensor], Tensor] = _unchanged,
) -> Tensor:
    """Compute one Transformer layer; the last axis of `hidden` is hidden_size.

    select: takes the rows that are wanted of `hidden`; attention reads the keys of all rows.
    """
    linears, read = operations.linears, operations.read
    pre_norm = operations.spec.norm == "pre"
    source = operations.norms["attention_norm"](hidden) if pre_norm else hidden
    selected = select(source)
    stored = read(source)
    query = linears["query"](stored if selected is source else read(selected))
    mixed = attend(query, linears["key"](stored), linears["value"](stored))
    residual = select(hidden)
    parts = [
        _compute_feed_forward(operations, *chunk)
        for chunk in _chunks(mixed, residual, operations.chunk_rows)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _compute_feed_forward(operations: BlockOperations, mixed: Tensor, residual: Tensor) -> Tensor:
    """Compute everything that follows attention."""
    linears, norms, read = operations.linears, operations.norms, operations.read
    attended = linears["output"](read(mixed), residual)
    if operations.spec.norm == "pre":
        stored = read(norms["norm"](attended))
    else:
        attended = norms["attention_norm"](attended)
        stored = read(attended)
    wide = linears["up"](stored)
    if operations.spec.gated:
        wide = wide * linears["gate"](stored)
    result: Tensor = linears["down"](read(wide), attended)
    return result if operations.spec.norm == "pre" else cast("Tensor", norms["norm"](result))


def _chunks(
    mixed: Tensor, residual: Tensor, chunk_rows: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    if chunk_rows is None:
        return iter([(mixed, residual)])
    return zip(torch.split(mixed, chunk_rows), torch.split(residual, chunk_rows), strict=True)
