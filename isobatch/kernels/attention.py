"""Attention within each packed sequence: softmax(q kᵀ / √d) v, without padding.

A segment of equal-length sequences is viewed as [sequences, heads, length, head_dim] and computed
in one call. Invariant: a sequence's result depends only on its own queries, keys and values.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.kernels.dropout import Dropout
from isobatch.specification import BlockSpec
from isobatch.types import Rows, Segment

QUERY_ROWS = 4
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class PackedAttention:
    """Multi-head attention over a packed batch.

    by_sequence computes each sequence in a call of its own, where this machine's kernel gives other
    bits for several (`isobatch.kernels.selection` finds out).
    """

    spec: BlockSpec
    by_sequence: bool = False

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        batch: PackedBatch,
        rows: Rows,
    ) -> Tensor:
        """Mix `value`; key and value are [tokens, hidden].

        query and result are the same, or [sequences, hidden] for one row of each sequence.
        """
        segments = batch.segments
        if self.by_sequence:
            segments = tuple(single for segment in segments for single in segment.split())
        parts = []
        for segment in segments:
            queries = segment.tokens if rows is Rows.ALL else segment.sequences
            tensors = query[queries], key[segment.tokens], value[segment.tokens]
            parts.append(self._attend(*tensors, segment, rows))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segment: Segment,
        rows: Rows,
    ) -> Tensor:
        """Compute one segment; the number of query rows is rounded up to a multiple of QUERY_ROWS.

        The CPU kernel gives each thread a scratch buffer whose size follows the number of query
        rows, and MKL's bits follow the alignment of that buffer. With 1, 2, 3, 5, 15, 17 … rows
        some head sizes came out differently on the second thread; with multiples of four none
        did, at any length. The added rows are dropped, and no other row reads them.
        """
        aligned = map(_aligned, (query, key, value))
        q, k, v = (_by_head(self.spec, tensor, segment.num_sequences) for tensor in aligned)
        num_rows = q.shape[2]
        if spare := -num_rows % QUERY_ROWS:
            q = F.pad(q, (0, 0, 0, spare))
        if self.spec.num_heads == segment.num_sequences == 1:
            # A single head of a single sequence is a single task: torch then leaves the threads to
            # MKL, whose product has other bits for it. Twice the same is two tasks.
            q, k, v = (tensor.expand(2, -1, -1, -1) for tensor in (q, k, v))
        mask = _window_mask(self.spec, segment.length, rows, q)
        mixed = F.scaled_dot_product_attention(q, k, v, mask)
        mixed = mixed[: segment.num_sequences, :, :num_rows]
        return mixed.transpose(1, 2).reshape(query.shape)


@dataclass(frozen=True, slots=True)
class TrainingAttention:
    """Multi-head attention whose weights go through dropout, in differentiable torch operations."""

    spec: BlockSpec
    dropout: Dropout
    probability: float
    place: int

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, rows: Rows
    ) -> Tensor:
        """Mix `value` as PackedAttention does."""
        if not self.probability:
            return PackedAttention(self.spec)(query, key, value, batch, rows)
        # One split for all segments, whose gradient is one concatenation. That of a slice is a
        # tensor of all tokens, and those of all segments are added up: 4 % of a step.
        keys = [segment.num_sequences * segment.length for segment in batch.segments]
        queries = keys if rows is Rows.ALL else [each.num_sequences for each in batch.segments]
        pairs = ((query, queries), (key, keys), (value, keys))
        inputs = zip(*(torch.split(tensor, sizes) for tensor, sizes in pairs), strict=True)
        parts = []
        for segment, tensors in zip(batch.segments, inputs, strict=True):
            q, k, v = (_by_head(self.spec, each, segment.num_sequences) for each in tensors)
            scores = (q * self.spec.head_dim**-0.5) @ k.transpose(2, 3)
            mask = _window_mask(self.spec, segment.length, rows, q)
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            weights = scores.softmax(dim=3)
            weights = self.dropout.attention(weights, self.probability, self.place, segment)
            parts.append((weights @ v).transpose(1, 2).reshape(tensors[0].shape))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _by_head(spec: BlockSpec, tensor: Tensor, num_sequences: int) -> Tensor:
    """View [rows, hidden] as [sequences, heads, rows per sequence, head_dim]."""
    return tensor.view(num_sequences, -1, spec.num_heads, spec.head_dim).transpose(1, 2)


def _window_mask(spec: BlockSpec, length: int, rows: Rows, query: Tensor) -> Tensor | None:
    """True within the window, [query rows, length]; added query rows see every key."""
    if spec.window is None:
        return None
    keys = torch.arange(length, device=query.device)
    queries = keys if rows is Rows.ALL else keys[:1] if rows is Rows.FIRST else keys[-1:]
    mask = (queries[:, None] - keys).abs() <= spec.window
    return F.pad(mask, (0, 0, 0, query.shape[2] - len(queries)), value=True)


def _aligned(rows: Tensor) -> Tensor:
    """Return rows that begin at a cache line, by a copy where they are a part of others.

    Eight tokens with heads of 7 had other bits at an address that is not a multiple of 64 (AVX2).
    With 16 numbers in a row, or a multiple, every part is aligned.
    """
    return rows if rows.data_ptr() % _ALIGNMENT == 0 else rows.clone()
