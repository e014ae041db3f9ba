"""The lesson in four steps: one sentence alone, then in a padded batch, without its mask and with.

Uses the drop-in API, as a reader of the lesson would.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isobatch.checkpoint.text_encoder import input_error
from isobatch.compat import AutoModelForSequenceClassification, AutoTokenizer
from isobatch.errors import InputError, MissingAttentionMaskWarning, OptionError

SENTENCES = ("Today is a nice day!", "But what about tomorrow? Im not sure.")


@dataclass(frozen=True, slots=True)
class LessonRow:
    """One sentence in one step, against its logits alone; `moved` is their largest difference.

    tokens: one for each of `input_ids`, pads included, as the vocabulary spells them.
    """

    tokens: tuple[str, ...]
    input_ids: tuple[int, ...]
    attention_mask: tuple[int, ...] | None
    logits: tuple[float, ...]
    label: str
    moved: float
    same_bits: bool
    flipped: bool

    @property
    def verdict(self) -> str:
        """Summary of the comparison with the sentence alone."""
        if self.same_bits:
            return "same bits as alone"
        flip = ", and the label flipped" if self.flipped else ""
        return f"moved by {self.moved:.2g}{flip}"


@dataclass(frozen=True, slots=True)
class LessonStep:
    """One call of the model."""

    title: str
    call: str
    rows: tuple[LessonRow, ...]

    def as_dict(self) -> dict[str, object]:
        """Convert to plain values for JSON."""
        rows = [asdict(row) | {"verdict": row.verdict} for row in self.rows]
        return {"title": self.title, "call": self.call, "rows": rows}


class LessonCheckpoint:
    """A tokenizer and a classifier of the drop-in API, or two that have the same methods."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.max_tokens: int = min(tokenizer.model_max_length, model.num_tokens)

    @classmethod
    def from_pretrained(
        cls, path: str | Path | None = None, revision: str | None = None
    ) -> "LessonCheckpoint":
        """Load a folder, a hub id, or the bundled model (None)."""
        return cls(
            AutoTokenizer.from_pretrained(path, revision=revision),
            AutoModelForSequenceClassification.from_pretrained(path, revision=revision),
        )

    def inputs(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokenize, cut at `max_tokens`, and pad: tensors of [texts, columns]."""
        options = {"truncation": True, "max_length": self.max_tokens}
        return dict(self.tokenizer(list(texts), padding=True, return_tensors="pt", **options))

    def logits(self, inputs: Mapping[str, Tensor], *, masked: bool) -> Tensor:
        """Compute [texts, labels], with the attention mask of `inputs` or with none."""
        mask = inputs["attention_mask"] if masked else None
        with torch.no_grad(), warnings.catch_warnings():
            # The lesson omits the mask on purpose, and its table shows the effect.
            warnings.simplefilter("ignore", MissingAttentionMaskWarning)
            logits: Tensor = self.model(**{**inputs, "attention_mask": mask}).logits
        return logits

    def label(self, logits: Tensor) -> str:
        """Return the label of the highest of one row of logits."""
        label: str = self.model.config.id2label[int(logits.argmax())]
        return label

    def steps(self, sentences: Sequence[str]) -> tuple[LessonStep, ...]:
        """Run the four steps; raises as `check_sentences` does."""
        check_sentences(sentences)
        replay = _Replay(self, sentences)
        first = sentences[:1]
        return (
            replay.step("one sentence, input_ids alone", first, masked=False),
            replay.step("the same, with its mask", first, masked=True),
            replay.step("padded, mask forgotten", sentences, masked=False),
            replay.step("padded, mask passed", sentences, masked=True),
        )


def check_sentences(sentences: Sequence[object]) -> None:
    """Raise OptionError for fewer than two sentences, InputError for one that is not a text."""
    if isinstance(sentences, str) or len(sentences) < 2:
        found = "a string" if isinstance(sentences, str) else len(sentences)
        raise OptionError(f"the lesson needs at least two sentences, got {found}")
    for number, sentence in enumerate(sentences, 1):
        if isinstance(sentence, tuple):
            raise InputError(f"sentence {number}: expected a sentence, got a pair")
        if wrong := input_error(sentence, number):
            raise InputError(f"sentence {number}: {wrong.reason}")


def replay_lesson(
    path: str | Path | None = None,
    sentences: tuple[str, ...] = SENTENCES,
    revision: str | None = None,
) -> tuple[LessonStep, ...]:
    """Run the four steps on the checkpoint at `path`: a folder, a hub id, or bundled (None).

    Raises as `check_sentences` does.
    """
    return LessonCheckpoint.from_pretrained(path, revision).steps(sentences)


class _Replay:
    """A checkpoint, and each sentence's logits alone."""

    def __init__(self, checkpoint: LessonCheckpoint, sentences: Sequence[str]) -> None:
        self.checkpoint = checkpoint
        alone = [checkpoint.logits(checkpoint.inputs([text]), masked=False) for text in sentences]
        self.alone = torch.cat(alone)

    def step(self, title: str, texts: Sequence[str], *, masked: bool) -> LessonStep:
        inputs = self.checkpoint.inputs(texts)
        rows = self._rows(inputs, self.checkpoint.logits(inputs, masked=masked), masked=masked)
        return LessonStep(title, "model(**inputs)" if masked else "model(inputs.input_ids)", rows)

    def _rows(
        self, inputs: Mapping[str, Tensor], logits: Tensor, *, masked: bool
    ) -> tuple[LessonRow, ...]:
        input_ids, mask = inputs["input_ids"], inputs["attention_mask"]
        named = self.checkpoint.tokenizer.convert_ids_to_tokens
        return tuple(
            LessonRow(
                tokens=tuple(map(str, named(input_ids[index]))),
                input_ids=tuple(input_ids[index].tolist()),
                attention_mask=tuple(mask[index].tolist()) if masked else None,
                logits=tuple(row.tolist()),
                label=self.checkpoint.label(row),
                moved=float((row - self.alone[index]).abs().max()),
                same_bits=torch.equal(row, self.alone[index]),
                flipped=bool(row.argmax() != self.alone[index].argmax()),
            )
            for index, row in enumerate(logits)
        )
