"""Checkpoint: one set of weights, computed in two ways, and its tokenizer.

It knows files through the drop-in face alone. Invariant: both ways get the same padded batch from
the same tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isobatch.compat import AutoModelForSequenceClassification, AutoTokenizer
from isobatch.compat.model import PaddedClassifier
from isobatch.compat.tokenizer import Tokenizer
from isobatch.page.padded import PaddedModel

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """What the tokenizer makes of texts; both tensors are [rows, columns], pads on the right."""

    tokens: tuple[tuple[str, ...], ...]
    input_ids: Tensor
    attention_mask: Tensor

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        return [int(length) for length in self.attention_mask.sum(dim=1)]


class Checkpoint:
    """The model, its tokenizer, and the padded engine on the same weights."""

    def __init__(self, model: PaddedClassifier, tokenizer: Tokenizer, name: str) -> None:
        self.name = name
        self.config = model.classifier.config
        self.pad_token = str(tokenizer.pad_token)
        self.max_tokens = min(self.config.encoder.max_tokens, tokenizer.model_max_length)
        self.padded = PaddedModel(model.classifier)
        self._model = model
        self._tokenizer = tokenizer

    @classmethod
    def from_pretrained(
        cls, path: str | Path | None = None, *, revision: str | None = None
    ) -> "Checkpoint":
        """Load a folder, a hub id, or the bundled model (None); errors as in the drop-in face."""
        return cls(
            AutoModelForSequenceClassification.from_pretrained(path, revision=revision),
            AutoTokenizer.from_pretrained(path, revision=revision),
            _name(path),
        )

    def pad(self, texts: Sequence[str], max_tokens: int) -> PaddedBatch:
        """Tokenize, cut to `max_tokens`, and pad to the longest."""
        columns = self._tokenizer(
            list(texts),
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=max_tokens,
            return_attention_mask=True,
            return_tensors="pt",
        )
        tokens = tuple(tuple(columns.tokens(row)) for row in range(len(texts)))
        return PaddedBatch(tokens, columns["input_ids"], columns["attention_mask"])

    @torch.inference_mode()
    def packed(self, batch: PaddedBatch) -> list[Row]:
        """Isobatch's logits of each row: the mask says what is real, and nothing else is read."""
        logits = self._model(batch.input_ids, attention_mask=batch.attention_mask).logits
        return rows_of(logits)


def rows_of(logits: Tensor) -> list[Row]:
    """Tensor [rows, labels] as plain numbers."""
    return [tuple(row) for row in logits.tolist()]


def _name(path: str | Path | None) -> str:
    """A folder by its last part: where it lies is nobody's business."""
    if path is None:
        return "the bundled model"
    folder = Path(path).expanduser()
    return folder.resolve().name if folder.is_dir() else str(path)
