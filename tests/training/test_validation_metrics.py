"""Metrics of a validation: those of scikit-learn, their directions, and NaN."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from isobatch.errors import OptionError
from isobatch.training.steps.validation_metrics import METRICS, check_metric, compute_metrics

CHANCE = np.random.default_rng(0)


def test_single_labels_agree_with_scikit_learn() -> None:
    logits = CHANCE.normal(size=(200, 4))
    labels = CHANCE.integers(0, 4, 200)
    found = compute_metrics("single", np.eye(4)[labels], logits)
    predicted = logits.argmax(axis=1)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, scores))


def test_multiple_labels_agree_with_scikit_learn() -> None:
    logits, targets = CHANCE.normal(size=(100, 3)), CHANCE.integers(0, 2, (100, 3))
    found = compute_metrics("multi", targets, logits)
    predicted = (logits > 0).astype(int)
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(targets, predicted, average="micro"))
    expected = metrics.f1_score(targets, predicted, average="macro")
    assert found["multi_macro_f1"] == pytest.approx(expected)
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(targets, predicted))


def test_regressions_agree_with_scipy_in_the_mean_over_their_outputs() -> None:
    targets = CHANCE.normal(size=(50, 2)) + np.array([0.0, 100.0])
    logits = targets * np.array([-1.0, 1.0]) + CHANCE.integers(0, 3, (50, 2))
    found = compute_metrics("regression", targets, logits)
    pearson = [stats.pearsonr(*pair).statistic for pair in zip(targets.T, logits.T, strict=True)]
    spearman = [stats.spearmanr(*pair).statistic for pair in zip(targets.T, logits.T, strict=True)]
    assert found["pearson"] == pytest.approx(np.mean(pearson))
    assert found["spearman"] == pytest.approx(np.mean(spearman))
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((targets - logits) ** 2)))


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_prediction_is_better_than_a_wrong_one(name: str) -> None:
    metric = METRICS[name]
    targets = {"single": np.eye(3)[[0, 1, 2, 0]], "multi": np.eye(3)[[0, 1, 2, 0]]}.get(
        metric.tasks[0], np.array([[0.1], [0.5], [0.9], [0.2]])
    )
    perfect = targets if metric.tasks == ("regression",) else targets * 20.0 - 10.0
    right, wrong = metric.compute(targets, perfect), metric.compute(targets, -perfect)
    assert metric.is_better(right, wrong)
    assert not metric.is_better(wrong, right)
    assert not metric.is_better(right, right), "ties go to the earliest"


def test_nan_is_never_the_best_and_any_number_beats_it() -> None:
    accuracy = METRICS["accuracy"]
    assert not accuracy.is_better(math.nan, None)
    assert not accuracy.is_better(math.nan, 0.0)
    assert accuracy.is_better(0.1, math.nan)


def test_a_metric_without_a_value_for_any_prediction_is_refused() -> None:
    check_metric("pearson", np.array([[0.0], [1.0]]))
    with pytest.raises(OptionError, match="metric pearson: is not defined"):
        check_metric("pearson", np.array([[1.0], [1.0]]))
