"""Arithmetic of counts and progress, and padding against its plainest definition."""

from collections.abc import Sequence
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobatch.batching.plan import count_padding
from isobatch.scoring import RowCounts, ScoringProgress

numbers = st.integers(min_value=0, max_value=10**12)
labels = st.dictionaries(st.sampled_from("abc"), st.integers(min_value=1, max_value=10**9))
counts = st.builds(
    RowCounts,
    rows=numbers,
    errors=numbers,
    truncated=numbers,
    windowed=numbers,
    duplicates=numbers,
    tokens=numbers,
    pads=numbers,
    labels=labels,
)


@given(st.lists(counts), st.randoms(use_true_random=False))
def test_counts_add_up_in_any_order(parts: list[RowCounts], dice: object) -> None:
    shuffled = parts[:]
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sum(parts, RowCounts()) == sum(shuffled, RowCounts())


@given(counts, counts)
def test_subtraction_undoes_addition(one: RowCounts, other: RowCounts) -> None:
    assert one + other - other == one
    assert one + RowCounts() == one
    assert one - one == RowCounts()


@given(counts, counts)
def test_every_field_takes_part(one: RowCounts, other: RowCounts) -> None:
    total = asdict(one + other)
    assert total.keys() == asdict(one).keys()
    for name, value in total.items():
        mine, others = asdict(one)[name], asdict(other)[name]
        if isinstance(value, dict):
            assert isinstance(mine, dict)
            assert isinstance(others, dict)
            assert value == {k: mine.get(k, 0) + others.get(k, 0) for k in {**mine, **others}}
        else:
            assert value == mine + others  # type: ignore[operator]


@given(st.lists(counts, min_size=3, max_size=3), st.lists(counts, min_size=3, max_size=3))
def test_jobs_one_after_the_other_add_up(saved: list[RowCounts], done: list[RowCounts]) -> None:
    progress = ScoringProgress(7, RowCounts(), RowCounts(), 0.0)
    for before, since in zip(saved, done, strict=True):
        progress = progress.followed_by(ScoringProgress(3, before, since, 0.5))
    assert progress.num_rows == 7
    assert progress.saved == sum(saved, RowCounts())
    assert progress.total == sum([*saved, *done], RowCounts())
    assert progress.seconds == 1.5


def test_speed_is_that_of_this_run() -> None:
    progress = ScoringProgress(
        100, RowCounts(rows=40, tokens=400), RowCounts(rows=20, tokens=100), 2.0
    )
    assert progress.rows_per_second == 10
    assert progress.tokens_per_second == 50
    assert progress.seconds_left == 4
    assert progress.as_dict()["rows"] == 60
    assert progress.as_dict()["rows_there_already"] == 40


def test_nothing_done_is_no_speed_and_no_guess() -> None:
    progress = ScoringProgress(100, RowCounts(rows=100), RowCounts(), 0.0)
    assert progress.rows_per_second == progress.tokens_per_second == 0
    assert progress.seconds_left is None
    assert progress.total.padding_avoided == 0


def pads_one_by_one(lengths: Sequence[int], batch_size: int) -> int:
    """Write out every batch of those who pad, and count the pads."""
    pads = 0
    for index, length in enumerate(lengths):
        first = index - index % batch_size
        pads += max(lengths[first : first + batch_size]) - length
    return pads


@given(st.lists(st.integers(min_value=0, max_value=512), max_size=100), st.integers(1, 40))
def test_pads_are_those_of_batches_in_the_order_of_the_file(lengths: list[int], size: int) -> None:
    assert count_padding(lengths, size) == pads_one_by_one(lengths, size)


@pytest.mark.parametrize(("lengths", "pads"), [([], 0), ([5], 0), ([5, 3], 2), ([1] * 32 + [9], 0)])
def test_pads_of_known_batches(lengths: list[int], pads: int) -> None:
    assert count_padding(lengths) == pads
    assert RowCounts(tokens=sum(lengths), pads=pads).padding_avoided == pads / max(
        1, pads + sum(lengths)
    )
