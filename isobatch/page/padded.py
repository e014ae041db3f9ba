"""PaddedForward: the forward that most engines compute, a rectangle of tokens and a mask.

The same weights and the same formula of a layer as the packed forward, with plain torch products
and masked attention over the padded rows, as in transformers' "eager" attention. Invariant: none of
the batch-invariant kernels is used, so that the page compares two computations.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from isobatch.batching.packed import position_ids
from isobatch.errors import UnsupportedModelError
from isobatch.kernels import Linear, compute_block, reference_operations
from isobatch.model import EncoderModel
from isobatch.model.block import Block
from isobatch.specification import AttentionSpec, BlockSpec


@dataclass(frozen=True, slots=True)
class PaddedOutput:
    """logits [rows, labels]; attention [layers, rows, heads, queries, keys], if it was kept."""

    logits: Tensor
    attention: Tensor | None


class PaddedForward:
    """A classifier over padded batches. The weights stay the model's own."""

    def __init__(self, model: EncoderModel) -> None:
        self._model = model
        encoder = model.config.encoder
        layer = encoder.layers[0]
        heads = layer.attention.num_heads
        plain = BlockSpec(
            hidden_size=layer.hidden_size,
            attention=AttentionSpec(heads, layer.hidden_size // heads),
            intermediate_size=layer.intermediate_size,
            activation=layer.activation,
            norm=layer.norm,
        )
        if {*encoder.layers} != {plain} or not encoder.num_positions:
            raise UnsupportedModelError(
                f"config.json: model_type {model.config.family.model_type!r} is not supported by "
                "the lesson, which draws layers like BERT's. Use a BERT-like checkpoint"
            )
        self._num_heads = heads

    @torch.inference_mode()
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        keep_attention: bool = False,
    ) -> PaddedOutput:
        """Compute a padded batch; both tensors are [rows, columns].

        Without a mask every token counts, padding too. All tokens are of the first type, as those
        of single sentences are.
        """
        mask = None
        if attention_mask is not None:
            # Padding gets a number so low that its weight is exactly 0.
            padding = 1 - attention_mask[:, None, None, :].float()
            mask = padding * torch.finfo(torch.float32).min
        hidden = self._embed(input_ids)
        kept: list[Tensor] = []
        attend = partial(self._attend, mask=mask, kept=kept if keep_attention else None)
        for block in self._model.layers:
            operations = reference_operations(cast("Block", block).weights)
            hidden = compute_block(operations, hidden, attend)
        head = self._model.head
        logits = head.output.weights(head.dense.weights(hidden[:, 0]))
        return PaddedOutput(logits, torch.stack(kept) if kept else None)

    def _embed(self, input_ids: Tensor) -> Tensor:
        tables = self._model.embeddings
        positions = self._model.config.encoder.positions
        numbered = torch.tensor(position_ids(input_ids.numpy(), positions))
        assert tables.norm is not None
        assert tables.position is not None
        summed = tables.word(input_ids)
        if tables.token_type is not None:
            summed = summed + tables.token_type.weight[0]
        summed = cast("Tensor", tables.norm(summed + tables.position(numbered)))
        return tables.project.weights(summed) if isinstance(tables.project, Linear) else summed

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: Tensor | None,
        kept: list[Tensor] | None,
    ) -> Tensor:
        q, k, v = (self._by_head(tensor) for tensor in (query, key, value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
        if kept is not None:
            kept.append(weights)
        return (weights @ v).transpose(1, 2).reshape(query.shape)

    def _by_head(self, rows: Tensor) -> Tensor:
        """View [rows, columns, hidden] as [rows, heads, columns, head_dim]."""
        return rows.view(*rows.shape[:2], self._num_heads, -1).transpose(1, 2)
