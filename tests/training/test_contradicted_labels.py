"""Labels that the model contradicts: planted errors are suspected, weak mistakes are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobatch.training.output.contradicted_labels import ContradictedLabel, find_contradicted_labels
from isobatch.training.recipe import TrainingTask

LABELS = ("a", "b", "c")


def found(
    task: TrainingTask, targets: np.ndarray, logits: np.ndarray, labels: tuple[str, ...] = LABELS
) -> list[ContradictedLabel]:
    places = [f"line {row}" for row in range(len(targets))]
    texts = [f"text {row}" for row in range(len(targets))]
    arrays = targets.astype(np.float32), logits.astype(np.float32)
    return find_contradicted_labels(task, labels, *arrays, texts, places)


def clear_case(number: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A model that is right about every text, with a logit of 3 to 5 for its label."""
    truth = np.eye(3)[np.arange(number) % 3]
    return truth, truth * np.linspace(3, 5, number)[:, None]


def test_a_wrong_label_is_suspected_and_a_weak_mistake_is_not() -> None:
    targets, logits = clear_case()
    targets[[50, 40]] = np.roll(targets[[50, 40]], 1, axis=1)  # wrong labels
    logits[7] = [0.2, 0.0, 0.1]  # of the label b: the model is unsure
    confident, other, weak = found("single", targets, logits)
    assert [each.suspected for each in (confident, other, weak)] == [True, True, False]
    assert (confident.place, other.place, weak.place) == ("line 50", "line 40", "line 7")
    assert (confident.given, confident.predicted, confident.text) == ("a", "c", "text 50")
    assert confident.shown == f"{100 * confident.strength:.1f}\u00a0% confident"
    assert confident.strength == pytest.approx(np.exp(logits[50, 2]) / np.exp(logits[50]).sum())


def test_a_model_that_is_right_contradicts_nothing() -> None:
    assert not found("single", *clear_case())


def test_confidence_is_measured_by_that_of_the_label() -> None:
    """For the label that the model is rarely sure of, less confidence suffices."""
    targets, logits = clear_case()
    unsure = np.flatnonzero(targets[:, 2])
    logits[unsure] = [0.0, 0.0, 1.0]
    targets[unsure[0]] = [1, 0, 0]
    (contradicted,) = found("single", targets, logits)
    assert contradicted.suspected
    assert contradicted.strength < 0.6
    logits[[0, 3, 6]] = [0.0, 0.6, 0.0]
    weak = [each for each in found("single", targets, logits) if each.predicted == "b"]
    assert len(weak) == 3
    assert not any(each.suspected for each in weak), "the model is surer of b where it is right"


def test_each_label_of_several_is_a_decision_of_its_own() -> None:
    random = np.random.default_rng(0)
    targets = (random.uniform(size=(80, 3)) < 0.4).astype(float)
    logits = (2 * targets - 1) * random.uniform(2, 4, targets.shape)
    targets[5, 1] = 1 - targets[5, 1]
    logits[9, 2] = 0.1 * (1 - 2 * targets[9, 2])
    first, last = found("multi", targets, logits)
    assert (first.place, first.suspected) == ("line 5", True)
    assert {first.given, first.predicted} == {"b", "not b"}
    assert first.given == ("b" if targets[5, 1] else "not b")
    assert (last.place, last.suspected) == ("line 9", False)


def test_an_outlier_of_a_regression_is_suspected() -> None:
    random = np.random.default_rng(0)
    targets = random.uniform(1, 5, (100, 1))
    logits = targets + random.normal(size=(100, 1)) * 0.2
    targets[40] = 50.0
    first, second, *_ = found("regression", targets, logits, ("stars",))
    assert (first.place, first.suspected, first.given) == ("line 40", True, "50")
    assert first.shown.startswith("off by 4")
    assert not second.suspected


def test_several_numbers_are_named() -> None:
    targets = np.array([[1.0, 2.0], [3.0, 4.0]])
    names = {each.given for each in found("regression", targets, targets + 0.5, ("x", "y"))}
    assert names == {"x = 1", "y = 2", "x = 3", "y = 4"}


def test_a_constant_error_is_not_an_outlier() -> None:
    targets = np.arange(10.0)[:, None]
    assert not any(each.suspected for each in found("regression", targets, targets + 1, ("x",)))


@given(st.integers(0, 2**32), st.sampled_from(["single", "multi", "regression"]))
def test_the_strongest_is_first_and_every_text_is_wrong(seed: int, task: TrainingTask) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(30, 3))
    targets = (
        np.eye(3)[random.integers(0, 3, 30)] if task == "single" else random.integers(0, 2, (30, 3))
    )
    contradicted = found(task, targets, logits)
    strengths = [each.strength for each in contradicted]
    assert strengths == sorted(strengths, reverse=True)
    assert all(strength > 0 for strength in strengths)
    if task == "single":
        assert all(each.given != each.predicted for each in contradicted)
        wrong = np.flatnonzero(targets.argmax(axis=1) != logits.argmax(axis=1))
        assert {each.place for each in contradicted} == {f"line {row}" for row in wrong}
