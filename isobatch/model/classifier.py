"""SequenceClassifier: embeddings, blocks, head: the one forward of inference and training.

PackedBatch in, logits out. It knows neither text nor files. Invariant: module names are the left
sides of the tables in `isobatch.checkpoint.families`.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.checkpoint import ModelConfig
from isobatch.model.block import Block
from isobatch.model.embeddings import Embeddings
from isobatch.numerics import Linear, activation_named
from isobatch.packed import PackedBatch


class Head(nn.Module):
    """First rows [sequences, hidden] → logits [sequences, num_labels]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.encoder.hidden_size
        self.dense = Linear(size, size, activation_named(config.head.activation))
        self.output = Linear(size, config.head.num_labels)
        self.dropout = config.dropout.classifier
        self.drops_input = config.family.head_drops_input

    def forward(self, first: Tensor) -> Tensor:
        if self.drops_input:
            first = F.dropout(first, self.dropout, self.training)
        features = F.dropout(self.dense(first), self.dropout, self.training)
        return self.output(features)  # type: ignore[no-any-return]


class SequenceClassifier(nn.Module):
    """An encoder classifier over packed sequences; batch → logits [sequences, num_labels]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        encoder, dropout = config.encoder, config.dropout
        self.embeddings = Embeddings(encoder, dropout.hidden)
        self.blocks = nn.ModuleList(
            Block(encoder, dropout, first_only=index == encoder.num_layers - 1)
            for index in range(encoder.num_layers)
        )
        self.head = Head(config)

    def forward(self, batch: PackedBatch) -> Tensor:
        hidden = self.embeddings(batch)
        for block in self.blocks:
            hidden = block(hidden, batch)
        return self.head(hidden)  # type: ignore[no-any-return]
