"""Embeddings: the normalized sum of word, position and token-type rows; ELECTRA projects it.

In eval mode the kernel that `select_kernel` chose computes the sum and its norm.
"""

import torch
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint import EncoderConfig
from isobatch.kernels import (
    Dropout,
    EmbeddingKernel,
    EmbeddingWeights,
    Int8Embedding,
    KernelSelector,
    Linear,
    Norm,
    PackedLinear,
)
from isobatch.model.block import TORCH_DROPOUT
from isobatch.types import Rows

EMBEDDINGS_PLACE = 0
"""Of dropout; the head has the next ones, and the blocks those after them."""


class Embeddings(nn.Module):
    """PackedBatch → [tokens, hidden]."""

    def __init__(self, config: EncoderConfig, dropout: float) -> None:
        super().__init__()
        size = config.embedding_size
        self.word: nn.Embedding | Int8Embedding = _table(config.vocab_size, size)
        self.position = _table(config.num_positions, size) if config.num_positions else None
        self.token_type = _table(config.type_vocab_size, size) if config.type_vocab_size else None
        norm = config.embedding_norm
        self.norm = None if norm is None else Norm(size, norm)
        self.word_scale = config.word_scale
        projects = config.always_projects or size != config.hidden_size
        self.project: Linear | PackedLinear | None = (
            Linear(size, config.hidden_size) if projects else None
        )
        self.dropout = dropout
        self.kernel: EmbeddingKernel | None = None

    @property
    def weights(self) -> EmbeddingWeights:
        """The present tables; the tensors are the parameters themselves."""
        word, position, types = self.word, self.position, self.token_type
        return EmbeddingWeights(
            word.table if isinstance(word, Int8Embedding) else word.weight,
            None if position is None else position.weight,
            None if types is None else types.weight,
            None if self.norm is None else self.norm.weights,
            self.word_scale,
        )

    def select_kernel(self, selector: KernelSelector) -> None:
        """Select the kernel that reads the tables at each call."""
        self.kernel = selector.select_embeddings(self.weights)

    def forward(
        self,
        batch: PackedBatch,
        words: Tensor | None = None,
        dropout: Dropout = TORCH_DROPOUT,
    ) -> Tensor:
        """Look up every token; `words` [tokens, embedding size] replaces the rows of words."""
        if self.kernel is not None and not self.training:
            embedded = self.kernel(self.weights, batch, words)
            return embedded if self.project is None else self.project(embedded)
        embedded = self.weights(batch, words)
        if self.training:
            embedded = dropout.rows(embedded, self.dropout, EMBEDDINGS_PLACE, Rows.ALL)
        return embedded if self.project is None else self.project(embedded)


def _table(num_rows: int, size: int) -> nn.Embedding:
    """Create an uninitialized embedding table, without torch's random initialization."""
    return nn.Embedding(num_rows, size, _weight=torch.empty(num_rows, size))
