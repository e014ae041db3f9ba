"""Probes of positions: where they start, what counts them, and what a padding id does in a text.

Invariant: there is no pad in any of these batches, so that nothing else can move an answer.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isobatch.audit.padding import positions_by_mask, without_pads
from isobatch.audit.probing import Outcome, describe, largest, probe
from isobatch.audit.session import NotTestedError, Session
from isobatch.audit.subject import Answers


@probe(
    "position-offsets",
    changes="position_ids are passed as they should be, in the place of the model's own",
    proves="that the model counts positions one by one from its first, in every text",
)
def position_offsets(session: Session) -> Outcome:
    """Ordinary texts alone; a model may only be asked so if it takes position_ids."""
    start = _start(session)
    rows = session.rows(9, 0)
    own, told = session.forward_alone(rows), _with_positions(session, rows, start)
    movement = session.compare(own, told)
    if movement.moved_rows:
        status = session.tolerance.judge(movement)
        faults = ("padding-id-positions",) if status == "bug" else ("rounding",)
        return Outcome(status, describe(movement, "with position_ids passed"), movement, faults)
    summary = f"positions start at {start}, as they should"
    if start:
        zero = session.compare(own, _with_positions(session, rows, 0))
        summary += (
            f"; started at 0, as packing tools do, they would move answers by {largest(zero):.2g}"
        )
    return Outcome("exact", summary, movement)


@probe(
    "pad-id-inside",
    changes="a token within the text, and one at its end, becomes the padding id, masked in",
    proves="that the mask says what is a pad, and not the id",
)
def pad_id_inside(session: Session) -> Outcome:
    """A fault if the tokenizer itself makes the padding id of ordinary texts, else worth a note."""
    model = session.padded
    rows = [row for row in session.rows(6, 1) if len(row) > 4]
    if not rows:
        raise NotTestedError("no text is long enough to hold a padding id")
    seen = [
        what
        for what, found in (
            ("positions are counted by it", _shifts_positions(session, rows)),
            ("a text that ends with it is read without its end", _hides_the_end(session, rows)),
        )
        if found
    ]
    if not seen:
        return Outcome("exact", "the padding id is a token like others where the mask says so")
    also = f"; it is {' and '.join(model.pad_is_also)} too" if model.pad_is_also else ""
    summary = (
        f"the padding id ({model.pad_id}) within a text counts as a pad: {'; '.join(seen)}{also}"
    )
    if any(model.pad_id in model.encode(text) for text in session.texts):
        return Outcome("bug", summary, faults=("pad-id-in-text",))
    if not model.counts_pad_ids and "positions" in seen[0]:
        return Outcome("bug", summary, faults=("padding-id-positions",))
    return Outcome("note", summary)


def _shifts_positions(session: Session, rows: Sequence[Sequence[int]]) -> bool:
    """Whether the model's own positions of such a text are others than those one by one."""
    if (start := session.padded.positions_start) is None:
        return False
    inside = [[*row[:2], session.padded.pad_id, *row[3:]] for row in rows]
    own, told = session.forward_alone(inside), _with_positions(session, inside, start)
    return session.tolerance.exceeded(session.compare(own, told))


def _hides_the_end(session: Session, rows: Sequence[Sequence[int]]) -> bool:
    """Whether the padding id at the end changes nothing, though another id there does."""
    model = session.padded
    alone = session.forward_alone(rows)
    closed = session.forward_alone([[*row, model.pad_id] for row in rows])
    longer = session.forward_alone([[*row, model.filler_ids[0]] for row in rows])
    hidden = not session.tolerance.exceeded(session.compare(alone, closed))
    return hidden and session.tolerance.exceeded(session.compare(alone, longer))


def _start(session: Session) -> int:
    if (start := session.padded.positions_start) is None:
        raise NotTestedError("the model takes no position_ids")
    return start


def _with_positions(session: Session, rows: Sequence[Sequence[int]], start: int) -> Answers:
    answers = []
    for row in rows:
        rectangle = without_pads([row])
        assert rectangle.attention_mask is not None
        positions = positions_by_mask(rectangle.attention_mask, start)
        answers.append(session.forward(replace(rectangle, position_ids=positions)))
    return np.concatenate(answers)
