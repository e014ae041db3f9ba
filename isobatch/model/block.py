"""Block: one trainable Transformer layer, and InferenceBlock, one for inference only."""

from collections.abc import Mapping
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
    PackedAttention,
    TorchDropout,
    TrainingAttention,
    activation_named,
    block_weights,
    compute_block,
    compute_trainable,
)
from isobatch.specification import BlockSpec
from isobatch.types import Rows

TORCH_DROPOUT = TorchDropout()
PLACES_PER_BLOCK = 4
FIRST_BLOCK_PLACE = 4
"""Places of dropout before those of the blocks: the embeddings and the head."""


class Attention(nn.Module):
    """The linears of multi-head self-attention and of its output."""

    def __init__(self, spec: BlockSpec, dropout: Dropouts) -> None:
        super().__init__()
        size, biases = spec.hidden_size, spec.biases
        self.query = Linear(size, size, bias=biases)
        self.key = Linear(size, size, bias=biases)
        self.value = Linear(size, size, bias=biases)
        self.output = Linear(size, size, dropout=dropout.attention_output, bias=biases)


class Block(nn.Module):
    """Attention and feed-forward; [tokens, hidden] → [tokens, hidden] or [sequences, hidden].

    In eval mode the compiled kernel computes the layer where `select_kernels` chose it; otherwise,
    and in training, the layers are computed one after another. index: of the layer, by which its
    dropout differs from that of the others.
    """

    def __init__(self, spec: BlockSpec, dropout: Dropouts, index: int = 0) -> None:
        super().__init__()
        size, wide, biases = spec.hidden_size, spec.intermediate_size, spec.biases
        activation = activation_named(spec.activation)
        self.spec = spec
        self.attention = Attention(spec, dropout)
        self.attention_norm = nn.LayerNorm(size, eps=spec.norm_eps)
        if spec.gated:
            self.up = Linear(size, wide, bias=biases)
            self.gate = Linear(size, wide, activation, bias=biases)
        else:
            self.up = Linear(size, wide, activation, bias=biases)
        self.down = Linear(wide, size, dropout=dropout.hidden, bias=biases)
        self.norm = nn.LayerNorm(size, eps=spec.norm_eps)
        self.attention_dropout = dropout.attention
        self.index = index
        self.attend = PackedAttention(spec)
        self.is_compiled = False

    @property
    def linears(self) -> dict[str, Linear]:
        """The linear layers, by their names in BlockWeights."""
        modules = [*self.attention.named_children(), *self.named_children()]
        return {name: module for name, module in modules if isinstance(module, Linear)}

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
        self.attend = selector.select_attention(self.spec)
        for name, module in self.linears.items():
            module.kernel = selector.select_linear(weights.linears[name])
        for norm in weights.norms.values():
            selector.select_norm(norm)

    def forward(
        self, hidden: Tensor, batch: PackedBatch, rows: Rows, dropout: Dropout = TORCH_DROPOUT
    ) -> Tensor:
        """Compute the layer; `dropout` has an effect in training only."""
        if self.training:
            return self._train(hidden, batch, rows, dropout)
        if self.is_compiled:
            return compute_trainable(self.weights, hidden, batch, rows)
        return self._compute(self.linears, self.attend, hidden, batch, rows)

    def _train(self, hidden: Tensor, batch: PackedBatch, rows: Rows, dropout: Dropout) -> Tensor:
        """Compute the layer with dropout, each of whose places has a number of its own."""
        first = PLACES_PER_BLOCK * self.index + FIRST_BLOCK_PLACE

        def placed(place: int, wanted: Rows) -> Drop:
            return lambda x, probability: dropout.rows(x, probability, place, wanted)

        linears = self.linears
        for place, name in enumerate(("output", "down"), first):
            linears[name] = partial(linears[name], drop=placed(place, rows))  # type: ignore[assignment]
        attend = TrainingAttention(self.spec, dropout, self.attention_dropout, first + 2)
        return self._compute(linears, attend, hidden, batch, rows)

    def _compute(
        self,
        linears: Mapping[str, Any],
        attend: PackedAttention | TrainingAttention,
        hidden: Tensor,
        batch: PackedBatch,
        rows: Rows,
    ) -> Tensor:
        norms = {"attention_norm": self.attention_norm, "norm": self.norm}
        operations = BlockOperations(self.spec, linears, norms)
        bound = partial(attend, batch=batch, rows=rows)
        return compute_block(operations, hidden, bound, partial(batch.select, rows=rows))


class InferenceBlock(nn.Module):
    """A layer for inference only, whose kernel holds the weights in its own layout."""

    def __init__(self, kernel: BlockKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, hidden: Tensor, batch: PackedBatch, rows: Rows) -> Tensor:
        return self.kernel(hidden, batch, rows)


def unscoped(name: str) -> str:
    """Turn a parameter's name into BlockWeights': "attention.query.weight" → "query.weight"."""
    return name.removeprefix("attention.")
