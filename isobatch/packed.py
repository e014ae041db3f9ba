"""PackedBatch: sequences that lie one after another, without a single pad, and how to make one.

Built from encodings (`pack`) or from a padded batch and its mask (`unpad`). It knows no model.
Invariant: `runs` cover all sequences in order, and `cu_seqlens` are the borders of those sequences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isobatch.core import Batch, Encoding, Run
from isobatch.errors import InputError

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The whole contract between whoever has tokens and the model. All tensors are int64.

    input_ids, position_ids, token_type_ids: [tokens]; cu_seqlens: [sequences + 1].
    """

    input_ids: Tensor
    position_ids: Tensor
    token_type_ids: Tensor
    cu_seqlens: Tensor
    runs: tuple[Run, ...]

    @property
    def first_rows(self) -> Tensor:
        """Row of each sequence's first token ([CLS] or <s>), [sequences]."""
        return self.cu_seqlens[:-1]

    def to(self, device: torch.device) -> "PackedBatch":
        """The same batch on `device`."""
        return PackedBatch(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.token_type_ids.to(device),
            self.cu_seqlens.to(device),
            self.runs,
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """One sequence on its way into a batch; each array is [length]."""

    input_ids: Ids
    position_ids: Ids
    token_type_ids: Ids


def pack(encodings: Sequence[Encoding], padding_idx: int | None = None) -> PackedBatch:
    """Lay `encodings` one after another; equal lengths that are neighbours become one run.

    `padding_idx` is that of a family that counts positions as RoBERTa does, None elsewhere.
    InputError for no encodings, and for one without tokens: its first row would be its
    neighbour's.
    """
    if not encodings:
        raise InputError("nothing to pack: there are no encodings")
    if empty := [index for index, encoding in enumerate(encodings) if not len(encoding)]:
        raise InputError(f"sequence {empty[0]}: has no tokens, so there is nothing to read")
    return _join([_row_of(encoding, padding_idx) for encoding in encodings])


def unpad(
    input_ids: Tensor,
    attention_mask: Tensor,
    token_type_ids: Tensor | None = None,
    padding_idx: int | None = None,
) -> tuple[PackedBatch, Batch]:
    """Take the tokens that the mask keeps; return them packed, and which row each sequence was.

    All are [rows, columns]. A token's position is its distance from the first kept token of its
    row, so that pads on the left or on the right give the same batch. InputError names a row whose
    mask keeps nothing.
    """
    ids, keep = _to_numpy(input_ids), _to_numpy(attention_mask) != 0
    types = np.zeros_like(ids) if token_type_ids is None else _to_numpy(token_type_ids)
    for index in np.flatnonzero(~keep.any(axis=1)):
        raise InputError(
            f"row {index}: its attention_mask is all zeros, so nothing is left to read"
        )
    rows = [_kept(*row, padding_idx) for row in zip(ids, keep, types, strict=True)]
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index].input_ids))
    return _join([rows[index] for index in order]), tuple(order)


def _row_of(encoding: Encoding, padding_idx: int | None) -> _Row:
    input_ids = np.asarray(encoding.input_ids, dtype=np.int64)
    token_type_ids = np.asarray(encoding.token_type_ids, dtype=np.int64)
    return _Row(input_ids, _positions(input_ids, padding_idx), token_type_ids)


def _kept(ids: Ids, keep: NDArray[np.bool_], types: Ids, padding_idx: int | None) -> _Row:
    ids, types = ids[keep.argmax() :], types[keep.argmax() :]
    keep = keep[keep.argmax() :]
    return _Row(ids[keep], _positions(ids, padding_idx)[keep], types[keep])


def _positions(input_ids: Ids, padding_idx: int | None) -> Ids:
    """Positions of one sequence.

    RoBERTa's rule: count the tokens that are not the padding id from padding_idx + 1 on; a padding
    id inside a text stands at padding_idx itself (fairseq's make_positions, kept by transformers).
    """
    if padding_idx is None:
        return np.arange(len(input_ids), dtype=np.int64)
    real = input_ids != padding_idx
    counted: Ids = np.cumsum(real, dtype=np.int64) * real + padding_idx
    return counted


def _join(rows: Sequence[_Row]) -> PackedBatch:
    lengths = [len(row.input_ids) for row in rows]
    return PackedBatch(
        input_ids=_concatenate([row.input_ids for row in rows]),
        position_ids=_concatenate([row.position_ids for row in rows]),
        token_type_ids=_concatenate([row.token_type_ids for row in rows]),
        cu_seqlens=torch.tensor([0, *np.cumsum(lengths, dtype=np.int64)], dtype=torch.int64),
        runs=tuple(_runs(lengths)),
    )


def _runs(lengths: Sequence[int]) -> Iterator[Run]:
    sequence = token = 0
    for length, same in groupby(lengths):
        num_sequences = sum(1 for _ in same)
        yield Run(sequence, token, num_sequences, length)
        sequence, token = sequence + num_sequences, token + num_sequences * length


def _concatenate(arrays: Sequence[Ids]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))


def _to_numpy(tensor: Tensor) -> Ids:
    return np.asarray(tensor.detach().cpu(), dtype=np.int64)
