"""Block: one Transformer layer with the norm after the residual, as BERT has it.

The last block of a classifier computes only each sequence's first row, the one that the head reads:
of 12 parts of a layer's products 10 fall away. Every family's blocks are this one.
"""

from torch import Tensor, nn

from isobatch.checkpoint import Dropouts, EncoderConfig
from isobatch.numerics import (
    BlockKernel,
    BlockLayers,
    Linear,
    PackedAttention,
    activation_named,
    compute_by_layers,
)
from isobatch.packed import PackedBatch


class Attention(nn.Module):
    """The linears of multi-head self-attention and of its output, and what joins them."""

    def __init__(self, config: EncoderConfig, dropout: Dropouts) -> None:
        super().__init__()
        size = config.hidden_size
        self.query = Linear(size, size)
        self.key = Linear(size, size)
        self.value = Linear(size, size)
        self.attend = PackedAttention(config.num_heads, size // config.num_heads, dropout.attention)
        self.output = Linear(size, size, dropout=dropout.attention_output)


class Block(nn.Module):
    """Attention and feed-forward; [tokens, hidden] → [tokens, hidden] or [sequences, hidden].

    `kernel` computes the whole block in inference where one was found for this machine; without
    one, and in training, the layers compute it one after another.
    """

    def __init__(self, config: EncoderConfig, dropout: Dropouts, *, first_only: bool) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.first_only = first_only
        self.kernel: BlockKernel | None = None
        self.attention = Attention(config, dropout)
        self.attention_norm = nn.LayerNorm(size, eps=eps)
        self.up = Linear(size, config.intermediate_size, activation_named(config.hidden_act))
        self.down = Linear(config.intermediate_size, size, dropout=dropout.hidden)
        self.norm = nn.LayerNorm(size, eps=eps)

    @property
    def layers(self) -> BlockLayers:
        attention = self.attention
        return BlockLayers(
            attention.query,
            attention.key,
            attention.value,
            attention.attend,
            attention.output,
            self.attention_norm,
            self.up,
            self.down,
            self.norm,
        )

    def forward(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        place = (batch.cu_seqlens, batch.runs)
        if self.kernel is None or self.training:
            return compute_by_layers(self.layers, hidden, *place, first_only=self.first_only)
        return self.kernel(hidden, *place, first_only=self.first_only)
