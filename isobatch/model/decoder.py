"""Decoder: layers that read a sequence again, each token next to all rows of the encoder.

Its tokens are those of the sequence, moved on by one place; the first is the end token, which every
sequence has. Hence they are the same rows of words in another order, and packed alike. The row read
is that of the sequence's last end token, with which it usually ends.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint import Dropouts, EncoderConfig
from isobatch.errors import InputError
from isobatch.kernels import Dropout, EmbeddingWeights, Norm
from isobatch.model.block import FIRST_CROSS_PLACE, Block
from isobatch.model.embeddings import Embeddings
from isobatch.types import Rows

DECODER_EMBEDDINGS_PLACE = 2 * FIRST_CROSS_PLACE
"""Of dropout; those of the blocks follow the encoder's."""


class Decoder(nn.Module):
    """(encoder's rows [tokens, hidden], PackedBatch) → [tokens, hidden] or [sequences, hidden]."""

    def __init__(self, config: EncoderConfig, dropout: Dropouts) -> None:
        super().__init__()
        size, rows = config.embedding_size, config.num_positions
        assert config.embedding_norm is not None
        assert config.end_token is not None
        self.position = nn.Embedding(rows, size, _weight=torch.empty(rows, size))
        self.norm = Norm(size, config.embedding_norm)
        self.blocks = nn.ModuleList(Block(spec, dropout) for spec in config.decoder_layers)
        self.end_token = config.end_token
        self.first_layer = config.num_layers
        self.dropout = dropout.embeddings

    def forward(
        self,
        encoded: Tensor,
        batch: PackedBatch,
        words: Tensor | None,
        embeddings: Embeddings,
        rows: Rows,
        dropout: Dropout,
    ) -> Tensor:
        """Compute the layers; the last one only `rows` of each sequence.

        LAST is the row of the last end token. Raises InputError for a sequence without one, and in
        training for one that continues after it.
        """
        ends = self._end_places(batch)
        order = torch.arange(-1, len(batch.input_ids) - 1, device=ends.device)
        order[batch.cu_seqlens[:-1]] = ends
        moved = replace(batch, input_ids=batch.input_ids[order])
        words = None if words is None else words[order]
        tables = embeddings.weights._replace(position=self.position.weight, norm=self.norm.weights)
        hidden = self._embed(tables, moved, words, embeddings, dropout)
        layers = [
            partial(block, dropout=dropout, layer=self.first_layer + index)
            if self.training
            else block
            for index, block in enumerate(self.blocks)
        ]
        for layer in layers[:-1]:
            hidden = layer(hidden, batch, Rows.ALL, encoded)
        result: Tensor = layers[-1](hidden, batch, rows, encoded)
        continues = ends != batch.cu_seqlens[1:] - 1
        if rows is not Rows.LAST or not continues.any():
            return result
        if self.training:  # the masks of its neighbours would be others
            raise InputError(
                f"in training every sequence must end with the end token {self.end_token}. Pass "
                "the ids as the tokenizer makes them"
            )
        # One sequence that continues costs the batch all rows, but its neighbours keep the row that
        # they have without it: a kernel may give the last of all rows other bits.
        every: Tensor = layers[-1](hidden, batch, Rows.ALL, encoded)
        return torch.where(continues[:, None], every[ends], result)

    def _embed(
        self,
        tables: EmbeddingWeights,
        batch: PackedBatch,
        words: Tensor | None,
        embeddings: Embeddings,
        dropout: Dropout,
    ) -> Tensor:
        if self.training:
            embedded = tables(batch, words)
            return dropout.rows(embedded, self.dropout, DECODER_EMBEDDINGS_PLACE, Rows.ALL)
        kernel = embeddings.kernel or EmbeddingWeights.__call__
        return kernel(tables, batch, words)

    def _end_places(self, batch: PackedBatch) -> Tensor:
        """Return where the last end token of each sequence is among all tokens."""
        ids, first = batch.input_ids, batch.cu_seqlens[:-1]
        places = torch.arange(len(ids), dtype=first.dtype, device=ids.device)
        found = torch.where(ids.eq(self.end_token), places, -torch.ones_like(places))
        ends: Tensor = found.cummax(dim=0).values[batch.cu_seqlens[1:] - 1]
        if wrong := (ends < first).nonzero().flatten().tolist():
            raise InputError(
                f"sequence {wrong[0]}: has no end token {self.end_token}, whose row the head "
                "reads. Pass the ids as the tokenizer makes them"
            )
        return ends
