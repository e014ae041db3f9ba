"""Head: pools the rows of each sequence, then computes the steps that its specification lists."""

import torch
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint import Dropouts
from isobatch.kernels import (
    Dropout,
    Linear,
    Norm,
    activation_named,
    normalize_rows,
    pool_rows,
)
from isobatch.model.block import TORCH_DROPOUT
from isobatch.model.embeddings import EMBEDDINGS_PLACE
from isobatch.specification import CutStep, HeadSpec, LinearStep, NormalizeStep, NormStep
from isobatch.types import Rows

_INPUT_PLACE, _FEATURES_PLACE = EMBEDDINGS_PLACE + 1, EMBEDDINGS_PLACE + 2


class Head(nn.Module):
    """`spec.rows` of each sequence → [sequences, outputs], or [tokens, outputs] without a pool.

    In training, dropout goes before the first linear layer and before the last one. The modules of
    the steps have their names; a classifier's are `dense` and `output`.
    """

    dense: Linear
    output: Linear

    def __init__(self, spec: HeadSpec, dropout: Dropouts) -> None:
        super().__init__()
        self.spec = spec
        self.dropout = dropout
        for step in spec.steps:
            if isinstance(step, LinearStep):
                activation = activation_named(step.activation)
                sizes = step.in_features, step.out_features
                self.add_module(step.name, Linear(*sizes, activation, bias=step.bias))
            elif isinstance(step, NormStep):
                self.add_module(step.name, Norm(step.size, step.norm))

    def forward(
        self, hidden: Tensor, batch: PackedBatch, dropout: Dropout = TORCH_DROPOUT
    ) -> Tensor:
        """Compute the head; `hidden` has the rows `spec.rows` of each sequence."""
        rows = self._pool(hidden, batch)
        places = self._dropout_places() if self.training else {}
        # Of pooled rows there is one a sequence, whichever it is.
        kept = Rows.FIRST if self.spec.pools else Rows.ALL
        for step in self.spec.steps:
            if step.name in places:
                place, probability = places[step.name]
                rows = dropout.rows(rows, probability, place, kept)
            if isinstance(step, NormalizeStep):
                rows = normalize_rows(rows)
            elif isinstance(step, CutStep):
                rows = rows[:, : step.size]
            else:
                rows = self.get_submodule(step.name)(rows)
        return rows

    def _pool(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        if self.spec.rows is not Rows.ALL or not self.spec.pools:
            return hidden
        return torch.cat([pool_rows(hidden, batch, pool) for pool in self.spec.pools], dim=1)

    def _dropout_places(self) -> dict[str, tuple[int, float]]:
        """Return the places of dropout, and their probabilities, by the step that reads the rows.

        A head of one linear has the second of them.
        """
        linears = [step.name for step in self.spec.steps if isinstance(step, LinearStep)]
        first = {name: (_INPUT_PLACE, self.dropout.head_input) for name in linears[:1]}
        last = {name: (_FEATURES_PLACE, self.dropout.classifier) for name in linears[-1:]}
        return first | last
