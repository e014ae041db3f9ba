"""The output of the drop-in model as transformers names it, and the loss in it."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.errors import InputError


@dataclass
class SequenceClassifierOutput:
    """loss (scalar, only with labels) and logits [rows, num_labels].

    Also reads as a mapping and as a tuple of what is present: `out["logits"]`, `out[0]`.
    """

    loss: Tensor | None
    logits: Tensor

    def keys(self) -> list[str]:
        return [item.name for item in fields(self) if getattr(self, item.name) is not None]

    def values(self) -> list[Tensor]:
        return [getattr(self, key) for key in self.keys()]

    def items(self) -> list[tuple[str, Tensor]]:
        return list(zip(self.keys(), self.values(), strict=True))

    def to_tuple(self) -> tuple[Tensor, ...]:
        return tuple(self.values())

    def __getitem__(self, key: str | int | slice) -> Tensor | tuple[Tensor, ...]:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self.keys():
            raise KeyError(f"{key!r}; there are {self.keys()}")
        return getattr(self, key)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())


def classification_loss(logits: Tensor, labels: Tensor, config: SimpleNamespace) -> Tensor:
    """Compute mean squared error, cross-entropy or binary cross-entropy.

    logits [rows, num_labels]. As in transformers, a config.json without a problem type implies one
    by the number of labels and their dtype.
    """
    labels = labels.to(logits.device)
    problem_type = config.problem_type or _problem_type(labels, config.num_labels)
    expected = {
        "regression": logits.numel(),
        "single_label_classification": logits.shape[0],
        "multi_label_classification": logits.numel(),
    }[problem_type]
    if labels.numel() != expected:
        raise InputError(
            f"labels have shape {list(labels.shape)}, logits {list(logits.shape)}: "
            f"{problem_type} needs {expected} numbers"
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
