"""PackedAttention: softmax(q kᵀ / √d) v within each sequence, without a pad or a mask.

Runs of equal length are viewed as [sequences, heads, length, head_dim] and computed in one call. It
has no weights. Invariant: a sequence's result depends only on its own queries, keys and values.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.core import Run

QUERY_ROWS = 4


class PackedAttention(nn.Module):
    """Multi-head attention over packed sequences; see `forward`.

    `split_runs` computes each sequence in a call of its own; `proof.KernelSettler` sets it where
    a machine's kernel gives other bits in company.
    """

    def __init__(self, num_heads: int, head_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.dropout = dropout
        self.split_runs = False

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, runs: Sequence[Run], *, first_only: bool
    ) -> Tensor:
        """key, value: [tokens, hidden].

        query and result: the same, or [sequences, hidden] if only each sequence's first token asks.
        """
        if self.split_runs:
            runs = [single for run in runs for single in run.split()]
        parts = []
        for run in runs:
            rows = run.sequences if first_only else run.tokens
            parts.append(self._attend(query[rows], key[run.tokens], value[run.tokens], run))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, run: Run) -> Tensor:
        """One run; the number of query rows is rounded up to a multiple of QUERY_ROWS.

        The CPU kernel gives each thread a scratch buffer whose size follows the number of query
        rows, and MKL's bits follow the alignment of that buffer. With 1, 2, 3, 5, 15, 17 … rows
        some head sizes came out differently on the second thread; with multiples of four none
        did, at any length. The added rows are dropped, and no other row reads them.
        """
        q, k, v = (self._by_head(tensor, run.num_sequences) for tensor in (query, key, value))
        num_rows = q.shape[2]
        if spare := -num_rows % QUERY_ROWS:
            q = F.pad(q, (0, 0, 0, spare))
        if self.num_heads == run.num_sequences == 1:
            # A single head of a single sequence is a single task: torch then leaves the threads to
            # MKL, whose product has other bits for it. Twice the same is two tasks.
            q, k, v = (tensor.expand(2, -1, -1, -1) for tensor in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        mixed = mixed[: run.num_sequences, :, :num_rows]
        return mixed.transpose(1, 2).reshape(query.shape)

    def _by_head(self, tensor: Tensor, num_sequences: int) -> Tensor:
        """[rows, hidden] → [sequences, heads, rows per sequence, head_dim], a view."""
        return tensor.view(num_sequences, -1, self.num_heads, self.head_dim).transpose(1, 2)
