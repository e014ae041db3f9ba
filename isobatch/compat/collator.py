"""Data collators: rows of a dataset → a padded batch of tensors, with labels of texts or tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isobatch.compat.batch_encoding import BatchEncoding, TensorKind
from isobatch.compat.tokenizer import Tokenizer
from isobatch.compat.tokenizer_options import PaddingOption
from isobatch.errors import InputError


@dataclass
class DataCollatorWithPadding:
    """Pads tokenized rows to the longest; the columns "label" and "label_ids" become "labels"."""

    tokenizer: Tokenizer
    padding: PaddingOption = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: TensorKind = "pt"

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> BatchEncoding:
        batch = self.tokenizer.pad(
            features,
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=self.return_tensors,
        )
        for name in ("label", "label_ids"):
            if name in batch:
                batch["labels"] = batch.pop(name)
        return batch


@dataclass
class DataCollatorForTokenClassification:
    """Pads tokenized rows and their labels, one for each token, on the tokenizer's padding side.

    They are in the column "label", else "labels", and keep its name. label_pad_token_id: the label
    of padding, which the loss leaves out. Raises InputError for a row without labels, or with
    another number of them than tokens.
    """

    tokenizer: Tokenizer
    padding: PaddingOption = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = -100
    return_tensors: TensorKind = "pt"

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> BatchEncoding:
        name = "label" if features and "label" in features[0] else "labels"
        batch = self.tokenizer.pad(
            [{key: each[key] for key in each if key != name} for each in features],
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=self.return_tensors,
        )
        if not any(name in each for each in features):
            return batch
        labels = np.full(tuple(batch["input_ids"].shape), self.label_pad_token_id, np.int64)
        for row, each in enumerate(features):
            own = _labels(each, name, row)
            first = labels.shape[1] - len(own) if self.tokenizer.padding_side == "left" else 0
            labels[row, first : first + len(own)] = own
        batch[name] = torch.from_numpy(labels) if self.return_tensors == "pt" else labels
        return batch


def _labels(row: Mapping[str, Any], name: str, number: int) -> list[int]:
    """Return the labels of a row; InputError for another number of them than tokens."""
    labels, num_tokens = list(row.get(name, ())), len(row["input_ids"])
    if len(labels) != num_tokens:
        raise InputError(
            f"row {number}: has {len(labels)} {name} for {num_tokens} tokens. Align them by "
            "word_ids(): one for each token, -100 for those that the loss leaves out"
        )
    return labels
