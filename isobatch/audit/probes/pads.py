"""Probes that put pads in on purpose, by token ids: what stands in them, how many, on which side.

Invariant: the tokens of the text and their mask are the same in everything that is compared.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isobatch.audit.naming import PaddedText, name_of_content_fault, unread_edge
from isobatch.audit.padding import Pads, pad, positions_by_mask
from isobatch.audit.probing import Outcome, describe, in_one_line, judged, largest, probe
from isobatch.audit.session import NotTestedError, Session
from isobatch.audit.subject import Answers, Side

FEW_PADS = 6
MANY_ROWS = 8
"""Some mistakes are made in larger batches only."""
AMOUNTS = (1, 2, 7, 31)


@probe(
    "mask-honoured",
    changes="the content of the pads; shape, mask and text stay the same",
    proves="that nothing of a pad reaches an answer: not one bit may move",
)
def mask_honoured(session: Session) -> Outcome:
    """Pads of the padding id against pads of two ordinary ids."""
    model = session.padded
    rows = session.rows(9, FEW_PADS)
    rows = [rows[place % len(rows)] for place in range(max(MANY_ROWS, len(rows)))]
    usual = Pads(max(map(len, rows)) + FEW_PADS, model.padding_side, (model.pad_id,))
    others = [replace(usual, content=content) for content in _contents(model.filler_ids)]
    before = session.forward(pad(rows, usual))
    after = np.concatenate([session.forward(pad(rows, pads)) for pads in others])
    movement = session.compare(np.concatenate([before] * len(others)), after)
    summary = describe(movement, "with the content of the pads")
    if not movement.moved_rows and not movement.broken_rows:
        if unread_edge(session, rows):
            summary += "; but the last token of the text is not read"
            return Outcome("bug", summary, movement, ("mask-off-by-one",))
        return Outcome("exact", summary, movement)
    if not session.tolerance.exceeded(session.compare(session.forward_alone(rows), before)):
        summary += "; pads of the padding id move nothing, so the model knows pads by their id"
        return Outcome("note", summary, movement)
    return Outcome("bug", summary, movement, (name_of_content_fault(session, rows),))


def _contents(filler_ids: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(filler_ids[:1]), tuple(reversed(filler_ids))]


@probe(
    "mask-forgotten",
    changes="the attention mask is left out, as in the well-known mistake",
    proves="nothing of the system; says what the mistake would cost with this model",
)
def mask_forgotten(session: Session) -> Outcome:
    """A padded batch without a mask against each text alone."""
    model = session.padded
    rows = session.rows(12, FEW_PADS)
    pads = Pads(max(map(len, rows)), model.padding_side, (model.pad_id,))
    try:
        after = session.forward(replace(pad(rows, pads), attention_mask=None))
    except Exception as error:  # noqa: BLE001  # a refusal is what is told
        refusal = in_one_line(f"{type(error).__name__}: {error}")
        return Outcome("note", f"a batch without a mask is refused: {refusal}")
    movement = session.compare(session.forward_alone(rows), after)
    words = f"would move {movement.moved_rows} of {movement.rows} answers by up to"
    flips = f" and flip {movement.flips} labels" if movement.flips else ""
    return Outcome("note", f"{words} {largest(movement):.2g}{flips}", movement)


@probe(
    "pad-amount",
    changes="how many pads a text has, the mask telling them all",
    proves="that the width of the batch does not enter an answer",
)
def pad_amount(session: Session) -> Outcome:
    """Each text with more and more pads, on the side where the system has them, against none."""
    model = session.padded
    room = (model.max_tokens or 10**6) // 2
    amounts = [amount for amount in AMOUNTS if amount <= room]
    rows = session.rows(6, max(amounts, default=1))
    alone = session.forward_alone(rows)
    after = np.concatenate(
        [_padded_by(session, rows, amount, model.padding_side) for amount in amounts]
    )
    movement = session.compare(np.concatenate([alone] * len(amounts)), after)
    return judged(session, movement, "pad-amount-counts", "with the number of pads")


def _padded_by(
    session: Session, rows: Sequence[Sequence[int]], amount: int, side: Side, *, told: bool = False
) -> Answers:
    """Each row by itself with so many pads; told: with position_ids made from the mask."""
    answers = []
    for row in rows:
        rectangle = pad([row], Pads(len(row) + amount, side, (session.padded.pad_id,)))
        start = session.padded.positions_start
        if told and start is not None and rectangle.attention_mask is not None:
            positions = positions_by_mask(rectangle.attention_mask, start)
            rectangle = replace(rectangle, position_ids=positions)
        answers.append(session.forward(rectangle))
    return np.concatenate(answers)


@probe(
    "pad-side",
    changes="the side on which the pads stand",
    proves="that positions follow the text, and the head finds its token, wherever the pads are",
)
def pad_side(session: Session) -> Outcome:
    """The system's own side is judged; what the other one would cost is told."""
    used = session.padded.padding_side
    other: Side = "left" if used == "right" else "right"
    rows = session.rows(6, FEW_PADS)
    alone = session.forward_alone(rows)
    moved = {
        side: session.compare(alone, _padded_by(session, rows, FEW_PADS, side))
        for side in (used, other)
    }
    wrong = {side: session.tolerance.exceeded(movement) for side, movement in moved.items()}
    if wrong[used] and used == "left" and _positions_cure(session, rows, alone, not wrong[other]):
        summary = describe(moved[used], "when pads stand on the left, where this system has them")
        return Outcome("bug", summary, moved[used], ("left-padding-shifts-positions",))
    if wrong[other]:
        cost = largest(moved[other])
        summary = (
            f"pads stand on the {used} here; on the {other} they would move answers by {cost:.2g}"
        )
        return Outcome("note", summary, moved[other])
    return judged(session, moved[used], "pad-amount-counts", f"with pads on the {used}")


def _positions_cure(
    session: Session, rows: Sequence[Sequence[int]], alone: Answers, right_is_sound: bool
) -> bool:
    """Whether it is the positions: those of the mask cure it, or pads on the right do no harm."""
    if session.padded.positions_start is None:
        return right_is_sound
    told = session.compare(alone, _padded_by(session, rows, FEW_PADS, "left", told=True))
    return not session.tolerance.exceeded(told)


@probe(
    "head-pooling",
    changes="the content of the pads, looking at the hidden states of the text's own tokens",
    proves="whether encoder or head lets pads in",
)
def head_pooling(session: Session) -> Outcome:
    """The last hidden states of a text's tokens, and its logits, each against each."""
    if session.padded.hidden is None:
        raise NotTestedError("the system does not show its hidden states")
    moved_states = moved_answers = False
    for row in session.rows(4, FEW_PADS):
        text = PaddedText(session, row)
        moved_states |= text.matters(text.states, text.rectangle, *text.columns)
        moved_answers |= text.matters(text.answer, text.rectangle, *text.columns)
    if moved_answers and not moved_states:
        return Outcome(
            "note", "the text's hidden states keep their bits, the logits do not: the head"
        )
    if moved_states:
        return Outcome("note", "the text's own hidden states move: the encoder lets pads in")
    return Outcome("exact", "neither the text's hidden states nor its logits move by a bit")
