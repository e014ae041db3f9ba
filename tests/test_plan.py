"""Planning: each text once, no batch over budget, the longest first, deterministic."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobatch.batching.plan import plan_batches
from isobatch.errors import OptionError
from isobatch.types import Batch

lengths_lists = st.lists(st.integers(1, 600), max_size=80)
budgets = st.integers(1, 2000)


@pytest.mark.parametrize(
    ("lengths", "budget", "plan"),
    [
        ([], 10, []),
        ([3], 10, [(0,)]),
        ([5, 5], 10, [(0, 1)]),
        ([5, 5, 1], 10, [(0, 1), (2,)]),
        ([2, 9, 4, 4], 10, [(1,), (2, 3, 0)]),
        ([4, 7, 4, 7, 4], 8, [(1,), (3,), (0, 2), (4,)]),
        ([3, 50, 2], 10, [(1,), (0, 2)]),
        ([1, 1, 1], 1, [(0,), (1,), (2,)]),
    ],
)
def test_a_plan_by_hand(lengths: list[int], budget: int, plan: list[Batch]) -> None:
    assert plan_batches(lengths, budget) == plan


@given(lengths_lists, budgets)
def test_every_index_is_in_exactly_one_batch(lengths: list[int], budget: int) -> None:
    planned = [index for batch in plan_batches(lengths, budget) for index in batch]
    assert sorted(planned) == list(range(len(lengths)))


@given(lengths_lists, budgets)
def test_no_batch_is_empty_and_none_of_two_or_more_exceeds_the_budget(
    lengths: list[int], budget: int
) -> None:
    for batch in plan_batches(lengths, budget):
        assert batch
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= budget


@given(lengths_lists, budgets)
def test_a_text_longer_than_the_budget_is_alone(lengths: list[int], budget: int) -> None:
    for batch in plan_batches(lengths, budget):
        assert len(batch) == 1 or all(lengths[index] <= budget for index in batch)


@given(lengths_lists, budgets)
def test_lengths_fall_and_ties_keep_their_order_within_and_across_batches(
    lengths: list[int], budget: int
) -> None:
    planned = [index for batch in plan_batches(lengths, budget) for index in batch]
    for before, after in pairwise(planned):
        assert (-lengths[before], before) < (-lengths[after], after)


@given(lengths_lists, budgets)
def test_a_batch_ends_only_where_the_next_text_would_not_fit(
    lengths: list[int], budget: int
) -> None:
    for batch, following in pairwise(plan_batches(lengths, budget)):
        assert sum(lengths[index] for index in (*batch, following[0])) > budget


@given(lengths_lists, budgets)
def test_the_same_lengths_give_the_same_plan(lengths: list[int], budget: int) -> None:
    assert plan_batches(lengths, budget) == plan_batches(tuple(lengths), budget)


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_below_one_is_refused(budget: int) -> None:
    with pytest.raises(
        OptionError, match=re.escape(f"max_batch_tokens must be at least 1, got {budget}")
    ):
        plan_batches([1, 2], budget)
