"""Hidden states and attention weights of a packed batch, layer by layer.

Invariant: they are batch-invariant, as every number comes from a kernel that passed its check at
load; and the logits have the same bits whether they are requested or not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from isobatch.ambient import check_torch_settings
from isobatch.batching.packed import PackedBatch
from isobatch.compat.padded_inputs import PackedInputs
from isobatch.errors import InputError
from isobatch.kernels import KernelSelector
from isobatch.model import EncoderModel
from isobatch.model.block import Block
from isobatch.types import Rows


@dataclass(frozen=True, slots=True)
class EncoderStates:
    """last: [tokens, hidden] after the last block.

    hidden: [rows, columns, hidden] before each block and after the last; attentions: [rows, heads,
    columns, columns] of each block. Either is None unless requested.
    """

    last: Tensor
    hidden: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


def compute_states(
    model: EncoderModel, inputs: PackedInputs, *, hidden_states: bool, attentions: bool
) -> EncoderStates:
    """Compute every block for all tokens.

    Where the head reads one row of each sequence, those of the last block are computed again as it
    reads them, as their bits may differ from the same rows among all. Each block reads
    the hidden states that are returned, so that they have gradients.
    """
    if model.decoder is not None:
        raise InputError(
            "output_hidden_states and output_attentions are not supported for models with a "
            "decoder. Omit them"
        )
    batch = inputs.batch
    if attentions:
        check_torch_settings(batch.cu_seqlens.device)  # their kernels are torch's
    hidden = model.embeddings(batch, inputs.words)
    states: list[Tensor] = []
    weights: list[Tensor] = []

    def shown(hidden: Tensor) -> Tensor:
        if not hidden_states:
            return hidden
        states.append(inputs.restore_tokens(hidden))
        return inputs.take_tokens(states[-1])

    hidden, context = shown(hidden), model.context(batch)
    rows, layers = model.head.spec.rows, model.layers
    last = len(layers) - 1
    for index, block in enumerate(layers):
        assert isinstance(block, Block)
        if attentions:
            weights.append(
                inputs.restore_attention(attention_weights(block, hidden, batch, context))
            )
        after = block(hidden, batch, Rows.ALL, context)
        if index == last and rows is not Rows.ALL and not block.training:
            one = block(hidden, batch, rows, context)
            after = after.index_copy(0, batch.rows_of(rows), one)
        if index == last and model.final_norm is not None:
            after = model.final_norm(after)
        hidden = shown(after)
    return EncoderStates(
        hidden, tuple(states) if hidden_states else None, tuple(weights) if attentions else None
    )


def attention_weights(
    block: Block, hidden: Tensor, batch: PackedBatch, context: Tensor | None = None
) -> Tensor:
    """Compute softmax(q kᵀ / √d) by the selected attention kernel, before any dropout.

    The kernel mixes values by the weights, so that values of which each has a one in a column of
    its own give the weights themselves. A call has room for head_dim keys.
    """
    query, key = block.queries_and_keys(hidden)
    positions = block.positions(context)
    spec = block.spec.attention
    heads, head_dim = spec.num_heads, spec.head_dim
    lengths = batch.cu_seqlens.diff()
    starts = batch.cu_seqlens[:-1].repeat_interleave(lengths)
    places = torch.arange(len(hidden), device=hidden.device) - starts
    longest = int(lengths.max())
    parts = []
    for first in range(0, longest, head_dim):
        columns = torch.arange(first, first + head_dim, device=hidden.device)
        value = (places[:, None] == columns).to(hidden.dtype).repeat(1, spec.num_key_heads or heads)
        mixed = block.attend(query, key, value, batch, Rows.ALL, positions)
        parts.append(mixed.view(len(hidden), heads, head_dim))
    return torch.cat(parts, dim=2)[:, :, :longest]


def select_attention_kernels(model: EncoderModel, device: torch.device) -> None:
    """Select the kernels of `attention_weights` for blocks that compute all of a layer at once."""
    selector = KernelSelector(device)
    for block in model.blocks:
        if isinstance(block, Block) and block.is_compiled:
            block.attend = selector.select_attention(block.spec.attention)
            distances = block.spec.attention.distances
            of_distances = () if distances is None or distances.shared else distances.linears
            for name in ("query", "key", *of_distances):
                linear = block.linears[name]
                linear.kernel = selector.select_linear(linear.weights)
            for norm in block.norms.values():
                norm.kernel = selector.select_norm(norm.weights)
