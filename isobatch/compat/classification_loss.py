"""The loss of the drop-in model: mean squared error, cross-entropy or binary cross-entropy."""

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.compat.model_config import ClassifierConfig, check_problem_type
from isobatch.errors import InputError

IGNORED_LABEL = -100
"""Rows with this label do not count, as in torch's cross-entropy."""


def classification_loss(logits: Tensor, labels: Tensor, config: ClassifierConfig) -> Tensor:
    """Compute the loss of logits [rows, num_labels].

    As in transformers, a config.json without a problem type implies one by the number of labels and
    their dtype, which is then kept in `config`, and saved with it: it decides how scores are
    computed. Raises InputError for labels of another shape or out of range, with the row.
    """
    if not isinstance(labels, Tensor):
        raise InputError(f"labels must be a tensor, got {type(labels).__name__}")
    labels = labels.to(logits.device)
    problem_type = config.problem_type or _problem_type(labels, logits.shape[1])
    check_problem_type(problem_type, logits.shape[1])
    _check_shape(problem_type, logits, labels)
    if problem_type == "single_label_classification":
        _check_range(labels.flatten(), logits.shape[1])
    config.problem_type = problem_type
    if problem_type == "regression":
        return F.mse_loss(logits.flatten(), labels.flatten().to(logits.dtype))
    if problem_type == "single_label_classification":
        return F.cross_entropy(logits, labels.flatten().long(), ignore_index=IGNORED_LABEL)
    return F.binary_cross_entropy_with_logits(logits, labels.view_as(logits).to(logits.dtype))


def token_classification_loss(logits: Tensor, labels: Tensor, mask: Tensor | None) -> Tensor:
    """Compute the cross-entropy of logits [rows, columns, num_labels], the mean over all tokens.

    labels: [rows, columns], IGNORED_LABEL for tokens that do not count. mask: zero for padding.
    Raises InputError for labels of another shape, out of range, or of padding, with the row.
    """
    if not isinstance(labels, Tensor):
        raise InputError(f"labels must be a tensor, got {type(labels).__name__}")
    rows, columns, num_labels = logits.shape
    if labels.shape != (rows, columns) or labels.is_floating_point():
        raise InputError(
            f"labels must be integers of shape {[rows, columns]}, one for each token; got "
            f"{labels.dtype} {list(labels.shape)}"
        )
    labels = labels.to(logits.device)
    for row in range(rows):
        _check_range(labels[row], num_labels, row)
    if mask is not None:
        padded = ((mask.to(logits.device) == 0) & (labels != IGNORED_LABEL)).nonzero().tolist()
        if padded:
            row, column = padded[0]
            raise InputError(
                f"row {row}, column {column}: padding has the label {int(labels[row, column])}, "
                f"expected {IGNORED_LABEL}, which does not count"
            )
    return F.cross_entropy(
        logits.flatten(0, 1), labels.flatten().long(), ignore_index=IGNORED_LABEL
    )


def _problem_type(labels: Tensor, num_labels: int) -> str:
    if num_labels == 1:
        return "regression"
    if labels.dtype in (torch.int64, torch.int32):
        return "single_label_classification"
    return "multi_label_classification"


def _check_shape(problem_type: str, logits: Tensor, labels: Tensor) -> None:
    rows, num_labels = logits.shape
    expected = rows if problem_type == "single_label_classification" else rows * num_labels
    if labels.numel() != expected:
        raise InputError(
            f"labels have shape {list(labels.shape)}, logits {list(logits.shape)}: "
            f"{problem_type} needs {expected} numbers"
        )
    if problem_type == "single_label_classification" and labels.is_floating_point():
        raise InputError(
            f"labels have dtype {labels.dtype}, but {problem_type} needs the number of a label for "
            "each row; use labels.long()"
        )


def _check_range(labels: Tensor, num_labels: int, row: int | None = None) -> None:
    """Check the labels of all rows, or those of the tokens of one row."""
    outside = ((labels < 0) | (labels >= num_labels)) & (labels != IGNORED_LABEL)
    if places := outside.nonzero().flatten().tolist():
        place = places[0]
        where, what = (
            (f"row {place}", "a row") if row is None else (f"row {row}, column {place}", "a token")
        )
        raise InputError(
            f"{where}: its label is {int(labels[place])}, expected 0 to {num_labels - 1}, "
            f"or {IGNORED_LABEL} for {what} that does not count. For more labels load the model "
            "with num_labels=N and ignore_mismatched_sizes=True"
        )
