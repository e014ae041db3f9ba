"""Pooling: the rows of a sequence become one, and vectors get the length one.

Sums are halving sums, which add the second half of the rows to the first until one is left. Each
addition is elementwise, so that no vector loop, thread or neighbour changes its bits. Invariant:
the result of a sequence is a function of its rows alone, the same on every machine. On a CPU NumPy
computes it, in the calling thread and its floating-point environment; elsewhere, and where a
gradient is wanted, torch.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.specification import Pool
from isobatch.types import Rows

HALVING = "numpy halving"
"""The name of these sums in `isobatch info`."""

_SMALLEST_NORM = 1e-12
"""Of torch.nn.functional.normalize: a vector of zeros stays one."""


def pool_rows(hidden: Tensor, batch: PackedBatch, pool: Pool) -> Tensor:
    """Pool [tokens, hidden], all rows of each sequence, to [sequences, hidden]."""
    if pool == "first":
        return batch.select(hidden, Rows.FIRST)
    if pool == "last":
        return batch.select(hidden, Rows.LAST)
    rows = _array(hidden)
    with np.errstate(all="ignore"):  # the caller's may be "raise"
        parts = [
            _pool(rows[segment.tokens].reshape(segment.num_sequences, segment.length, -1), pool)
            for segment in batch.segments
        ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def normalize_rows(vectors: Tensor) -> Tensor:
    """Divide each row of [rows, size] by its Euclidean norm, in double precision."""
    wide = _array(vectors.double())
    with np.errstate(all="ignore"):
        norms = _library(wide).sqrt(_halve((wide * wide).T[None], "add")[0])
        divisors = norms.clip(_SMALLEST_NORM)[:, None]
        return _tensor(wide / divisors).to(vectors.dtype)


def _pool(rows: Any, pool: Pool) -> Tensor:
    """Pool [sequences, length, hidden], where `pool` is "mean" or "max"."""
    if pool == "mean":
        return _tensor(_halve(rows, "add") / rows.shape[1])
    # Zero is added because the maximum of 0 and -0 may be either.
    return _tensor(_halve(rows, "maximum") + 0.0)


def _halve(rows: Any, operation: str) -> Any:
    """Combine [sequences, length, size] along the length, by a tree that depends on it alone."""
    library = _library(rows)
    combine, concatenate = getattr(library, operation), library.concatenate
    while (length := rows.shape[1]) > 1:
        half = length // 2
        combined = combine(rows[:, :half], rows[:, length - half :])
        rows = concatenate([combined, rows[:, half : length - half]], axis=1)
    return rows[:, 0]


def _array(rows: Tensor) -> Any:
    """Return the rows as NumPy's array where that computes them."""
    return rows if rows.device.type != "cpu" or rows.requires_grad else rows.numpy()


def _library(rows: Any) -> Any:
    return torch if isinstance(rows, Tensor) else np


def _tensor(rows: Any) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.from_numpy(rows)
