"""Outputs whose length depends on the text, as those of its tokens, in one array.

A row has the numbers of one text, and then FILLER. Invariant: a number keeps its place, and FILLER
is none of a network: neither float32 nor bfloat16 has it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isobatch.audit.subject import Outputs

FILLER = 2.0**-1022


def from_rows(rows: Sequence[ArrayLike]) -> Outputs:
    """Make outputs of the numbers of each text, of any shape."""
    flat = [np.asarray(row, dtype=np.float64).ravel() for row in rows]
    outputs = np.full((len(flat), max((len(row) for row in flat), default=0) or 1), FILLER)
    for index, row in enumerate(flat):
        outputs[index, : len(row)] = row
    return outputs


def stack_rows(parts: Sequence[Outputs]) -> Outputs:
    """Concatenate outputs, each as wide as the widest."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_widened(part, width) for part in parts])


def aligned(first: Outputs, second: Outputs) -> tuple[Outputs, Outputs]:
    """Return two outputs with the same width."""
    width = max(first.shape[1], second.shape[1])
    return _widened(first, width), _widened(second, width)


def lengths(outputs: Outputs) -> NDArray[np.int64]:
    """Return how many numbers each row has."""
    numbers = outputs != FILLER
    last = outputs.shape[1] - np.argmax(numbers[:, ::-1], axis=1)
    return np.where(numbers.any(axis=1), last, 0)


def numbers_of(outputs: Outputs) -> list[tuple[float, ...]]:
    """Return the numbers of each row, without FILLER."""
    rows = zip(outputs.tolist(), lengths(outputs).tolist(), strict=True)
    return [tuple(row[:length]) for row, length in rows]


def token_rows(outputs: Outputs, size: int) -> Outputs:
    """Return the numbers of each token, [tokens, size], of all texts."""
    return np.concatenate(
        [np.reshape(row, (-1, size)) for row in numbers_of(outputs)] or [np.empty((0, size))]
    )


def _widened(outputs: Outputs, width: int) -> Outputs:
    missing = width - outputs.shape[1]
    return np.pad(outputs, ((0, 0), (0, missing)), constant_values=FILLER) if missing else outputs
