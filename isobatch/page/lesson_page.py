"""From sentences to LessonData: the padded batch, its attention, its logits, and random batches.

Invariant: each way of computing is compared with its own logits for the sentence alone, so that a
difference comes from the batch and not from the kernels of two libraries.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isobatch import __version__
from isobatch.errors import InputError
from isobatch.kernels import instruction_set
from isobatch.lesson import MaskCost, check_sentences, measure_mask_cost
from isobatch.page.lesson_data import (
    AttentionWeights,
    LessonData,
    LessonLimits,
    LessonSentence,
    ModelInfo,
    SentenceResult,
)
from isobatch.page.lesson_model import LessonModel, LogitRow, logit_rows
from isobatch.page.logit_comparison import compare_logits, float_bits
from isobatch.page.random_batches import compute_random_batches
from isobatch.tasks import rank_logits, score_logits

MAX_SENTENCES = 8
MAX_TOKENS = 64
MAX_CHARACTERS = 2000
MAX_LABELS = 6
"""Logits shown per sentence: the highest."""

MAX_WEIGHTS = 2_500_000
"""Attention weights on one page, 2⅔ characters each; wide models get fewer tokens per sentence."""

WEIGHT_SCALE = 65535
"""1.0 in the unit of the weights on the page."""

_FEWEST_TOKENS = 8


class LessonPage:
    """The lesson on one checkpoint, loaded once. Make it by `from_pretrained`."""

    def __init__(self, model: LessonModel) -> None:
        self.model = model
        self._cost: MaskCost | None = None

    @classmethod
    def from_pretrained(
        cls, path: str | Path | None = None, *, revision: str | None = None
    ) -> "LessonPage":
        """Load a folder, a hub id, or the bundled model (None)."""
        return cls(LessonModel(path, revision=revision))

    def data(
        self,
        sentences: Sequence[str],
        *,
        random_batches: bool = True,
    ) -> LessonData:
        """Compute the page for `sentences`, the first MAX_SENTENCES of them, without a cost.

        The random batches are nine tenths of the work. Raises OptionError for fewer than two
        sentences, InputError for non-string sentences.
        """
        check_sentences(sentences)
        shown = sentences[:MAX_SENTENCES]
        max_tokens = _max_tokens(self.model, len(shown))
        batch = _LessonBatch(self.model, shown, max_tokens)
        first = batch.texts[0]
        random = compute_random_batches(self.model, first, max_tokens) if random_batches else None
        return LessonData(
            model=_model_info(self.model),
            limits=LessonLimits(
                MAX_SENTENCES, max_tokens, MAX_CHARACTERS, len(sentences) - len(shown)
            ),
            sentences=tuple(batch.sentence(row) for row in range(len(shown))),
            random_batches=random,
            cost=None,
        )

    def answer(self, request: object) -> dict[str, Any]:
        """Respond to the live page's request: {"sentences": [...], "random_batches": false}.

        Returns LessonData as plain values. `random_batches` defaults to true. {"cost": true} alone
        requests the cost of a forgotten mask on the built-in sample, which is computed once, and
        returned as {"cost": ...}. Raises InputError for any other request.
        """
        if not isinstance(request, Mapping):
            raise InputError(f"expected a JSON object, got {type(request).__name__}")
        if "cost" in request:
            if len(request) > 1 or request["cost"] is not True:
                raise InputError("cost: expected true, without any other field")
            self._cost = self._cost or measure_mask_cost(self.model.checkpoint)
            return {"cost": self._cost.as_dict()}
        sentences, random_batches = request.get("sentences"), request.get("random_batches", True)
        if not isinstance(sentences, list) or len(sentences) < 2:
            raise InputError("sentences: expected a list of at least two strings")
        if not isinstance(random_batches, bool):
            kind = type(random_batches).__name__
            raise InputError(f"random_batches: expected true or false, got {kind}")
        return asdict(self.data(sentences, random_batches=random_batches))


class _LessonBatch:
    """The sentences as one batch, computed in every way."""

    def __init__(self, model: LessonModel, sentences: Sequence[str], max_tokens: int) -> None:
        self.texts = texts = [sentence[:MAX_CHARACTERS] for sentence in sentences]
        self.head = model.config.head
        self.batch = batch = model.tokenize(texts, max_tokens)
        singles = [model.tokenize([text], max_tokens) for text in texts]
        longer = model.tokenize(texts, max_tokens + 1).lengths
        self.cut = [
            length > max_tokens or len(sentence) > MAX_CHARACTERS
            for length, sentence in zip(longer, sentences, strict=True)
        ]
        unmasked = model.padded.forward(batch.input_ids, keep_attention=True)
        masked = model.padded.forward(batch.input_ids, batch.attention_mask, keep_attention=True)
        assert unmasked.attention is not None
        assert masked.attention is not None
        self.unmasked, self.masked = unmasked.attention, masked.attention
        alone = [model.padded_logits(single, masked=False)[0] for single in singles]
        packed_alone = [model.packed_logits(single)[0] for single in singles]
        self.ways: tuple[tuple[str, list[LogitRow], list[LogitRow]], ...] = (
            ("alone", alone, alone),
            ("forgotten", logit_rows(unmasked.logits), alone),
            ("masked", logit_rows(masked.logits), alone),
            ("packed_alone", packed_alone, packed_alone),
            ("packed", model.packed_logits(batch), packed_alone),
        )

    def sentence(self, row: int) -> LessonSentence:
        length = self.batch.lengths[row]
        shown = _highest(self.ways[0][1][row])
        return LessonSentence(
            text=self.texts[row],
            cut=self.cut[row],
            tokens=self.batch.tokens[row],
            input_ids=tuple(self.batch.input_ids[row].tolist()),
            attention_mask=tuple(self.batch.attention_mask[row].tolist()),
            num_tokens=length,
            unmasked=describe_attention(self.unmasked[:, row], length),
            masked=describe_attention(self.masked[:, row], length),
            labels=tuple(self.head.labels[index] for index in shown),
            results=tuple(
                self._result(way, logits[row], alone[row], shown)
                for way, logits, alone in self.ways
            ),
        )

    def _result(
        self, way: str, logits: LogitRow, alone: LogitRow, shown: Sequence[int]
    ) -> SentenceResult:
        scores = score_logits(logits, self.head.score_activation)
        best = rank_logits(logits)[0]
        return SentenceResult(
            way=way,
            logits=tuple(logits[index] for index in shown),
            bits=tuple(float_bits(logits[index]) for index in shown),
            label=self.head.labels[best],
            score=scores[best],
            comparison=compare_logits(logits, alone),
        )


def describe_attention(weights: Tensor, length: int) -> AttentionWeights:
    """Describe a row of `length` real tokens; weights [layers, heads, columns, columns].

    Queries are real tokens only: the head never reads a pad's output directly. Shares are summed
    before the weights are rounded.
    """
    queries = weights[:, :, :length].double()
    leaks = queries[..., length:].sum(dim=-1)
    scaled = np.rint(queries.numpy() * WEIGHT_SCALE)
    # Only an exact zero is shown as zero.
    rounded = np.where(queries.numpy() > 0, np.maximum(scaled, 1), scaled).astype("<u2")
    return AttentionWeights(
        weights=base64.b64encode(rounded.tobytes()).decode("ascii"),
        leaks=tuple(tuple(map(_shares, layer)) for layer in leaks),
        head_leaks=tuple(map(_shares, leaks.mean(dim=-1))),
        leak=float(leaks.mean()),
    )


def _shares(values: Tensor) -> tuple[float, ...]:
    """Round to six significant digits: more would only make the page longer."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())


def _max_tokens(model: LessonModel, num_sentences: int) -> int:
    """Columns that fit on the page for this many rows, every layer and head, twice."""
    encoder = model.config.encoder
    num_heads = encoder.layers[0].attention.num_heads
    squares = MAX_WEIGHTS // (2 * encoder.num_layers * num_heads * num_sentences)
    affordable = max(_FEWEST_TOKENS, math.isqrt(squares))
    return min(affordable, MAX_TOKENS, model.max_tokens)


def _highest(logits: LogitRow) -> list[int]:
    """Indices of the highest logits, in the checkpoint's order."""
    by_height = sorted(range(len(logits)), key=lambda index: -logits[index])
    return sorted(by_height[:MAX_LABELS])


def _model_info(model: LessonModel) -> ModelInfo:
    config = model.config
    return ModelInfo(
        checkpoint=model.name,
        family=config.family.model_type,
        labels=config.head.labels,
        num_layers=config.encoder.num_layers,
        num_heads=config.encoder.layers[0].attention.num_heads,
        pad_token=model.pad_token,
        versions=f"isobatch {__version__}, torch {torch.__version__}",
        instruction_set=instruction_set("fp32"),
    )
