"""Embeddings of tokens: their tables, and the formula in plain torch, the reference."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.kernels.block_formula import NormWeights, Weight


class EmbeddingWeights(NamedTuple):
    """Tables [rows, size] and the norm of their sum; a table of words may be int8.

    Rows of words are multiplied by `word_scale`.
    """

    word: Weight
    position: Tensor | None
    token_type: Tensor | None
    norm: NormWeights | None
    word_scale: float = 1.0

    @property
    def size(self) -> int:
        return self.word.shape[1]

    def __call__(self, batch: PackedBatch, words: Tensor | None = None) -> Tensor:
        """Return float32 [tokens, size]; `words`, of that shape, replaces the rows of words.

        A model with one token type has it for every token.
        """
        embedded = self._words(batch.input_ids) if words is None else words
        if self.word_scale != 1:
            embedded = embedded * self.word_scale
        if self.token_type is not None:
            embedded = embedded + self._types(self.token_type, batch.token_type_ids)
        if self.position is not None:
            embedded = embedded + F.embedding(batch.position_ids, self.position)
        return embedded if self.norm is None else self.norm(embedded)

    def _words(self, ids: Tensor) -> Tensor:
        return (
            F.embedding(ids, self.word) if isinstance(self.word, Tensor) else self.word.lookup(ids)
        )

    @staticmethod
    def _types(table: Tensor, ids: Tensor) -> Tensor:
        return table[0] if len(table) == 1 else F.embedding(ids, table)
