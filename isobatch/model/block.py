"""Block: one trainable Transformer layer, and InferenceBlock, one for inference only."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint import Dropouts
from isobatch.kernels import (
    BlockKernel,
    BlockOperations,
    BlockWeights,
    Drop,
    Dropout,
    KernelSelector,
    Linear,
    Norm,
    PackedAttention,
    TorchDropout,
    TrainingAttention,
    block_weights,
    compute_packed,
    compute_trainable,
    linear_activation,
    project_positions,
)
from isobatch.specification import BlockSpec, NormSpec
from isobatch.types import Rows

TORCH_DROPOUT = TorchDropout()
PLACES_PER_BLOCK = 4
FIRST_BLOCK_PLACE = 4
"""Places of dropout before those of the blocks: the embeddings and the head."""
FIRST_CROSS_PLACE = 1 << 20
"""Those of cross-attention and of the activation follow those of all blocks."""


class Attention(nn.Module):
    """The linears of multi-head attention and of its output, and the norms of its heads."""

    def __init__(self, spec: BlockSpec, dropout: Dropouts, prefix: str = "") -> None:
        super().__init__()
        for name in ("query", "key", "value", "output"):
            probability = dropout.attention_output if name == "output" else 0.0
            setattr(self, name, _linear(spec, f"{prefix}{name}", probability))
        for name in ("position_key", "position_query"):
            if name in spec.linears:
                setattr(self, name, _linear(spec, name))
        if spec.attention.head_norm:
            norm = NormSpec(spec.norm.eps, "rms")
            self.query_norm = Norm(spec.attention.head_dim, norm)
            self.key_norm = Norm(spec.attention.head_dim, norm)


def _linear(spec: BlockSpec, name: str, dropout: float = 0.0) -> Linear:
    activation = linear_activation(spec, name)
    return Linear(*spec.linears[name], activation, dropout, bias=name in spec.biases)


class Block(nn.Module):
    """Attention and feed-forward; [tokens, hidden] → [tokens, hidden] or [sequences, hidden].

    In eval mode the compiled kernel computes the layer where `select_kernels` chose it; otherwise,
    and in training, the layers are computed one after another.
    """

    def __init__(self, spec: BlockSpec, dropout: Dropouts) -> None:
        super().__init__()
        self.spec = spec
        self.attention = Attention(spec, dropout)
        if spec.cross is not None:
            self.cross_attention = Attention(spec, dropout, "cross_")
        self.up = _linear(spec, "up")
        if spec.gated:
            self.gate = _linear(spec, "gate")
        self.down = _linear(spec, "down", dropout.feed_forward)
        for place in spec.norms:
            self.add_module(place, Norm(spec.hidden_size, spec.norm))
        self.dropout = dropout
        self.attend = PackedAttention(spec.attention)
        self.attend_across = None if spec.cross is None else PackedAttention(spec.cross)
        self.is_compiled = False

    @property
    def linears(self) -> dict[str, Linear]:
        """The linear layers, by their names in BlockWeights."""
        return {name: each for name, each in self._parts() if isinstance(each, Linear)}

    @property
    def norms(self) -> dict[str, Norm]:
        """The norms, by their names in BlockWeights."""
        return {name: each for name, each in self._parts() if isinstance(each, Norm)}

    def _parts(self) -> Iterator[tuple[str, nn.Module]]:
        return ((unscoped(name), each) for name, each in self.named_modules() if name)

    @property
    def weights(self) -> BlockWeights:
        """The present weights; the tensors are the parameters themselves."""
        return block_weights(self.spec, {unscoped(name): p for name, p in self.named_parameters()})

    def select_kernels(self, selector: KernelSelector) -> None:
        """Select kernels that read the parameters at each call."""
        weights = self.weights
        self.is_compiled = selector.select_trainable_block(weights)
        if self.is_compiled:
            return
        self.attend, self.attend_across = selector.attention_kernels(weights)
        for name, module in self.linears.items():
            module.kernel = selector.select_linear(weights.linears[name])
        for norm in self.norms.values():
            norm.kernel = selector.select_norm(norm.weights)

    def forward(
        self,
        hidden: Tensor,
        batch: PackedBatch,
        rows: Rows,
        context: Tensor | None = None,
        dropout: Dropout = TORCH_DROPOUT,
        layer: int = 0,
    ) -> Tensor:
        """Compute the layer, as BlockKernel; the rest is for training.

        layer: its number, by which its dropout differs from that of the others.
        """
        if self.training:
            return self._train(hidden, batch, rows, context, dropout, layer)
        if self.is_compiled:
            return compute_trainable(self.weights, hidden, batch, rows, context)
        operations = BlockOperations(self.spec, self.linears, self.norms)
        kernels = self.attend, self.attend_across
        return compute_packed(operations, hidden, batch, rows, context, *kernels)

    def queries_and_keys(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the queries and keys of all rows, as attention reads them."""
        operations = BlockOperations(self.spec, self.linears, self.norms)
        source = operations.normalize("attention_input_norm", hidden)
        query, key = (
            operations.normalize_heads(f"{name}_norm", operations.linears[name](source))
            for name in ("query", "key")
        )
        return query, key

    def positions(self, context: Tensor | None) -> Tensor | None:
        """Compute what attention reads of the context of a model without cross-attention."""
        return project_positions(BlockOperations(self.spec, self.linears, self.norms), context)

    def _train(
        self,
        hidden: Tensor,
        batch: PackedBatch,
        rows: Rows,
        context: Tensor | None,
        dropout: Dropout,
        layer: int,
    ) -> Tensor:
        """Compute the layer with dropout, each of whose places has a number of its own."""
        first = PLACES_PER_BLOCK * layer + FIRST_BLOCK_PLACE
        crossing = first + FIRST_CROSS_PLACE

        def placed(place: int, wanted: Rows) -> Drop:
            return lambda x, probability: dropout.rows(x, probability, place, wanted)

        linears: dict[str, Any] = dict(self.linears)
        places = {"output": first, "down": first + 1, "cross_output": crossing}
        for name in places.keys() & linears.keys():
            linears[name] = partial(linears[name], drop=placed(places[name], rows))
        down, inner = linears["down"], self.dropout.activation
        linears["down"] = lambda x, residual: down(
            dropout.rows(x, inner, crossing + 2, rows), residual
        )
        spec, probability = self.spec, self.dropout.attention
        if context is not None and spec.attention.distances is not None:
            context = dropout.table(context, self.dropout.distances, first + 3)
        attend = TrainingAttention(spec.attention, dropout, probability, first + 2)
        across = (
            None
            if spec.cross is None
            else TrainingAttention(spec.cross, dropout, probability, crossing + 1)
        )
        operations = BlockOperations(spec, linears, self.norms)
        return compute_packed(operations, hidden, batch, rows, context, attend, across)


class InferenceBlock(nn.Module):
    """A layer for inference only, whose kernel holds the weights in its own layout."""

    def __init__(self, kernel: BlockKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(
        self, hidden: Tensor, batch: PackedBatch, rows: Rows, context: Tensor | None = None
    ) -> Tensor:
        return self.kernel(hidden, batch, rows, context)


def unscoped(name: str) -> str:
    """Turn a parameter's name into BlockWeights': "attention.query.weight" → "query.weight"."""
    return name.removeprefix("attention.").replace("cross_attention.", "cross_")
