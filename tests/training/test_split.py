"""The split: every text once, equal texts on one side, each class on both, in any order of rows."""

from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isobatch.errors import InputError, OptionError
from isobatch.training.data.equal_texts import group_equal_texts
from isobatch.training.data.split import MAX_VALIDATION, split_texts
from isobatch.training.data.targets import Targets
from isobatch.training.recipe import TrainingTask

Rows = list[tuple[str, int]]


def one_hot(labels: list[int]) -> Targets:
    return np.eye(max(labels) + 1, dtype=np.float32)[labels]


@st.composite
def labelled_rows(draw: st.DrawFn) -> Rows:
    """Rows of 2 to 4 classes, each with two texts or more, of which some are equal."""
    classes = draw(st.integers(2, 4))
    names = st.integers(0, draw(st.sampled_from([3, 20, 10_000])))
    drawn = st.tuples(names.map(lambda name: f"text {name}"), st.integers(0, classes - 1))
    rows = draw(st.lists(drawn, max_size=60))
    rows += [(f"own {label} {copy}", label) for label in range(classes) for copy in range(2)]
    return rows


shares = st.floats(0.01, 0.5)
seeds = st.integers(0, 2**63)


@given(labelled_rows(), shares, seeds)
@settings(max_examples=200)
def test_every_text_is_on_one_side_and_every_class_is_trained(
    rows: Rows, share: float, seed: int
) -> None:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    train, held = split_texts(texts, one_hot(labels), share, seed)
    assert sorted([*train, *held]) == list(range(len(rows)))
    assert len(held) > 0
    assert {labels[row] for row in train} == set(labels)
    assert not {texts[row] for row in train} & {texts[row] for row in held}
    assert (np.diff(train) > 0).all()
    again = split_texts(texts, one_hot(labels), share, seed)
    assert [each.tolist() for each in again] == [train.tolist(), held.tolist()]


@given(labelled_rows(), shares, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    rows: Rows, share: float, seed: int, random: Random
) -> None:
    def held(rows: Rows) -> list[tuple[str, int]]:
        targets = one_hot([label for _, label in rows])
        return sorted(
            rows[row] for row in split_texts([t for t, _ in rows], targets, share, seed)[1]
        )

    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert held(rows) == held(shuffled)


@given(st.lists(st.integers(2, 60), min_size=2, max_size=6), shares, seeds)
@example([2, 2], 0.5, 0)
@example([2, 60], 0.01, 0)
def test_different_texts_are_stratified_within_one_text_of_a_class(
    sizes: list[int], share: float, seed: int
) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    texts = [f"text {row}" for row in range(len(labels))]
    _, held = split_texts(texts, one_hot(labels), share, seed)
    wanted = max(round(share * len(texts)), 1)
    counts = np.bincount([labels[row] for row in held], minlength=len(sizes))
    assert (np.abs(counts - wanted * np.array(sizes) / len(texts)) < 1).all()
    assert len(held) == wanted


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(0, 3))), min_size=8, max_size=60),
    shares,
    seeds,
)
def test_multiple_labels_and_numbers_have_every_text_on_one_side(
    rows: list[tuple[int, set[int]]], share: float, seed: int
) -> None:
    rows = [*rows, *((100 + row, {row % 4}) for row in range(8))]
    texts = [f"text {name}" for name, _ in rows]
    targets = np.array([[label in labels for label in range(4)] for _, labels in rows], np.float32)
    numbers = np.array([[name / 7] for name, _ in rows], np.float32)
    for task, used in (("multi", targets), ("regression", numbers)):
        train, held = split_texts(texts, used, share, seed, task)  # type: ignore[arg-type]
        assert sorted([*train, *held]) == list(range(len(rows)))
        assert len(held) > 0
        assert not {texts[row] for row in train} & {texts[row] for row in held}
        assert used[train].any(axis=0).all()


def test_another_seed_holds_out_other_texts() -> None:
    texts, targets = [f"text {row}" for row in range(100)], one_hot([0, 1] * 50)
    splits = {tuple(split_texts(texts, targets, 0.1, seed)[1]) for seed in range(5)}
    assert len(splits) == 5


def test_the_split_is_not_the_first_epoch_s_order() -> None:
    from isobatch.training.data.split import _SPLIT_EPOCH
    from isobatch.training.steps.order import draw_order

    assert draw_order(50, 3, 0) != draw_order(50, 3, _SPLIT_EPOCH)


def test_texts_are_equal_but_for_case_and_white_space() -> None:
    texts = ["A  film", " a film\n", "a\tFilm", "a film.", "STRASSE", "straße"]
    groups = group_equal_texts(texts)
    assert groups[0] == groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len(set(groups.tolist())) == 3


def test_pairs_are_equal_if_both_texts_are() -> None:
    groups = group_equal_texts([("a", "b c"), ("A", "b  C"), ("a b", "c"), ("b c", "a")]).tolist()
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_groups_that_fit_no_quota_are_held_out_if_that_is_nearer() -> None:
    """Each text 8 times, and quotas of 5 and 6: a whole group is nearer to them than none is."""
    texts = [f"text {row // 8}" for row in range(800)]
    labels = [row // 8 % 10 for row in range(800)]
    _, held = split_texts(texts, one_hot(labels), 0.07, 0)
    counts = np.bincount([labels[row] for row in held], minlength=10)
    assert len(held) == 56
    assert sorted(counts.tolist()) == [0] * 3 + [8] * 7


def test_quotas_are_exact_where_some_groups_fit() -> None:
    """Of each class 30 texts are different, and 10 are there 6 times."""
    names = [f"single {row}" for row in range(60)] + [f"six {row % 20}" for row in range(120)]
    labels = [int(name.split()[1]) % 2 for name in names]
    for seed in range(10):
        _, held = split_texts(names, one_hot(labels), 0.1, seed)
        assert np.bincount([labels[row] for row in held]).tolist() == [9, 9]


def test_the_only_text_of_a_class_is_trained_on() -> None:
    """Its share of the quotas, 0.55, would be rounded up."""
    for seed in range(5):
        train, _ = split_texts([f"{row}" for row in range(11)], one_hot([0] * 10 + [1]), 0.5, seed)
        assert 10 in train


def test_a_text_of_several_classes_is_counted_in_each() -> None:
    texts = [f"text {row % 100}" for row in range(400)]
    labels = [(row // 100 + row) % 2 for row in range(400)]
    _, held = split_texts(texts, one_hot(labels), 0.2, 0)
    assert len(held) == 80
    assert np.bincount([labels[row] for row in held]).tolist() == [40, 40]


def test_multiple_labels_are_stratified_by_each() -> None:
    chances = np.array([0.5, 0.2, 0.02])
    targets = (np.random.default_rng(0).random((3000, 3)) < chances).astype(np.float32)
    texts = [f"text {row}" for row in range(3000)]
    _, held = split_texts(texts, targets, 0.1, 0, "multi")
    assert abs(len(held) - 300) <= 3
    assert np.abs(targets[held].sum(axis=0) - targets.sum(axis=0) * 0.1).max() <= 2
    unlabelled = (~targets.any(axis=1)).sum() * 0.1
    assert abs((~targets[held].any(axis=1)).sum() - unlabelled) <= 2
    # The control: of texts taken at random the rarest label is off by more for some seed.
    drawn = [np.random.default_rng(seed).choice(3000, 300, False) for seed in range(5)]
    off = [np.abs(targets[rows].sum(axis=0) - targets.sum(axis=0) * 0.1).max() for rows in drawn]
    assert max(off) > 3


def test_a_regression_is_stratified_by_tenths() -> None:
    numbers = np.random.default_rng(0).exponential(size=(1000, 1)).astype(np.float32)
    _, held = split_texts([f"text {row}" for row in range(1000)], numbers, 0.1, 0, "regression")
    cuts = np.quantile(numbers, np.arange(1, 10) / 10)
    counts = np.bincount(np.searchsorted(cuts, numbers[held, 0], side="right"), minlength=10)
    assert set(counts.tolist()) == {10}


@pytest.mark.parametrize("task", ["single", "regression"])
def test_at_most_a_number_of_texts_is_held_out(task: TrainingTask) -> None:
    size = MAX_VALIDATION * 4
    targets = one_hot([0, 1] * (size // 2)) if task == "single" else np.arange(size)[:, None]
    texts = [f"text {row}" for row in range(size)]
    assert len(split_texts(texts, targets.astype(np.float32), 0.5, 0, task)[1]) == MAX_VALIDATION


def test_what_cannot_be_split_is_refused() -> None:
    texts, targets = ["a", "A", "b", "B"], one_hot([0, 0, 1, 1])
    with pytest.raises(
        InputError, match="cannot hold out validation texts: of 4 texts too few differ"
    ):
        split_texts(texts, targets, 0.5, 0)
    assert len(split_texts([*texts, "c"], one_hot([0, 0, 1, 1, 1]), 0.1, 0)[1]) == 1
    for share in (0.0, 0.6, -1.0, float("nan")):
        with pytest.raises(OptionError, match=r"more than 0 and at most 0\.5"):
            split_texts(texts, targets, share, 0)


@pytest.mark.parametrize("size", [2, 5, 10, 11, 40])
def test_a_few_numbers_can_be_split(size: int) -> None:
    texts, numbers = [f"text {n}" for n in range(size)], np.arange(size, dtype=np.float32)[:, None]
    train, held = split_texts(texts, numbers, 0.5, 0, "regression")
    assert min(len(train), len(held)) >= size // 2
    assert len(split_texts(texts, numbers, 0.1, 0, "regression")[1]) == max(1, size // 10)


def test_the_work_grows_with_the_number_of_texts_and_not_its_square() -> None:
    """Counted, as times vary: each group is looked at a few times, however many there are."""
    from isobatch.training.data import split as module

    looked = 0
    original = module._Selection._counts

    def counting(self: object, group: int) -> list[tuple[int, int]]:
        nonlocal looked
        looked += 1
        return original(self, group)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Selection, "_counts", counting)
        for size in (2_000, 20_000):
            looked = 0
            labels = [row % 100 for row in range(size)]
            split_texts([f"text {row // 3}" for row in range(size)], one_hot(labels), 0.1, 0)
            assert looked <= 5 * size
