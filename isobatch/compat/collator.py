"""DataCollatorWithPadding: rows of a dataset → a padded batch of tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isobatch.compat.batch_encoding import BatchEncoding, TensorKind
from isobatch.compat.tokenizer import Tokenizer
from isobatch.compat.tokenizer_options import PaddingOption


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
