"""From sentences to LessonData: the padded batch, its attention, its logits, and its company.

It writes no HTML. Invariant: each way of computing is compared with its own answer for the sentence
alone, so that a verdict speaks of the batch and not of two libraries' kernels.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from isobatch import __version__
from isobatch.checkpoint.tokenizer import check_texts
from isobatch.errors import InputError, OptionError
from isobatch.page.attention import describe_attention
from isobatch.page.checkpoint import Checkpoint, PaddedBatch, Row, rows_of
from isobatch.page.company import describe_company
from isobatch.page.data import Facts, LessonData, Limits, Outcome, Sentence
from isobatch.page.verdict import compare, float_bits
from isobatch.tasks import score_logits

MAX_SENTENCES = 8
MAX_TOKENS = 64
MAX_CHARACTERS = 2000
MAX_LABELS = 6
"""Logits that are shown of one sentence: the highest ones."""

MAX_WEIGHTS = 2_500_000
"""Attention weights of one page, 2⅔ characters each; wide models get fewer tokens for it."""

_FEWEST_TOKENS = 8


class LessonPage:
    """The lesson on one checkpoint, loaded once and asked often. Make it by `from_pretrained`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @classmethod
    def from_pretrained(
        cls, path: str | Path | None = None, *, revision: str | None = None
    ) -> "LessonPage":
        """Load a folder, a hub id, or the bundled model (None); errors as in the drop-in face."""
        return cls(Checkpoint.from_pretrained(path, revision=revision))

    def data(self, sentences: Sequence[str], *, company: bool = True) -> LessonData:
        """Compute the page for two sentences or more; see `lesson_data`."""
        return lesson_data(self.checkpoint, sentences, company=company)

    def answer(self, request: object) -> dict[str, Any]:
        """What the live page asks its endpoint: {"sentences": [...], "company": false}.

        Returns `LessonData.as_dict()`. `company` may be left out, and is then computed. InputError
        for a request that is anything else.
        """
        if not isinstance(request, Mapping):
            raise InputError(f"expected a JSON object, got {type(request).__name__}")
        sentences, company = request.get("sentences"), request.get("company", True)
        if not isinstance(sentences, list) or len(sentences) < 2:
            raise InputError("sentences must be a list of two sentences or more")
        if not isinstance(company, bool):
            raise InputError(f"company must be true or false, got {type(company).__name__}")
        return self.data(sentences, company=company).as_dict()


def lesson_data(
    checkpoint: Checkpoint, sentences: Sequence[str], *, company: bool = True
) -> LessonData:
    """Everything that the page shows of `sentences`, the first MAX_SENTENCES of them.

    Without `company` the fifty batches of strangers, nine tenths of the work, are left out.
    OptionError for fewer than two sentences, InputError for what is no text.
    """
    if isinstance(sentences, str) or len(sentences) < 2:
        raise OptionError("the lesson needs a list of at least two sentences")
    if pairs := [index for index, text in enumerate(sentences) if isinstance(text, tuple)]:
        raise InputError("expected a sentence, got a pair", pairs[0])
    check_texts(sentences)
    texts = [text[:MAX_CHARACTERS] for text in sentences[:MAX_SENTENCES]]
    max_tokens = _max_tokens(checkpoint, len(texts))
    described = _Batch(checkpoint, texts, max_tokens).sentences()
    return LessonData(
        facts=_facts(checkpoint),
        limits=Limits(MAX_SENTENCES, max_tokens, len(sentences) - len(texts)),
        sentences=described,
        company=describe_company(checkpoint, texts[0], max_tokens) if company else None,
    )


class _Batch:
    """The sentences in one batch, in each of the ways."""

    def __init__(self, checkpoint: Checkpoint, texts: Sequence[str], max_tokens: int) -> None:
        self.texts = texts
        self.head = checkpoint.config.head
        self.batch = batch = checkpoint.pad(texts, max_tokens)
        singles = [checkpoint.pad([text], max_tokens) for text in texts]
        engine = checkpoint.padded
        self.cut = _cut(checkpoint, texts, max_tokens)
        self.unmasked = engine.forward(batch.input_ids, keep_attention=True)
        self.masked = engine.forward(batch.input_ids, batch.attention_mask, keep_attention=True)
        alone = [rows_of(engine.forward(single.input_ids).logits)[0] for single in singles]
        packed_alone = [checkpoint.packed(single)[0] for single in singles]
        self.ways: tuple[tuple[str, list[Row], list[Row]], ...] = (
            ("alone", alone, alone),
            ("forgotten", rows_of(self.unmasked.logits), alone),
            ("masked", rows_of(self.masked.logits), alone),
            ("packed_alone", packed_alone, packed_alone),
            ("packed", checkpoint.packed(batch), packed_alone),
        )

    def sentences(self) -> tuple[Sentence, ...]:
        return tuple(self._sentence(row) for row in range(len(self.texts)))

    def _sentence(self, row: int) -> Sentence:
        length = self.batch.lengths[row]
        assert self.unmasked.attention is not None
        assert self.masked.attention is not None
        shown = _highest(self.ways[0][1][row])
        return Sentence(
            text=self.texts[row],
            cut=self.cut[row],
            tokens=self.batch.tokens[row],
            input_ids=tuple(self.batch.input_ids[row].tolist()),
            attention_mask=tuple(self.batch.attention_mask[row].tolist()),
            num_tokens=length,
            unmasked=describe_attention(self.unmasked.attention[:, row], length),
            masked=describe_attention(self.masked.attention[:, row], length),
            labels=tuple(self.head.labels[index] for index in shown),
            outcomes=tuple(
                self._outcome(way, logits[row], alone[row], shown)
                for way, logits, alone in self.ways
            ),
        )

    def _outcome(self, way: str, logits: Row, alone: Row, shown: Sequence[int]) -> Outcome:
        scores = score_logits(logits, self.head.score_activation)
        best = max(range(len(scores)), key=scores.__getitem__)
        return Outcome(
            way=way,
            logits=tuple(logits[index] for index in shown),
            bits=tuple(float_bits(logits[index]) for index in shown),
            label=self.head.labels[best],
            score=scores[best],
            verdict=compare(logits, alone),
        )


def _max_tokens(checkpoint: Checkpoint, num_sentences: int) -> int:
    """Columns that the page can hold of so many rows, for every layer and head, twice."""
    encoder = checkpoint.config.encoder
    squares = MAX_WEIGHTS // (2 * encoder.num_layers * encoder.num_heads * num_sentences)
    affordable = max(_FEWEST_TOKENS, math.isqrt(squares))
    return min(affordable, MAX_TOKENS, checkpoint.max_tokens)


def _cut(checkpoint: Checkpoint, texts: Sequence[str], max_tokens: int) -> list[bool]:
    """Whether each text had more to say than the page takes."""
    longer: PaddedBatch = checkpoint.pad(texts, max_tokens + 1)
    return [
        length > max_tokens or len(text) == MAX_CHARACTERS
        for length, text in zip(longer.lengths, texts, strict=True)
    ]


def _highest(logits: Row) -> list[int]:
    """Indices of the highest logits, in the checkpoint's order."""
    by_height = sorted(range(len(logits)), key=lambda index: -logits[index])
    return sorted(by_height[:MAX_LABELS])


def _facts(checkpoint: Checkpoint) -> Facts:
    config = checkpoint.config
    return Facts(
        checkpoint=checkpoint.name,
        family=config.family.model_type,
        labels=config.head.labels,
        num_layers=config.encoder.num_layers,
        num_heads=config.encoder.num_heads,
        pad_token=checkpoint.pad_token,
        versions=f"isobatch {__version__}, torch {torch.__version__}",
        instruction_set=torch.backends.cpu.get_cpu_capability(),
    )
