"""AuditSession: one subject, its texts, and all that probes share; and the form of a probe.

Invariant: outputs from here have one row for each text that a probe sent, or it gets an error. No
probe draws a conclusion from another one; that is left to the diagnosis.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isobatch.audit.faults import FAULTS
from isobatch.audit.movement import Tolerance, compare, largest_gaps, tolerance_of
from isobatch.audit.output_rows import aligned, stack_rows, token_rows
from isobatch.audit.report_data import AuditVerdict, Movement, Status
from isobatch.audit.shifts import count_shifted
from isobatch.audit.subject import (
    AnswerError,
    Outputs,
    PaddedModel,
    PaddingSide,
    Pads,
    Rectangle,
    RowCountError,
    Subject,
    pad,
)
from isobatch.drawing.display_text import counted
from isobatch.errors import AuditError

SEED = 7
LARGEST_BATCH = 32
NO_LIMIT = 10**6


class NotTestedError(Exception):
    """A probe cannot run on this subject; the message says why."""


class BatchFailedError(Exception):
    """A batch was refused."""

    def __init__(self, texts: Sequence[str], error: Exception) -> None:
        known = isinstance(error, AnswerError)
        super().__init__(str(error) if known else f"{type(error).__name__}: {error}")
        self.texts = tuple(texts)
        self.lost_rows = isinstance(error, RowCountError)


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """A probe's observations; `faults` are names of isobatch.audit.faults that would explain it."""

    status: Status
    summary: str
    movement: Movement | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """One way of sending texts that must not change a result."""

    name: str
    changes: str
    proves: str
    run: Callable[["AuditSession"], ProbeOutcome]


def probe(
    name: str, *, changes: str, proves: str
) -> Callable[[Callable[["AuditSession"], ProbeOutcome]], Probe]:
    """Make a Probe of a function."""
    return lambda run: Probe(name, changes, proves, run)


@dataclass
class AuditSession:
    """The state of a running audit; all its random numbers come from one seed."""

    subject: Subject
    texts: tuple[str, ...]
    quick: bool = False

    def leave_out_failing(self) -> list[BatchFailedError]:
        """Keep only the texts that have a result alone; return the errors of the others.

        With fewer than two, none is left out: `alone` then raises the AuditError.
        """
        accepted, outputs, errors = [], [], []
        for text in self.texts:
            try:
                outputs.append(self.predict([text]))
                accepted.append(text)
            except BatchFailedError as error:
                errors.append(error)
        if len(accepted) >= 2:
            self.texts = tuple(accepted)
            self.__dict__["alone"] = self._finite(stack_rows(outputs))
        return errors

    @cached_property
    def alone(self) -> Outputs:
        """The outputs for each text alone; AuditError if there are none, or none is finite."""
        return self._finite(stack_rows([self._predict_alone(text) for text in self.texts]))

    def refuse_constant(self) -> None:
        """Raise AuditError if all texts have one result, in which no fault can be seen."""
        if (self.alone == self.alone[:1]).all():
            raise AuditError(
                f"{self.subject.name}: all texts have the same result, in which "
                "no fault could be seen. Audit a system whose results depend on the text"
            )

    @cached_property
    def tolerance(self) -> Tolerance:
        """The part that rounding may have here: by the outputs' format, and by copies of a text.

        If two identical calls differ, the system is nondeterministic, and no noise is allowed for.
        """
        text = max(self.texts, key=len)
        sizes = [size for size in (2, 3, 8) if size <= self.largest_batch]
        alone = self._predict_alone(text)
        if not np.array_equal(alone, self._predict_alone(text)):
            return self._tolerance(0.0)
        try:
            rows = [self.predict([text] * size) for size in sizes]
        except BatchFailedError:
            rows = []
        gaps = [largest_gaps(alone.repeat(len(each), axis=0), each).max() for each in rows]
        return self._tolerance(max(filter(np.isfinite, gaps), default=0.0))

    @property
    def largest_batch(self) -> int:
        """The maximum number of texts in one call."""
        return min(self.subject.max_texts or LARGEST_BATCH, LARGEST_BATCH)

    @property
    def padded(self) -> PaddedModel:
        """The subject by token ids; NotTestedError where it takes texts only."""
        if self.subject.padded is None:
            raise NotTestedError("the system takes only texts: its pads and mask are not visible")
        return self.subject.padded

    def require_batches(self) -> None:
        """NotTestedError if the subject takes one text per call."""
        if self.largest_batch < 2:
            raise NotTestedError("the system takes one text per call")

    def rows(self, number: int, spare: int) -> list[list[int]]:
        """Tokenize `number` texts, cut in the middle so that `spare` pads fit next to them."""
        limit = (self.padded.max_tokens or NO_LIMIT) - spare
        if limit < 3:
            raise NotTestedError(f"the model reads {self.padded.max_tokens} tokens: too few to pad")
        rows = [self.padded.encode(self.texts[index]) for index in self.some(number)]
        return [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in rows if row]

    def forward(self, rectangle: Rectangle) -> Outputs:
        """Return the outputs for a padded batch of token ids."""
        return self._checked(self.padded.forward(rectangle), len(rectangle.input_ids))

    def forward_alone(
        self,
        rows: Sequence[Sequence[int]],
        positions_start: int | None = None,
        *,
        num_pads: int = 0,
        side: PaddingSide = "right",
    ) -> Outputs:
        """Return the outputs for each row by itself, padded as by `pad`."""
        outputs = []
        for row in rows:
            pads = Pads(len(row) + num_pads, side, (self.padded.pad_id,))
            outputs.append(self.forward(pad([row], pads, positions_start)))
        return stack_rows(outputs)

    def predict(self, texts: Sequence[str]) -> Outputs:
        """Return the outputs for one batch; BatchFailedError if it is refused."""
        try:
            return self._checked(self.subject.predict(list(texts)), len(texts))
        except Exception as error:
            if isinstance(error, AuditError) and not isinstance(error, AnswerError):
                raise
            raise BatchFailedError(texts, error) from error

    def compare(self, before: Outputs, *after: Outputs) -> Movement:
        """Measure how far the rows moved from `before` to each of `after`."""
        one, other = stack_rows([before] * len(after)), stack_rows(after)
        subject = self.subject
        movement = compare(
            one,
            other,
            gives_scores=subject.gives_scores,
            reads=subject.reads,
            token_size=subject.token_size,
        )
        if not subject.token_size or not movement.moved_rows:
            return movement
        entities, allowed = subject.reads == "entities", self.tolerance.absolute
        shifted = count_shifted(
            *aligned(one, other), subject.token_size, entities=entities, allowed=allowed
        )
        return replace(movement, shifted_rows=shifted)

    def some(self, number: int) -> range:
        """Return indices of `number` texts, of fewer in a quick audit."""
        return range(min(len(self.texts), max(2, number // 3) if self.quick else number))

    def generator(self, probe: str) -> random.Random:
        """Return a probe's own random number generator, the same in every run."""
        return random.Random(f"{SEED} {probe}")

    def judged(
        self, movement: Movement, fault: str, condition: str, *, exact_bits: bool = False
    ) -> ProbeOutcome:
        """Judge a movement that should not be: `fault` beyond rounding, else only drift.

        condition: when it moved, e.g. "with the batch's size". exact_bits: shapes and kernels were
        the same, so that the least movement already shows the fault.
        """
        status = self.tolerance.judge(movement)
        summary = describe(movement, condition)
        if exact_bits:
            return ProbeOutcome(status, summary, movement, (fault,) if movement.moved_rows else ())
        if movement.broken_rows and not FAULTS[fault].names_nan:
            fault = fault if self.tolerance.exceeded(movement) else "not-finite"
        elif movement.resized_rows and self.subject.reads != "entities":
            fault = "pads-returned"
        elif movement.shifted_rows:
            fault = "offsets-shifted"
        faults: dict[AuditVerdict, tuple[str, ...]]
        faults = {"bug": (fault,), "drift": ("rounding",), "exact": ()}
        return ProbeOutcome(status, summary, movement, faults[status])

    def _finite(self, outputs: Outputs) -> Outputs:
        if not np.isfinite(outputs).any():
            raise AuditError(
                f"{self.subject.name}: the output is NaN or infinite for every text. Look for NaN "
                "in the weights, or for a float format that overflows"
            )
        return outputs

    def _checked(self, outputs: Outputs, rows: int) -> Outputs:
        if outputs.ndim != 2 or len(outputs) != rows:
            raise RowCountError(
                f"{self.subject.name}: expected one row for each of {counted(rows, 'text')}, "
                f"got the shape {list(outputs.shape)}"
            )
        return outputs

    def _tolerance(self, noise: float) -> Tolerance:
        subject, size = self.subject, self.subject.token_size
        outputs = token_rows(self.alone, size) if size else self.alone
        return tolerance_of(outputs, noise, gives_scores=subject.gives_scores, dtype=subject.dtype)

    def _predict_alone(self, text: str) -> Outputs:
        try:
            return self.predict([text])
        except BatchFailedError as error:
            raise AuditError(
                f"{self.subject.name}: the text {text!r} has no result alone, with which the "
                f"others could be compared: {error}"
            ) from error.__cause__


def describe(movement: Movement, condition: str) -> str:
    """Describe the movement in a sentence; `condition` as in `judged`."""
    if not movement.moved_rows and not movement.broken_rows:
        return f"the same bits {condition}, {movement.rows} of {movement.rows} times"
    words = f"{movement.moved_rows} of {counted(movement.rows, 'result')} moved {condition}"
    words += f", by up to {movement.largest:.2g}"
    if movement.flips:
        words += f"; {counted(movement.flips, 'label')} flipped"
    if movement.broken_rows:
        words += f"; NaN or infinite: {movement.broken_rows}"
    return words


def in_one_line(error: object, most: int = 200) -> str:
    """Return an error's message without line breaks, cut to `most` characters to fit a table."""
    return " ".join(str(error).split())[:most]
