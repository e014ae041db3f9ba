"""The loss of each text: a function of its own logits and targets alone.

Invariant: nothing here averages over texts. The gradient of a step is the sum of the gradients of
its texts, divided once by their number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.training.recipe import Recipe


def text_losses(
    recipe: Recipe, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None
) -> Tensor:
    """Compute the loss of each text, [texts]; all arguments are [texts, outputs].

    With a teacher the loss is (1 - w) · hard + w · T² · cross-entropy at temperature T (Hinton,
    Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network"); a text without a label,
    whose targets are NaN, has the soft part alone. A regression learns the teacher's numbers.
    """
    if teacher_logits is None:
        return _hard_losses(recipe, logits, targets)
    soft = _soft_losses(recipe, logits, teacher_logits)
    labelled = ~targets.isnan().any(dim=1)
    hard = _hard_losses(recipe, logits, targets.nan_to_num(0.0))
    weight = recipe.teacher_weight
    return torch.where(labelled, (1.0 - weight) * hard + weight * soft, soft)


def _hard_losses(recipe: Recipe, logits: Tensor, targets: Tensor) -> Tensor:
    smoothing = recipe.label_smoothing
    if recipe.task == "regression":
        return (logits - targets).square().mean(dim=1)
    if recipe.task == "multi":
        smoothed = targets * (1.0 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").mean(dim=1)
    smoothed = targets * (1.0 - smoothing) + smoothing / targets.shape[1]
    return -(smoothed * logits.log_softmax(dim=1)).sum(dim=1)


def _soft_losses(recipe: Recipe, logits: Tensor, teacher_logits: Tensor) -> Tensor:
    temperature = recipe.teacher_temperature
    if recipe.task == "regression":
        return (logits - teacher_logits).square().mean(dim=1)
    scaled, wanted = logits / temperature, teacher_logits / temperature
    if recipe.task == "multi":
        losses = F.binary_cross_entropy_with_logits(scaled, wanted.sigmoid(), reduction="none")
        return losses.mean(dim=1) * temperature**2
    cross = -(wanted.softmax(dim=1) * scaled.log_softmax(dim=1)).sum(dim=1)
    return cross * temperature**2
