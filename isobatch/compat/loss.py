"""The loss that transformers computes when a classifier is given labels. Knows only tensors."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.errors import InputError


def classification_loss(logits: Tensor, labels: Tensor, config: SimpleNamespace) -> Tensor:
    """Mean squared error, cross-entropy or binary cross-entropy, by the checkpoint's problem type.

    logits [rows, num_labels]. Where config.json names no problem type it follows, as in
    transformers, from the number of labels and the kind of numbers.
    """
    labels = labels.to(logits.device)
    problem_type = config.problem_type or _problem_type(labels, config.num_labels)
    expected = {
        "regression": logits.numel(),
        "single_label_classification": logits.shape[0],
        "multi_label_classification": logits.numel(),
    }
    if labels.numel() != expected[problem_type]:
        raise InputError(
            f"labels have shape {list(labels.shape)}, logits {list(logits.shape)}: "
            f"{problem_type} needs {expected[problem_type]} numbers"
        )
    if problem_type == "regression":
        return F.mse_loss(logits.flatten(), labels.flatten().to(logits.dtype))
    if problem_type == "single_label_classification":
        return F.cross_entropy(logits, labels.flatten())
    return F.binary_cross_entropy_with_logits(logits, labels.view_as(logits).to(logits.dtype))


def _problem_type(labels: Tensor, num_labels: int) -> str:
    if num_labels == 1:
        return "regression"
    if labels.dtype in (torch.int64, torch.int32):
        return "single_label_classification"
    return "multi_label_classification"
