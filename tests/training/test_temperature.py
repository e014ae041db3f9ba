"""Calibration: the best temperature, folded into the head's weights, or left out safely."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_checkpoints import Tiny, TinyFolder
from training_process import make_weights
from training_runs import make_examples

from isobatch.training.output.temperature import (
    HIGHEST,
    MIN_TEXTS,
    CalibratedModel,
    calibrate,
    fit_temperature,
)
from isobatch.training.recipe import TrainingTask
from isobatch.training.steps.validation import validate
from isobatch.training.steps.validation_metrics import METRICS


def sharpened(
    number: int, by: float, task: TrainingTask = "single"
) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax or sigmoid of random logits, and the logits times `by`."""
    random = np.random.default_rng(3)
    logits = random.normal(size=(number, 3)).astype(np.float32) * 2
    if task == "multi":
        targets = random.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))
    else:
        targets = np.eye(3)[(logits + random.gumbel(size=logits.shape)).argmax(axis=1)]
    return targets.astype(np.float32), logits * np.float32(by)


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("by", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor(task: TrainingTask, by: float) -> None:
    found = fit_temperature(*sharpened(4000, by, task), task)
    assert found.value == pytest.approx(by, rel=0.06)
    assert found.reason == "fitted on 4,000 validation texts"
    assert found.value == round(found.value, 4)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_no_temperature_near_it_has_a_smaller_loss(task: TrainingTask) -> None:
    targets, logits = sharpened(500, 3.0, task)
    found = fit_temperature(targets, logits, task)
    compute = METRICS["log_loss" if task == "single" else "binary_log_loss"].compute
    losses = [
        compute(targets.astype(float), logits.astype(float) / value)
        for value in (1.0, found.value, found.value * 0.99, found.value * 1.01)
    ]
    assert losses[:2] == [found.loss_before, found.loss_after]
    assert min(losses) == losses[1]


@pytest.mark.parametrize(
    ("number", "task", "reason"),
    [
        (MIN_TEXTS - 1, "single", "199 validation texts are too few: it takes 200"),
        (1, "multi", "1 validation text is too few: it takes 200"),
        (MIN_TEXTS, "regression", "a regression has no probabilities to calibrate"),
    ],
)
def test_it_is_left_out_where_it_would_be_a_guess(
    number: int, task: TrainingTask, reason: str
) -> None:
    found = fit_temperature(*sharpened(number, 3.0), task)
    assert (found.value, found.num_texts) == (1.0, number)
    assert found.reason == reason
    assert found.loss_before == found.loss_after
    assert (found.loss_before is None) == (task == "regression")


def test_a_perfect_model_has_no_best_temperature() -> None:
    targets, _ = sharpened(MIN_TEXTS, 1.0)
    found = fit_temperature(targets, targets * 8, "single")
    assert (found.value, found.reason) == (1.0, "no temperature from 0.1 to 10.0 is the best one")
    hopeless = fit_temperature(targets, np.roll(targets, 1, axis=1) * 8, "single")
    assert hopeless.value == 1.0, "a model that is always wrong is not hidden by a temperature"
    assert HIGHEST == 10.0


def calibrated(
    tiny_folder: TinyFolder, number: int, task: TrainingTask = "single"
) -> CalibratedModel:
    tiny = Tiny("bert", num_labels=3)
    examples = make_examples(tiny, number, task=task)
    model = make_weights(tiny_folder(tiny), examples).model
    logits = validate(model, examples, task).logits
    right = logits > 0 if task == "multi" else np.eye(3)[logits.argmax(axis=1)] > 0
    wrong = np.random.default_rng(0).uniform(size=(number, 1)) < 0.25
    mixed = np.where(wrong, np.roll(right, 1, axis=1), right).astype(np.float32)
    return calibrate(model, replace(examples, targets=mixed), task)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_the_head_holds_the_temperature(tiny_folder: TinyFolder, task: TrainingTask) -> None:
    found = calibrated(tiny_folder, MIN_TEXTS, task)
    value = found.temperature.value
    assert abs(value - 1) > 0.2, "the control: there is something to fold"
    np.testing.assert_allclose(found.after.logits, found.before.logits / value, atol=1e-5)
    loss = "log_loss" if task == "single" else "binary_log_loss"
    assert found.after.metrics[loss] == pytest.approx(found.temperature.loss_after, abs=1e-6)
    assert found.after.metrics[loss] < found.before.metrics[loss] - 0.05
    assert found.model.training


def test_a_model_without_a_temperature_is_left_as_it_is(tiny_folder: TinyFolder) -> None:
    found = calibrated(tiny_folder, MIN_TEXTS - 1)
    assert found.after is found.before
    untouched = calibrated(tiny_folder, 3).model
    for one, other in zip(found.model.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_order_of_the_texts_changes_nothing() -> None:
    targets, logits = sharpened(700, 2.5)
    order = np.random.default_rng(0).permutation(700)
    first, other = (fit_temperature(targets[o], logits[o], "single") for o in (slice(None), order))
    assert first.value == other.value
