"""Calibration: one temperature, fitted on the validation texts and folded into the head.

The logits are divided by it (Guo et al. 2017, "On Calibration of Modern Neural Networks"). As the
head's last layer has it in its weights, every engine that loads the model gives calibrated scores.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from isobatch.drawing.display_text import counted
from isobatch.model import EncoderModel
from isobatch.training.recipe import TrainingTask
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.validation import ValidationResult, validate
from isobatch.training.steps.validation_metrics import METRICS

MIN_TEXTS = 200
"""With fewer validation texts the temperature would be a guess."""

LOWEST, HIGHEST = 0.1, 10.0
"""Where a model is right about nearly every text, the best temperature is 0: none is used then."""

_DIGITS = 4
"""A rounded temperature is the same where sums or exponentials differ in their last bits."""

_Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Temperature:
    """The number that logits are divided by: 1.0 if none was fitted, and the reason.

    num_texts: of the validation. loss_before, loss_after: cross-entropy, in nats, of a text, or of
    a label of a text if there may be several; None for a regression.
    """

    value: float
    num_texts: int
    reason: str
    loss_before: float | None = None
    loss_after: float | None = None


@dataclass(frozen=True, slots=True)
class CalibratedModel:
    """A model with its temperature folded in, and its validation before and after that."""

    model: EncoderModel
    temperature: Temperature
    before: ValidationResult
    after: ValidationResult


def calibrate(model: EncoderModel, validation: Examples, task: TrainingTask) -> CalibratedModel:
    """Fit a temperature on the validation texts, and divide the head's last layer by it.

    The texts are validated again with the new weights, so that the reported numbers are those of
    the finished model.
    """
    before = validate(model, validation, task)
    temperature = fit_temperature(validation.targets, before.logits, task)
    if temperature.value == 1.0:
        return CalibratedModel(model, temperature, before, before)
    with torch.no_grad():
        for parameter in model.head.output.parameters():
            parameter.div_(temperature.value)
    return CalibratedModel(model, temperature, before, validate(model, validation, task))


def fit_temperature(
    targets: NDArray[np.float32], logits: NDArray[np.float32], task: TrainingTask
) -> Temperature:
    """Find the temperature of the smallest cross-entropy; targets, logits: [texts, outputs].

    The loss is convex in the inverse of the temperature, and its slope is found zero by bisection
    in double precision, which takes the same steps in every run.
    """
    number = len(targets)
    if task == "regression":
        return Temperature(1.0, number, "a regression has no probabilities to calibrate")
    wide = targets.astype(np.float64), logits.astype(np.float64)
    compute_loss = METRICS["binary_log_loss" if task == "multi" else "log_loss"].compute
    loss = compute_loss(*wide)
    if number < MIN_TEXTS:
        texts = counted(number, "validation text is", "validation texts are")
        few = f"{texts} too few: it takes {MIN_TEXTS}"
        return Temperature(1.0, number, few, loss, loss)
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    if _slope(low, *wide, task) >= 0 or _slope(high, *wide, task) <= 0:
        reason = f"no temperature from {LOWEST} to {HIGHEST} is the best one"
        return Temperature(1.0, number, reason, loss, loss)
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (low, middle) if _slope(middle, *wide, task) > 0 else (middle, high)
    value = round(1.0 / low, _DIGITS)
    reason = f"fitted on {counted(number, 'validation text')}"
    return Temperature(value, number, reason, loss, compute_loss(wide[0], wide[1] / value))


def _slope(inverse: float, targets: _Rows, logits: _Rows, task: TrainingTask) -> float:
    """Derivative of the summed loss by the inverse temperature: Σ (p - target) · logit."""
    scaled = inverse * logits
    if task == "multi":
        probabilities = 0.5 * (1.0 + np.tanh(0.5 * scaled))  # the sigmoid, without overflow
    else:
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
    return float(((probabilities - targets) * logits).sum())
