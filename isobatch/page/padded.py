"""PaddedEngine: the forward that most engines compute: one rectangle of tokens, and a mask.

Plain torch from the weights of a SequenceClassifier, the maths of transformers' "eager" attention.
It knows no text. Invariant: it shares nothing with the packed forward but the weights, so that the
page compares two computations and not one with itself.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from isobatch.model import SequenceClassifier
from isobatch.model.block import Block
from isobatch.numerics import BlockLayers


@dataclass(frozen=True, slots=True)
class PaddedAnswer:
    """logits [rows, labels]; attention [layers, rows, heads, asking, asked], if it was kept."""

    logits: Tensor
    attention: Tensor | None


class PaddedEngine:
    """A classifier over padded batches. The weights stay the model's own."""

    def __init__(self, model: SequenceClassifier) -> None:
        self._model = model
        self._num_heads = model.config.encoder.num_heads

    @torch.inference_mode()
    def answer(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        keep_attention: bool = False,
    ) -> PaddedAnswer:
        """Compute a padded batch; both tensors are [rows, columns].

        Without a mask every token counts, pads too. All tokens are of the first type, as those of
        single sentences are.
        """
        blocked = None if attention_mask is None else _additive(attention_mask)
        hidden = self._embed(input_ids)
        kept = []
        for block in self._model.blocks:
            layers = cast("Block", block).layers
            weights = self._weights(layers, hidden, blocked)
            mixed = weights @ self._by_head(layers.value.formula(hidden))
            joined = mixed.transpose(1, 2).reshape(hidden.shape)
            hidden = layers.attention_norm(layers.output.formula(joined) + hidden)
            hidden = layers.norm(layers.down.formula(layers.up.formula(hidden)) + hidden)
            if keep_attention:
                kept.append(weights)
        head = self._model.head
        logits = head.output.formula(head.dense.formula(hidden[:, 0]))
        return PaddedAnswer(logits, torch.stack(kept) if kept else None)

    def _embed(self, input_ids: Tensor) -> Tensor:
        tables = self._model.embeddings
        summed = tables.word(input_ids)
        if tables.token_type is not None:
            summed = summed + tables.token_type.weight[0]
        summed = tables.norm(summed + tables.position(self._positions(input_ids)))
        return summed if tables.project is None else tables.project.formula(summed)

    def _positions(self, input_ids: Tensor) -> Tensor:
        """0, 1, 2 …; RoBERTa's kin count the tokens that are no pad, and leave pads at its id."""
        padding_idx = self._model.config.encoder.padding_idx
        if padding_idx is None:
            return torch.arange(input_ids.shape[1])
        real = (input_ids != padding_idx).long()
        return real.cumsum(dim=1) * real + padding_idx

    def _weights(self, layers: BlockLayers, hidden: Tensor, blocked: Tensor | None) -> Tensor:
        query = self._by_head(layers.query.formula(hidden))
        key = self._by_head(layers.key.formula(hidden))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        return torch.softmax(scores if blocked is None else scores + blocked, dim=-1)

    def _by_head(self, rows: Tensor) -> Tensor:
        """[rows, columns, hidden] → [rows, heads, columns, head_dim], a view."""
        return rows.view(*rows.shape[:2], self._num_heads, -1).transpose(1, 2)


def _additive(attention_mask: Tensor) -> Tensor:
    """0 where a token counts; elsewhere so low a number that its share comes out exactly 0."""
    lowest = torch.finfo(torch.float32).min
    return (1 - attention_mask[:, None, None, :].float()) * lowest
