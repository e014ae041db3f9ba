"""SequenceClassifier: embeddings, blocks, head: the one forward of inference and training.

PackedBatch in, logits out. Invariant: module names are the left sides of the tables of names in
`isobatch.checkpoint.families`.
"""

from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint import ModelConfig
from isobatch.kernels import Dropout, Linear, activation_named
from isobatch.model.block import TORCH_DROPOUT, Block
from isobatch.model.embeddings import EMBEDDINGS_PLACE, Embeddings
from isobatch.types import Rows

_INPUT_PLACE, _FEATURES_PLACE = EMBEDDINGS_PLACE + 1, EMBEDDINGS_PLACE + 2


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

    def forward(self, hidden: Tensor, dropout: Dropout = TORCH_DROPOUT) -> Tensor:
        if not self.training:
            return self.output(self.dense(hidden))  # type: ignore[no-any-return]
        if self.drops_input:
            hidden = dropout.rows(hidden, self.dropout, _INPUT_PLACE, self.rows)
        features = dropout.rows(self.dense(hidden), self.dropout, _FEATURES_PLACE, self.rows)
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
            Block(encoder.block, dropout, index) for index in range(encoder.num_layers)
        )
        self.head = ClassificationHead(config)

    def forward(
        self,
        batch: PackedBatch,
        words: Tensor | None = None,
        dropout: Dropout = TORCH_DROPOUT,
    ) -> Tensor:
        """Compute the logits; `words` as in Embeddings, `dropout` for training only."""
        hidden = self.embeddings(batch, words, dropout)
        *blocks, last = self.blocks
        training = (dropout,) if self.training else ()
        for block in blocks:
            hidden = block(hidden, batch, Rows.ALL, *training)
        hidden = last(hidden, batch, self.head.rows, *training)
        return self.head(hidden, dropout)  # type: ignore[no-any-return]
