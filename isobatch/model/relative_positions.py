"""RelativePositions: the table of distances that the attention of all layers reads."""

import torch
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.kernels import Norm, toeplitz
from isobatch.specification import DistanceTable


class RelativePositions(nn.Module):
    """PackedBatch → the `context` of every block, the same for all batches.

    Of a "toeplitz" term [heads, 2 span - 1], as PackedAttention takes it; of a "disentangled" one
    the normalized table. Invariant: after `freeze` it is always the same tensor, so that blocks
    can keep what they compute of it.
    """

    def __init__(self, table: DistanceTable, longest: int) -> None:
        super().__init__()
        rows, columns = table.num_rows, table.num_columns
        self.term = table.term
        self.table = nn.Embedding(rows, columns, _weight=torch.empty(rows, columns))
        self.norm = None if table.norm is None else Norm(columns, table.norm)
        self.longest = longest
        self._frozen: Tensor | None = None

    def forward(self, batch: PackedBatch) -> Tensor:
        """Compute the context; `batch` matters only if it has a text longer than the model takes.

        There are such texts: ids of padding in a text have no position of their own.
        """
        longest = max(segment.length for segment in batch.segments)
        if self.term == "toeplitz" and longest > self.longest:
            return toeplitz(self.table.weight, longest)
        return self._compute() if self._frozen is None else self._frozen

    def freeze(self) -> None:
        """Compute the context for good: the weights will not change."""
        with torch.no_grad():
            self._frozen = self._compute()

    def _compute(self) -> Tensor:
        table = self.table.weight
        if self.term == "toeplitz":
            return toeplitz(table, self.longest)
        return table if self.norm is None else self.norm(table)
