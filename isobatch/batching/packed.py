"""PackedBatch: sequences concatenated without padding, and how to make one.

Built from encodings (`pack`) or from a padded batch and its mask (`unpad`, then `concatenate`).
Invariant: `segments` cover all sequences in order, and `cu_seqlens` are their borders.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isobatch.errors import InputError
from isobatch.specification import PositionRule
from isobatch.types import Encoding, Rows, Segment

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The input of the model and of every kernel. All tensors are int64.

    input_ids, position_ids, token_type_ids: [tokens]; cu_seqlens: [sequences + 1].
    """

    input_ids: Tensor
    position_ids: Tensor
    token_type_ids: Tensor
    cu_seqlens: Tensor
    segments: tuple[Segment, ...]

    def select(self, hidden: Tensor, rows: Rows) -> Tensor:
        """Take `rows` of each sequence from [tokens, hidden]; ALL returns `hidden` itself."""
        if rows is Rows.ALL:
            return hidden
        return hidden[self.rows_of(rows)]

    def rows_of(self, rows: Rows) -> Tensor:
        """Return the indices of the first or last rows of the sequences, [sequences]."""
        return self.cu_seqlens[:-1] if rows is Rows.FIRST else self.cu_seqlens[1:] - 1

    def to(self, device: torch.device) -> "PackedBatch":
        """Copy the batch to `device`."""
        return PackedBatch(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.token_type_ids.to(device),
            self.cu_seqlens.to(device),
            self.segments,
        )


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One sequence before it is packed; each array is [length]."""

    input_ids: Ids
    position_ids: Ids
    token_type_ids: Ids

    def __len__(self) -> int:
        return len(self.input_ids)


def pack(encodings: Sequence[Encoding], positions: PositionRule) -> PackedBatch:
    """Concatenate `encodings`; adjacent ones of equal length form one segment.

    `positions` is the rule of the model that the batch is for. Raises InputError if there are no
    encodings or if one is empty: its first-token index would point into the next sequence.
    """
    if not encodings:
        raise InputError("cannot pack an empty list of encodings")
    if empty := [index for index, encoding in enumerate(encodings) if not len(encoding)]:
        raise InputError(f"sequence {empty[0]}: has no tokens")
    return concatenate([_sequence_of(encoding, positions) for encoding in encodings])


def unpad(
    input_ids: Tensor,
    attention_mask: Tensor,
    token_type_ids: Tensor | None,
    positions: PositionRule,
) -> list[TokenSequence]:
    """Take the tokens that the mask keeps, row by row; all tensors are [rows, columns].

    A token's position is its distance from the first kept token of its row, so that padding on the
    left and on the right gives the same sequence. Raises InputError for a row whose mask keeps
    nothing.
    """
    ids, keep = _to_numpy(input_ids), _to_numpy(attention_mask) != 0
    types = np.zeros_like(ids) if token_type_ids is None else _to_numpy(token_type_ids)
    for index in np.flatnonzero(~keep.any(axis=1)):
        raise InputError(f"row {index}: its attention_mask is all zeros, so it has no tokens")
    return [_kept(*row, positions) for row in zip(ids, keep, types, strict=True)]


def concatenate(sequences: Sequence[TokenSequence]) -> PackedBatch:
    """Join sequences in their order."""
    lengths = [len(sequence) for sequence in sequences]
    return PackedBatch(
        input_ids=_joined([sequence.input_ids for sequence in sequences]),
        position_ids=_joined([sequence.position_ids for sequence in sequences]),
        token_type_ids=_joined([sequence.token_type_ids for sequence in sequences]),
        cu_seqlens=torch.tensor([0, *np.cumsum(lengths, dtype=np.int64)], dtype=torch.int64),
        segments=tuple(_segments(lengths)),
    )


def position_ids(input_ids: Ids, positions: PositionRule) -> Ids:
    """Number the tokens along the last axis by the model's rule."""
    if positions.padding_idx is None:
        places = np.arange(positions.offset, positions.offset + input_ids.shape[-1], dtype=np.int64)
        return np.broadcast_to(places, input_ids.shape)
    real = input_ids != positions.padding_idx
    counted: Ids = np.cumsum(real, axis=-1, dtype=np.int64) * real + positions.padding_idx
    return counted


def _sequence_of(encoding: Encoding, positions: PositionRule) -> TokenSequence:
    input_ids = np.asarray(encoding.input_ids, dtype=np.int64)
    token_type_ids = np.asarray(encoding.token_type_ids, dtype=np.int64)
    return TokenSequence(input_ids, position_ids(input_ids, positions), token_type_ids)


def _kept(ids: Ids, keep: NDArray[np.bool_], types: Ids, positions: PositionRule) -> TokenSequence:
    first = keep.argmax()
    ids, keep, types = ids[first:], keep[first:], types[first:]
    return TokenSequence(ids[keep], position_ids(ids, positions)[keep], types[keep])


def _segments(lengths: Sequence[int]) -> Iterator[Segment]:
    sequence = token = 0
    for length, same in groupby(lengths):
        num_sequences = sum(1 for _ in same)
        yield Segment(sequence, token, num_sequences, length)
        sequence, token = sequence + num_sequences, token + num_sequences * length


def _joined(arrays: Sequence[Ids]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))


def _to_numpy(tensor: Tensor) -> Ids:
    return np.asarray(tensor.detach().cpu(), dtype=np.int64)
