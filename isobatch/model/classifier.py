"""SequenceClassifier: embeddings, blocks, head: the one forward of inference and training.

PackedBatch in, logits out. Invariant: module names are the left sides of the tables of names in
`isobatch.checkpoint.families`.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint import ModelConfig
from isobatch.kernels import Linear, activation_named
from isobatch.model.block import Block
from isobatch.model.embeddings import Embeddings
from isobatch.types import Rows


class ClassificationHead(nn.Module):
    """`rows` of each sequence [sequences, hidden] → logits [sequences, num_labels]."""

    rows = Rows.FIRST

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.encoder.hidden_size
        self.dense = Linear(size, size, activation_named(config.head.activation))
        self.output = Linear(size, config.head.num_labels)
        self.dropout = config.dropout.classifier
        self.drops_input = config.family.head_drops_input

    def forward(self, hidden: Tensor) -> Tensor:
        if self.drops_input:
            hidden = F.dropout(hidden, self.dropout, self.training)
        features = F.dropout(self.dense(hidden), self.dropout, self.training)
        return self.output(features)  # type: ignore[no-any-return]


class SequenceClassifier(nn.Module):
    """An encoder classifier over packed sequences; batch → logits [sequences, num_labels].

    The last block computes only the rows that the head reads: of 12 parts of a layer's products 10
    are not needed for one row of each sequence.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        encoder, dropout = config.encoder, config.dropout
        self.embeddings = Embeddings(encoder, dropout.hidden)
        self.blocks = nn.ModuleList(
            Block(encoder.block, dropout) for _ in range(encoder.num_layers)
        )
        self.head = ClassificationHead(config)

    def forward(self, batch: PackedBatch, words: Tensor | None = None) -> Tensor:
        """Compute the logits; `words` as in Embeddings."""
        hidden = self.embeddings(batch, words)
        *blocks, last = self.blocks
        for block in blocks:
            hidden = block(hidden, batch, Rows.ALL)
        return self.head(last(hidden, batch, self.head.rows))  # type: ignore[no-any-return]
