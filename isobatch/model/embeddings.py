"""Embeddings: the sum of word, position and token-type rows, normed; ELECTRA also projects it.

Knows nothing of text or padding: positions come with the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.checkpoint import EncoderConfig
from isobatch.numerics import Int8Embedding, Linear
from isobatch.packed import PackedBatch


class Embeddings(nn.Module):
    """PackedBatch → [tokens, hidden]."""

    def __init__(self, config: EncoderConfig, dropout: float) -> None:
        super().__init__()
        size = config.embedding_size
        self.word: nn.Embedding | Int8Embedding = _table(config.vocab_size, size)
        self.position = _table(config.num_positions, size)
        self.token_type = _table(config.type_vocab_size, size) if config.type_vocab_size else None
        self.norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.project = Linear(size, config.hidden_size) if size != config.hidden_size else None
        self.dropout = dropout

    def forward(self, batch: PackedBatch) -> Tensor:
        embedded = self.word(batch.input_ids)
        if self.token_type is not None:
            embedded = embedded + self._types(self.token_type, batch.token_type_ids)
        embedded = self.norm(embedded + self.position(batch.position_ids))
        embedded = F.dropout(embedded, self.dropout, self.training)
        return embedded if self.project is None else self.project(embedded)

    def _types(self, table: nn.Embedding, token_type_ids: Tensor) -> Tensor:
        """A family with one type has it for every token, whatever its tokenizer calls them."""
        if table.num_embeddings == 1:
            return table.weight[0]
        types: Tensor = table(token_type_ids)
        return types


def _table(num_rows: int, size: int) -> nn.Embedding:
    """A table whose memory is only reserved: torch would draw numbers for all of it."""
    return nn.Embedding(num_rows, size, _weight=torch.empty(num_rows, size))
