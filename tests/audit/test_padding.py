"""Rectangles are padded as specified: every token is there once, and the mask marks each one."""

from typing import Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from isobatch.audit.subject import Pads, pad, positions_by_mask, without_pads

ROWS = st.lists(st.lists(st.integers(5, 99), min_size=1, max_size=7), min_size=1, max_size=4)
SIDES = st.sampled_from(["right", "left"])


@given(ROWS, SIDES, st.integers(0, 5), st.lists(st.integers(100, 105), min_size=1, max_size=3))
def test_a_rectangle_holds_its_rows_and_its_pads(
    rows: list[list[int]], side: Literal["right", "left"], spare: int, content: list[int]
) -> None:
    pads = Pads(max(map(len, rows)) + spare, side, tuple(content))
    rectangle = pad(rows, pads)
    assert rectangle.attention_mask is not None
    for row, ids, mask in zip(rows, rectangle.input_ids, rectangle.attention_mask, strict=True):
        assert ids[pads.text_columns(len(row))].tolist() == row == ids[mask == 1].tolist()
        assert np.isin(ids[mask == 0], content).all()
        columns = pads.pad_columns(len(row))
        assert sorted(columns) == np.flatnonzero(mask == 0).tolist()
        if columns:
            assert columns[0] == (len(row) if side == "right" else pads.columns - len(row) - 1)


@given(ROWS, SIDES, st.integers(0, 3))
def test_positions_follow_the_tokens(
    rows: list[list[int]], side: Literal["right", "left"], start: int
) -> None:
    rectangle = pad(rows, Pads(9, side, (0,)))
    assert rectangle.attention_mask is not None
    positions = positions_by_mask(rectangle.attention_mask, start)
    for row, found, mask in zip(rows, positions, rectangle.attention_mask, strict=True):
        assert found[mask == 1].tolist() == list(range(start, start + len(row)))
        assert set(found[mask == 0].tolist()) <= {start}


def test_a_row_without_pads_is_all_mask() -> None:
    rectangle = without_pads([[5, 6], [7, 8]])
    assert rectangle.input_ids.tolist() == [[5, 6], [7, 8]]
    assert rectangle.attention_mask is not None
    assert rectangle.attention_mask.all()
