"""Session: one subject, the texts it is asked, and what several probes need to know of it.

Each text's answer alone is asked once. Invariant: whatever a probe gets from here has one row for
each text that it asked, or it gets an error.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isobatch.audit.movement import Tolerance, compare, largest_gaps, tolerance_of
from isobatch.audit.padding import without_pads
from isobatch.audit.result import Movement
from isobatch.audit.subject import (
    AnswerError,
    Answers,
    PaddedModel,
    Rectangle,
    RowCountError,
    Subject,
)
from isobatch.errors import AuditError

SEED = 7
LARGEST_BATCH = 32


class NotTestedError(Exception):
    """A probe cannot be run on this subject; the message says why."""


class BatchFailedError(Exception):
    """A batch was refused, though each of its texts is answered alone."""

    def __init__(self, texts: Sequence[str], error: Exception) -> None:
        known = isinstance(error, AnswerError)
        super().__init__(str(error) if known else f"{type(error).__name__}: {error}")
        self.texts = tuple(texts)
        self.lost_rows = isinstance(error, RowCountError)


@dataclass
class Session:
    """What an audit knows while it runs; everything it draws is drawn from one seed."""

    subject: Subject
    texts: tuple[str, ...]
    quick: bool = False

    @cached_property
    def alone(self) -> Answers:
        """The answer to each text alone; AuditError if there is none, or if it is no number."""
        answers = np.concatenate([self._asked_alone(text) for text in self.texts])
        if not np.isfinite(answers).any():
            raise AuditError(f"{self.subject.name}: no text is answered with a finite number")
        return answers

    @cached_property
    def tolerance(self) -> Tolerance:
        """What rounding may do here: by the format of the answers, and by what equal texts show.

        What differs between two equal calls is no rounding, so that nothing is allowed for it.
        """
        text = max(self.texts, key=len)
        sizes = [size for size in (2, 3, 8) if size <= self.largest_batch]
        alone = self._asked_alone(text)
        if not np.array_equal(alone, self._asked_alone(text)):
            return self._tolerance(0.0)
        try:
            rows = [self.ask([text] * size) for size in sizes]
        except BatchFailedError:
            rows = []
        gaps = [largest_gaps(alone.repeat(len(each), axis=0), each).max() for each in rows]
        return self._tolerance(max(filter(np.isfinite, gaps), default=0.0))

    @property
    def largest_batch(self) -> int:
        """The most texts of one call."""
        return min(self.subject.max_texts or LARGEST_BATCH, LARGEST_BATCH)

    @property
    def padded(self) -> PaddedModel:
        """The subject by token ids; NotTestedError where it cannot be asked so."""
        if self.subject.padded is None:
            raise NotTestedError("the system takes texts only: nobody sees its pads or its mask")
        return self.subject.padded

    def rows(self, number: int, spare: int) -> list[list[int]]:
        """Token ids of so many texts, cut in the middle so that `spare` pads fit beside them."""
        limit = (self.padded.max_tokens or 10**6) - spare
        if limit < 3:
            raise NotTestedError(f"the model reads {self.padded.max_tokens} tokens: too few to pad")
        rows = [self.padded.encode(self.texts[index]) for index in self.some(number)]
        return [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in rows if row]

    def forward(self, rectangle: Rectangle) -> Answers:
        """The answers to a padded batch of token ids."""
        return self.checked(self.padded.forward(rectangle), len(rectangle.input_ids))

    def forward_alone(self, rows: Sequence[Sequence[int]]) -> Answers:
        """The answer to each row by itself, without a pad."""
        return np.concatenate([self.forward(without_pads([row])) for row in rows])

    def ask(self, texts: Sequence[str]) -> Answers:
        """The answers to one batch; BatchFailedError if it is refused."""
        try:
            return self.checked(self.subject.answer(list(texts)), len(texts))
        except Exception as error:
            if isinstance(error, AuditError) and not isinstance(error, AnswerError):
                raise
            raise BatchFailedError(texts, error) from error

    def checked(self, answers: Answers, rows: int) -> Answers:
        """`answers`, which must have so many rows."""
        if answers.ndim != 2 or len(answers) != rows:
            raise RowCountError(
                f"{self.subject.name}: {rows} texts were asked, and the answer has the shape "
                f"{list(answers.shape)}; one row for each text is needed"
            )
        return answers

    def compare(self, before: Answers, after: Answers) -> Movement:
        """How far the rows moved."""
        return compare(before, after, gives_scores=self.subject.gives_scores)

    def some(self, number: int) -> range:
        """Indices of so many texts, fewer in a quick audit."""
        return range(min(len(self.texts), max(2, number // 3) if self.quick else number))

    def chance(self, probe: str) -> random.Random:
        """Random numbers of a probe's own, the same in every run."""
        return random.Random(f"{SEED} {probe}")

    def _tolerance(self, noise: float) -> Tolerance:
        scores, stated = self.subject.gives_scores, self.subject.facts.get("dtype")
        return tolerance_of(self.alone, noise, gives_scores=scores, stated=stated)

    def _asked_alone(self, text: str) -> Answers:
        try:
            return self.checked(self.subject.answer([text]), 1)
        except Exception as error:
            if isinstance(error, AuditError) and not isinstance(error, AnswerError):
                raise
            failed = BatchFailedError([text], error)
            raise AuditError(
                f"{self.subject.name}: the text {text!r} has no answer alone, to which the others "
                f"could be compared: {failed}"
            ) from error
