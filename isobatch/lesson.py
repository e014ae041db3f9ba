"""The lesson of the forgotten attention mask, replayed on any checkpoint in four steps.

Uses the drop-in API, as a reader of the lesson would.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from isobatch.compat import AutoModelForSequenceClassification, AutoTokenizer
from isobatch.errors import MissingAttentionMaskWarning, OptionError

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


def replay_lesson(
    path: str | Path | None = None,
    sentences: tuple[str, ...] = SENTENCES,
    revision: str | None = None,
) -> tuple[LessonStep, ...]:
    """Run the four steps on the checkpoint at `path`: a folder, a hub id, or bundled (None).

    Raises OptionError for fewer than two sentences.
    """
    if len(sentences) < 2:
        raise OptionError(f"the lesson needs at least two sentences, got {len(sentences)}")
    session = _Session(path, sentences, revision)
    first = sentences[:1]
    return (
        session.step("one sentence, input_ids alone", first, masked=False),
        session.step("the same, with its mask", first, masked=True),
        session.step("padded, mask forgotten", sentences, masked=False),
        session.step("padded, mask passed", sentences, masked=True),
    )


class _Session:
    """A tokenizer, a model, and each sentence's logits alone."""

    def __init__(
        self, path: str | Path | None, sentences: Sequence[str], revision: str | None
    ) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
        self.model = AutoModelForSequenceClassification.from_pretrained(path, revision=revision)
        self.alone = torch.cat([self._logits(self._inputs([text])) for text in sentences])

    def step(self, title: str, texts: Sequence[str], *, masked: bool) -> LessonStep:
        inputs = self._inputs(texts)
        mask = inputs["attention_mask"] if masked else None
        logits = self._logits({**inputs, "attention_mask": mask})
        rows = self._rows(inputs["input_ids"], mask, logits)
        return LessonStep(title, "model(**inputs)" if masked else "model(inputs.input_ids)", rows)

    def _inputs(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return dict(self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt"))

    def _logits(self, inputs: Mapping[str, Tensor | None]) -> Tensor:
        with torch.no_grad(), warnings.catch_warnings():
            # The lesson omits the mask on purpose, and its table shows the effect.
            warnings.simplefilter("ignore", MissingAttentionMaskWarning)
            logits: Tensor = self.model(**inputs).logits
        return logits

    def _rows(
        self, input_ids: Tensor, mask: Tensor | None, logits: Tensor
    ) -> tuple[LessonRow, ...]:
        return tuple(
            LessonRow(
                tokens=tuple(map(str, self.tokenizer.convert_ids_to_tokens(input_ids[index]))),
                input_ids=tuple(input_ids[index].tolist()),
                attention_mask=None if mask is None else tuple(mask[index].tolist()),
                logits=tuple(row.tolist()),
                label=self.model.config.id2label[int(row.argmax())],
                moved=float((row - self.alone[index]).abs().max()),
                same_bits=torch.equal(row, self.alone[index]),
                flipped=bool(row.argmax() != self.alone[index].argmax()),
            )
            for index, row in enumerate(logits)
        )
