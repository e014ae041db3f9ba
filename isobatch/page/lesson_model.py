"""A checkpoint and its tokenizer for the lesson page, computed padded and packed.

Invariant: both computations get the same padded batch from the same tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isobatch.checkpoint import ModelConfig, checkpoint_name, locate_checkpoint
from isobatch.compat import AutoTokenizer
from isobatch.compat.model import PaddedClassifier
from isobatch.errors import UnsupportedModelError
from isobatch.lesson import LessonCheckpoint
from isobatch.page.padded import PaddedForward
from isobatch.specification import POST_NORM, AttentionSpec

LogitRow = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TokenizedBatch:
    """Padded texts; both tensors are [rows, columns], padded on the right."""

    tokens: tuple[tuple[str, ...], ...]
    input_ids: Tensor
    attention_mask: Tensor

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        return [int(length) for length in self.attention_mask.sum(dim=1)]


class LessonModel:
    """The model, its tokenizer, and the padded model on the same weights.

    `path` is a folder, a hub id, or None for the bundled model. Raises UnsupportedModelError for a
    model with other layers than BERT's, whose padded computation is not shown.
    """

    def __init__(self, path: str | Path | None = None, *, revision: str | None = None) -> None:
        self._model = PaddedClassifier.from_folder(locate_checkpoint(path, revision))
        self._tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
        self.checkpoint = LessonCheckpoint(self._tokenizer, self._model)
        self.name = "the bundled model" if path is None else checkpoint_name(path)
        self.config: ModelConfig = self._model.packed.config
        check_lesson(self.name, self.config)
        self.pad_token = str(self._tokenizer.pad_token)
        self.max_tokens: int = min(self.config.encoder.max_tokens, self._tokenizer.model_max_length)
        self.padded = PaddedForward(self._model.packed)

    def tokenize(self, texts: Sequence[str], max_tokens: int) -> TokenizedBatch:
        """Tokenize, truncate to `max_tokens`, and pad to the longest."""
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
        return TokenizedBatch(tokens, columns["input_ids"], columns["attention_mask"])

    def padded_logits(self, batch: TokenizedBatch, *, masked: bool) -> list[LogitRow]:
        """Compute the padded batch, with its attention mask or with none."""
        mask = batch.attention_mask if masked else None
        return logit_rows(self.padded.forward(batch.input_ids, mask).logits)

    @torch.inference_mode()
    def packed_logits(self, batch: TokenizedBatch) -> list[LogitRow]:
        """Compute the real tokens of each row packed, as Isobatch does."""
        logits = self._model(batch.input_ids, attention_mask=batch.attention_mask).logits
        return logit_rows(logits)


def logit_rows(logits: Tensor) -> list[LogitRow]:
    """Convert a tensor [rows, labels] to plain numbers."""
    return [tuple(row) for row in logits.tolist()]


def check_lesson(name: str, config: ModelConfig) -> None:
    """Raise UnsupportedModelError for a model with layers that the lesson does not show."""
    for layer in config.encoder.layers:
        plain = AttentionSpec(layer.attention.num_heads, layer.attention.head_dim)
        if layer.attention != plain or layer.norms != POST_NORM or layer.gated:
            raise UnsupportedModelError(
                f"{name}: the lesson shows BERT's layers, and those of {config.family.model_type} "
                "are others. Use a checkpoint of BERT, DistilBERT, RoBERTa, ELECTRA or ALBERT"
            )
