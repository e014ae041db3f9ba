"""Rows of token ids as rectangles, with pads put in on purpose: where, how many, and what.

It knows no model. Invariant: whatever the pads hold, the mask is 1 exactly where a row has a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isobatch.audit.subject import Ids, Rectangle, Side


@dataclass(frozen=True, slots=True)
class Pads:
    """How rows are padded: to `columns`, on `side`, with `content`, one id for each pad in turn."""

    columns: int
    side: Side
    content: tuple[int, ...]


def pad(rows: Sequence[Sequence[int]], pads: Pads) -> Rectangle:
    """A rectangle of the rows; all must fit into the columns."""
    ids = np.empty((len(rows), pads.columns), dtype=np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        missing = pads.columns - len(row)
        filling = np.resize(np.asarray(pads.content, dtype=np.int64), missing)
        parts = (row, filling) if pads.side == "right" else (filling, row)
        ids[index] = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
        mask[index, real_columns(len(row), pads)] = 1
    return Rectangle(ids, mask)


def without_pads(rows: Sequence[Sequence[int]]) -> Rectangle:
    """Rows of one length as they are, every token masked in."""
    return pad(rows, Pads(len(rows[0]), "right", (0,)))


def real_columns(length: int, pads: Pads) -> slice:
    """The columns of a row's tokens."""
    return slice(0, length) if pads.side == "right" else slice(pads.columns - length, pads.columns)


def pad_columns(length: int, pads: Pads) -> list[int]:
    """The columns of a row's pads, the one next to its text first."""
    if pads.side == "right":
        return list(range(length, pads.columns))
    return list(reversed(range(pads.columns - length)))


def positions_by_mask(mask: Ids, start: int) -> Ids:
    """start, start + 1, … over each row's tokens, wherever they stand; pads get `start`."""
    return np.where(mask == 1, mask.cumsum(axis=1) - 1 + start, start)
