"""The padded inputs of a drop-in model: checked, packed, and results put back into their shape.

Invariant: only tokens that the mask keeps are computed; in results, the places of all others are
zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isobatch.batching.packed import PackedBatch, concatenate, unpad
from isobatch.batching.plan import plan_batches
from isobatch.checkpoint import EncoderConfig
from isobatch.errors import InputError
from isobatch.types import Batch


@dataclass(frozen=True, slots=True)
class PaddedInputs:
    """The inputs of a call as the caller passed them; [rows, columns] each.

    input_ids or inputs_embeds [rows, columns, embedding size] is present, never both. position_ids
    may also be [1, columns].
    """

    input_ids: Tensor | None
    attention_mask: Tensor | None = None
    token_type_ids: Tensor | None = None
    position_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        source = self.input_ids if self.inputs_embeds is None else self.inputs_embeds
        assert source is not None
        return source.shape[0], source.shape[1]


@dataclass(frozen=True, slots=True)
class PackedInputs:
    """The same inputs packed: `order` has the row of each sequence, `columns` its kept columns."""

    batch: PackedBatch
    words: Tensor | None
    order: Batch
    columns: tuple[NDArray[np.int64], ...]
    shape: tuple[int, int]

    def restore_rows(self, results: Tensor) -> Tensor:
        """Put results [sequences, …] into the caller's order."""
        return results[torch.tensor(self.order, device=results.device).argsort()]

    def restore_tokens(self, results: Tensor) -> Tensor:
        """Put results [tokens, size] into [rows, columns, size], with zeros for padding."""
        rows, columns = self.shape
        padded = results.new_zeros(rows * columns, results.shape[1])
        index = self._places(results.device)
        return padded.index_copy(0, index, results).view(rows, columns, -1)

    def take_tokens(self, padded: Tensor) -> Tensor:
        """Take the kept tokens out of [rows, columns, size]: the inverse of restore_tokens."""
        return padded.flatten(0, 1)[self._places(padded.device)]

    def _places(self, device: torch.device) -> Tensor:
        """The place of each token among all rows × columns."""
        columns = self.shape[1]
        places = [row * columns + kept for row, kept in zip(self.order, self.columns, strict=True)]
        return torch.from_numpy(np.concatenate(places)).to(device)

    def restore_attention(self, weights: Tensor) -> Tensor:
        """Put weights [tokens, heads, longest] into [rows, heads, columns, columns]."""
        rows, columns = self.shape
        padded = weights.new_zeros(rows, weights.shape[1], columns, columns)
        lengths = [len(kept) for kept in self.columns]
        for row, kept, own in zip(
            self.order, self.columns, torch.split(weights, lengths), strict=True
        ):
            places = torch.from_numpy(kept).to(weights.device)
            own = own[:, :, : len(kept)].transpose(0, 1)
            padded[row] = padded[row].index_put(
                (torch.arange(len(own), device=own.device)[:, None, None], places[:, None], places),
                own,
            )
        return padded


def pack_inputs(inputs: PaddedInputs, encoder: EncoderConfig, device: torch.device) -> PackedInputs:
    """Check and pack the inputs; InputError for shapes, ids and positions, with the row."""
    check_inputs(inputs, encoder)
    ids = _ids(inputs, encoder)
    mask = torch.ones_like(ids) if inputs.attention_mask is None else inputs.attention_mask
    sequences = unpad(ids, mask, inputs.token_type_ids, encoder.positions)
    kept = [np.flatnonzero(row) for row in np.asarray(mask.detach().cpu()) != 0]
    if encoder.reads_distances:
        _reject_gaps("attention_mask", "the kept tokens must be neighbours", kept)
    if inputs.position_ids is not None:
        given = np.asarray(inputs.position_ids.detach().cpu().expand(ids.shape), dtype=np.int64)
        if any(layer.attention.rotary for layer in encoder.layers):
            own = [row[columns] for row, columns in zip(given, kept, strict=True)]
            _reject_gaps("position_ids", "those of the kept tokens must count up by one", own)
        sequences = [
            replace(sequence, position_ids=positions[columns])
            for sequence, positions, columns in zip(sequences, given, kept, strict=True)
        ]
    lengths = [len(sequence) for sequence in sequences]
    (order,) = plan_batches(lengths, sum(lengths))  # one batch, the longest first
    batch = concatenate([sequences[index] for index in order])
    _check_positions(batch, order, encoder)
    columns = tuple(kept[row] for row in order)
    words = None
    if inputs.inputs_embeds is not None:
        whole = PackedInputs(batch, None, order, columns, inputs.shape)
        words = whole.take_tokens(inputs.inputs_embeds.to(device))
    return PackedInputs(batch.to(device), words, order, columns, inputs.shape)


def check_inputs(inputs: PaddedInputs, encoder: EncoderConfig) -> None:
    """Raise InputError for tensors of other types or shapes, and for ids out of range."""
    if (inputs.input_ids is None) == (inputs.inputs_embeds is None):
        raise InputError("pass either input_ids or inputs_embeds")
    if inputs.inputs_embeds is None:
        _check_ids_tensor(inputs.input_ids)
    else:
        _check_embeddings(inputs.inputs_embeds, encoder.embedding_size)
    rows, columns = inputs.shape
    if not rows or not columns:
        raise InputError(f"the inputs have no rows or no columns: shape {[rows, columns]}")
    for name in ("attention_mask", "token_type_ids", "position_ids"):
        tensor = getattr(inputs, name)
        allowed = [(rows, columns), (1, columns)] if name == "position_ids" else [(rows, columns)]
        if tensor is not None and (
            not isinstance(tensor, Tensor) or tuple(tensor.shape) not in allowed
        ):
            raise InputError(
                f"{name} must be a tensor with the shape of the inputs "
                f"(got {_described(tensor)}, expected {[rows, columns]})"
            )
    if inputs.input_ids is not None:
        _check_range("input_ids", inputs.input_ids, encoder.vocab_size)
    if inputs.token_type_ids is not None and encoder.type_vocab_size:  # DistilBERT ignores them
        _check_range("token_type_ids", inputs.token_type_ids, encoder.type_vocab_size)
    if inputs.position_ids is not None:
        _check_range("position_ids", inputs.position_ids, encoder.end_position)


def padded_rows(inputs: PaddedInputs, encoder: EncoderConfig) -> list[int]:
    """List the rows that begin or end with the pad token although no mask was passed."""
    pad = encoder.pad_token_id
    if inputs.attention_mask is not None or inputs.input_ids is None or pad is None:
        return []
    ids = inputs.input_ids
    padded: list[int] = ((ids[:, 0] == pad) | (ids[:, -1] == pad)).nonzero().flatten().tolist()
    return padded


def _ids(inputs: PaddedInputs, encoder: EncoderConfig) -> Tensor:
    """The ids; for embeddings, any id that is not padding, as positions are counted from it."""
    if inputs.input_ids is not None:
        return inputs.input_ids
    return torch.full(inputs.shape, 1 if encoder.positions.padding_idx == 0 else 0)


def _check_ids_tensor(input_ids: object) -> None:
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or input_ids.is_floating_point():
        raise InputError(
            "input_ids must be an integer tensor [rows, columns] "
            f"(got {_described(input_ids)}); for one text use torch.tensor([ids])"
        )


def _check_embeddings(embeds: object, size: int) -> None:
    if not isinstance(embeds, Tensor) or embeds.ndim != 3 or embeds.shape[2] != size:
        raise InputError(
            f"inputs_embeds must be a tensor [rows, columns, {size}] (got {_described(embeds)})"
        )
    if embeds.dtype != torch.float32:
        raise InputError(f"inputs_embeds must be float32, got {embeds.dtype}")


def _check_range(name: str, ids: Tensor, count: int) -> None:
    if ids.is_floating_point():
        raise InputError(f"{name} must be an integer tensor, got {ids.dtype}")
    outside = ((ids < 0) | (ids >= count)).nonzero()
    if len(outside):
        row, column = outside[0].tolist()
        hint = "; is this the model's own tokenizer?" if name == "input_ids" else ""
        raise InputError(
            f"row {row}, column {column}: {name} has {int(ids[row, column])}, "
            f"expected 0 to {count - 1}{hint}"
        )


def _reject_gaps(name: str, rule: str, rows: Sequence[NDArray[np.int64]]) -> None:
    """Raise InputError for numbers of a row's tokens that do not count up by one."""
    for row, numbers in enumerate(rows):
        if (np.diff(numbers) != 1).any():
            raise InputError(
                f"row {row}: {name} has a gap, and the model reads distances between tokens: "
                f"{rule}. Remove the masked tokens from input_ids"
            )


def _check_positions(batch: PackedBatch, order: Batch, encoder: EncoderConfig) -> None:
    beyond = (batch.position_ids >= encoder.end_position).nonzero()
    if len(beyond):
        sequence = int(torch.searchsorted(batch.cu_seqlens, beyond[0], right=True)) - 1
        raise InputError(
            f"row {order[sequence]}: has tokens beyond the model's {encoder.max_tokens} "
            f"positions; tokenize with truncation=True, max_length={encoder.max_tokens}"
        )


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
