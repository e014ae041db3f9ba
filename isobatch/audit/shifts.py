"""Results that belong to other tokens or characters of the same text: shifted by a constant.

A shift is found only where the rest is as it was, so that no other fault looks like one.
"""

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.output_rows import lengths
from isobatch.audit.subject import Outputs

LEAST_TOKENS = 2
"""Tokens, or entities, that must be the same in their new places."""

ENTITY_SIZE = 4
"""Numbers of an entity: its label, start, end and score, as isobatch.audit.targets reads it."""

TokenTable = NDArray[np.float64]


def count_shifted(
    before: Outputs, after: Outputs, size: int, *, entities: bool, allowed: float
) -> int:
    """Count the rows whose tokens, of `size` numbers, or entities have moved to other places."""
    sizes = zip(lengths(before).tolist(), lengths(after).tolist(), strict=True)
    shifted = 0
    for index, (there, here) in enumerate(sizes):
        if there != here or there < LEAST_TOKENS * size or there % size:
            continue
        one = before[index, :there].reshape(-1, size)
        other = after[index, :here].reshape(-1, size)
        if entities:
            shifted += _moved_characters(one, other, allowed)
        elif np.abs(one - other).max() > allowed:
            shifted += _moved_tokens(one, other, allowed)
    return shifted


def _moved_tokens(one: TokenTable, other: TokenTable, allowed: float) -> bool:
    """Whether the first tokens of one are the last of the other; they must differ."""
    for shift in range(1, len(one) - LEAST_TOKENS + 1):
        for first, second in ((one[:-shift], other[shift:]), (other[:-shift], one[shift:])):
            is_constant = np.abs(first - first[0]).max() <= allowed
            if not is_constant and np.abs(first - second).max() <= allowed:
                return True
    return False


def _moved_characters(one: TokenTable, other: TokenTable, allowed: float) -> bool:
    """Whether all starts and ends have moved by one number, and nothing else has."""
    gaps = other - one
    starts_and_ends = gaps[:, 1:3]
    same = not gaps[:, 0].any() and np.abs(gaps[:, 3]).max() <= allowed
    return bool(same and starts_and_ends.min() == starts_and_ends.max() != 0)
