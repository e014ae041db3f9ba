"""Orders, steps and blocks: every text once, nothing but seed and epoch decides."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobatch.training.steps.order import cut_blocks, draw_order, plan_steps


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 2**63), st.integers(0, 50))
def test_every_text_is_in_one_step_of_an_epoch(
    number: int, size: int, seed: int, epoch: int
) -> None:
    steps = plan_steps(number, size, seed, epoch)
    assert sorted(index for step in steps for index in step) == list(range(number))
    assert all(len(step) == size for step in steps[:-1])
    assert steps == plan_steps(number, size, seed, epoch)


def test_orders_differ_by_seed_and_by_epoch_and_are_uniform() -> None:
    assert draw_order(50, 0, 0) != draw_order(50, 0, 1)
    assert draw_order(50, 0, 0) != draw_order(50, 1, 0)
    counts = Counter(tuple(draw_order(4, seed, epoch)) for seed in range(60) for epoch in range(80))
    assert len(counts) == 24
    assert all(abs(count - 200) < 75 for count in counts.values())  # five standard deviations


@given(st.lists(st.integers(1, 90), min_size=1, max_size=70), st.sampled_from([16, 64, 256]))
def test_blocks_have_every_text_once_and_keep_to_their_size(
    lengths: list[int], block_tokens: int
) -> None:
    blocks = cut_blocks(range(len(lengths)), lengths, block_tokens)
    assert sorted(index for block in blocks for index in block) == list(range(len(lengths)))
    for block in blocks:
        sizes = [lengths[index] for index in block]
        assert sum(sizes) <= block_tokens or len(block) == 1
        assert sizes == sorted(sizes, reverse=True)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.randoms())
def test_blocks_do_not_depend_on_the_order_of_the_step(lengths: list[int], chance: object) -> None:
    texts = list(range(len(lengths)))
    blocks = cut_blocks(texts, lengths, 128)
    chance.shuffle(texts)  # type: ignore[attr-defined]
    assert cut_blocks(texts, lengths, 128) == blocks


@pytest.mark.parametrize("number", [8, 16, 33])
def test_blocks_of_short_texts_are_evenly_filled_and_an_even_number(number: int) -> None:
    lengths = [20 + index % 9 for index in range(number)]
    sizes = [sum(lengths[i] for i in block) for block in cut_blocks(range(number), lengths, 128)]
    assert len(sizes) % 2 == 0
    assert max(sizes) - min(sizes) <= 30
