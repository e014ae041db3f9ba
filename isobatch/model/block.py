"""Block: one Transformer layer with the norm after the residual, as BERT has it.

The last block of a classifier computes only each sequence's first row, the one that the head reads:
of 12 parts of a layer's products 10 fall away. Every family's blocks are this one.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from isobatch.checkpoint import Dropouts, EncoderConfig
from isobatch.core import Run
from isobatch.numerics import Linear, PackedAttention, activation_named
from isobatch.packed import PackedBatch


class Attention(nn.Module):
    """Multi-head self-attention and its output projection; adds the residual."""

    def __init__(self, config: EncoderConfig, dropout: Dropouts) -> None:
        super().__init__()
        size = config.hidden_size
        self.query = Linear(size, size)
        self.key = Linear(size, size)
        self.value = Linear(size, size)
        self.attend = PackedAttention(config.num_heads, size // config.num_heads, dropout.attention)
        self.output = Linear(size, size, dropout=dropout.attention_output)

    def forward(
        self, hidden: Tensor, asking: Tensor, runs: Sequence[Run], *, first_only: bool
    ) -> Tensor:
        """hidden [tokens, hidden]; asking: the same, or each sequence's first row."""
        query, key, value = self.query(asking), self.key(hidden), self.value(hidden)
        mixed = self.attend(query, key, value, runs, first_only=first_only)
        return self.output(mixed, asking)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward; [tokens, hidden] → [tokens, hidden] or [sequences, hidden]."""

    def __init__(self, config: EncoderConfig, dropout: Dropouts, *, first_only: bool) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.first_only = first_only
        self.attention = Attention(config, dropout)
        self.attention_norm = nn.LayerNorm(size, eps=eps)
        self.up = Linear(size, config.intermediate_size, activation_named(config.hidden_act))
        self.down = Linear(config.intermediate_size, size, dropout=dropout.hidden)
        self.norm = nn.LayerNorm(size, eps=eps)

    def forward(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        asking = hidden[batch.first_rows] if self.first_only else hidden
        attended = self.attention(hidden, asking, batch.runs, first_only=self.first_only)
        attended = self.attention_norm(attended)
        return self.norm(self.down(self.up(attended), attended))  # type: ignore[no-any-return]
