"""Attention within each packed sequence: softmax(scale q kᵀ + positions) v, without padding.

A segment of equal-length sequences is viewed as [sequences, heads, length, head_dim] and computed
in one call. Invariant: a sequence's result depends only on its own queries, keys and values.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.kernels.disentangled import Multiply, distance_scores, multiply_plainly
from isobatch.kernels.dropout import Dropout
from isobatch.kernels.gradients import with_reference_gradient
from isobatch.kernels.rotary import rotate
from isobatch.specification import AttentionSpec
from isobatch.types import Rows, Segment

QUERY_ROWS = 4
_ALIGNMENT = 64
_MOST_SCORES = 1 << 22
"""Numbers of a disentangled term that are in memory at a time: 16 MB."""


@dataclass(frozen=True, slots=True)
class PackedAttention:
    """Multi-head attention over a packed batch.

    by_sequence computes each sequence in a call of its own, where this machine's kernel gives other
    bits for several (`isobatch.kernels.selection` finds out). multiply: the products of a
    "disentangled" term.
    """

    spec: AttentionSpec
    by_sequence: bool = False
    multiply: Multiply = multiply_plainly

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        batch: PackedBatch,
        rows: Rows,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Mix `value`; key and value are [tokens, key_size].

        query and result are [tokens, query_size], or [sequences, query_size] for one row of each
        sequence. positions: of a "toeplitz" term, [heads, 2 span - 1], where span is at least the
        longest sequence; the distance key - query has the column span - 1 + key - query. Of a
        "disentangled" term as `distance_scores` takes it.
        """
        parts = []
        for segment in self._segments(batch):
            queries = segment.tokens if rows is Rows.ALL else segment.sequences
            tensors = query[queries], key[segment.tokens], value[segment.tokens]
            parts.append(self._attend(*tensors, segment, rows, positions))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _segments(self, batch: PackedBatch) -> Iterator[Segment]:
        for segment in batch.segments:
            if self.by_sequence:
                yield from segment.split()
            elif self.spec.distances is None:
                yield segment
            else:
                scores = self.spec.num_heads * segment.length**2
                yield from segment.split(max(1, _MOST_SCORES // scores))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segment: Segment,
        rows: Rows,
        positions: Tensor | None,
    ) -> Tensor:
        """Compute one segment; the number of query rows is rounded up to a multiple of QUERY_ROWS.

        The CPU kernel gives each thread a scratch buffer whose size follows the number of query
        rows, and MKL's bits follow the alignment of that buffer. With 1, 2, 3, 5, 15, 17 … rows
        some head sizes came out differently on the second thread; with multiples of four none
        did, at any length. The added rows are dropped, and no other row reads them.
        """
        aligned = map(_aligned, (query, key, value))
        q, k, v = _by_head(self.spec, *aligned, segment=segment, rows=rows)
        num_rows = q.shape[2]
        mask = _mask(self.spec, q, k, rows, positions, self.multiply)
        if spare := -num_rows % QUERY_ROWS:
            # Rows that were added for the kernel read every key.
            q = F.pad(q, (0, 0, 0, spare))
            mask = None if mask is None else F.pad(mask, (0, 0, 0, spare))
        if self.spec.num_heads == segment.num_sequences == 1:
            # A single head of a single sequence is a single task: torch then leaves the threads to
            # MKL, whose product has other bits for it. Twice the same is two tasks.
            q, k, v = [tensor.expand(2, -1, -1, -1) for tensor in (q, k, v)]
        mixed = self._mix(q, k, v, mask)
        mixed = mixed[: segment.num_sequences, :, :num_rows]
        return mixed.transpose(1, 2).reshape(query.shape)

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Compute the weights, and mix; torch takes other bits where the mask has a gradient."""

        def compute(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, mask, scale=self.spec.scale)

        if mask is None or not mask.requires_grad:
            return compute(q, k, v, mask)

        def without_gradient(*inputs: Tensor) -> Tensor:
            return compute(*(each.detach() for each in inputs))

        return with_reference_gradient(without_gradient, compute, q, k, v, mask)


@dataclass(frozen=True, slots=True)
class TrainingAttention:
    """Multi-head attention whose weights go through dropout, in differentiable torch operations."""

    spec: AttentionSpec
    dropout: Dropout
    probability: float
    place: int

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        batch: PackedBatch,
        rows: Rows,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Mix `value` as PackedAttention does."""
        if not self.probability:
            return PackedAttention(self.spec)(query, key, value, batch, rows, positions)
        # One split for all segments, whose gradient is one concatenation. That of a slice is a
        # tensor of all tokens, and those of all segments are added up: 4 % of a step.
        keys = [segment.num_sequences * segment.length for segment in batch.segments]
        queries = keys if rows is Rows.ALL else [each.num_sequences for each in batch.segments]
        pairs = ((query, queries), (key, keys), (value, keys))
        inputs = zip(*(torch.split(tensor, sizes) for tensor, sizes in pairs), strict=True)
        parts = []
        for segment, tensors in zip(batch.segments, inputs, strict=True):
            q, k, v = _by_head(self.spec, *tensors, segment=segment, rows=rows)
            scores = (q * self.spec.score_scale) @ k.transpose(2, 3)
            mask = _mask(self.spec, q, k, rows, positions, multiply_plainly)
            if mask is not None:
                scores = scores + mask
            weights = scores.softmax(dim=3)
            weights = self.dropout.attention(weights, self.probability, self.place, segment)
            parts.append((weights @ v).transpose(1, 2).reshape(tensors[0].shape))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _by_head(
    spec: AttentionSpec,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    segment: Segment,
    rows: Rows,
) -> list[Tensor]:
    """View rows as [sequences, heads, rows, head_dim], turned and repeated for each query head."""
    num_sequences, head_dim = segment.num_sequences, spec.head_dim
    q, k, v = (
        tensor.view(num_sequences, -1, tensor.shape[1] // head_dim, head_dim)
        for tensor in (query, key, value)
    )
    if spec.rotary is not None:
        q = rotate(q, spec.rotary, segment.length - 1 if rows is Rows.LAST else 0)
        k = rotate(k, spec.rotary)
    if spec.num_key_heads is not None:
        shared = spec.num_heads // spec.num_key_heads
        k, v = (tensor.repeat_interleave(shared, dim=2) for tensor in (k, v))
    return [tensor.transpose(1, 2) for tensor in (q, k, v)]


def _mask(
    spec: AttentionSpec,
    query: Tensor,
    key: Tensor,
    rows: Rows,
    positions: Tensor | None,
    multiply: Multiply,
) -> Tensor | None:
    """Return the addends of the scores: a term, and -inf for keys that are not read.

    [sequences or 1, heads or 1, query rows, length].
    """
    length = key.shape[2]
    if not spec.causal and positions is None and (spec.window is None or length <= spec.window + 1):
        return None
    keys = torch.arange(length, device=query.device)
    queries = keys if rows is Rows.ALL else keys[:1] if rows is Rows.FIRST else keys[-1:]
    distances = keys - queries[:, None]
    if positions is None:
        mask = query.new_zeros(1, 1, *distances.shape)
    elif spec.distances is None:
        mask = positions[:, distances + positions.shape[1] // 2][None]
    else:
        mask = _disentangled(spec, query, key, rows, positions, multiply)
    if spec.causal:
        mask = mask.masked_fill(distances > 0, -math.inf)
    if spec.window is not None:
        mask = mask.masked_fill(distances.abs() > spec.window, -math.inf)
    return mask


def _disentangled(
    spec: AttentionSpec,
    query: Tensor,
    key: Tensor,
    rows: Rows,
    positions: Tensor,
    multiply: Multiply,
) -> Tensor:
    rule = spec.distances
    assert rule is not None

    def scores(multiply: Multiply, query: Tensor, key: Tensor, positions: Tensor) -> Tensor:
        return distance_scores(rule, query, key, positions, rows, multiply) * spec.score_scale

    kernel, reference = partial(scores, multiply), partial(scores, multiply_plainly)
    return with_reference_gradient(kernel, reference, query, key, positions)


def _aligned(rows: Tensor) -> Tensor:
    """Return rows that begin at a cache line, by a copy where they are a part of others.

    Eight tokens with heads of 7 had other bits at an address that is not a multiple of 64 (AVX2).
    With 16 numbers in a row, or a multiple, every part is aligned.
    """
    return rows if rows.data_ptr() % _ALIGNMENT == 0 else rows.clone()
