"""Probes by token ids: the content, number and side of pads, positions, and the padding id.

Invariant: the tokens of the text and their mask are the same in everything that is compared.
"""

from collections.abc import Sequence
from dataclasses import replace

from isobatch.audit.probes.pad_faults import PaddedText, name_of_content_fault, unread_edge
from isobatch.audit.session import (
    NO_LIMIT,
    AuditSession,
    NotTestedError,
    ProbeOutcome,
    describe,
    in_one_line,
    probe,
)
from isobatch.audit.subject import Outputs, PaddingSide, Pads, pad
from isobatch.drawing.display_text import counted

FEW_PADS = 6
MANY_ROWS = 8
"""Some mistakes are made in larger batches only."""
AMOUNTS = (1, 2, 7, 31)


@probe(
    "mask-honoured",
    changes="the content of the pads; shape, mask and text stay the same",
    proves="the content of a pad does not reach a result: not one bit may change",
)
def mask_honoured(session: AuditSession) -> ProbeOutcome:
    model = session.padded
    rows = session.rows(9, FEW_PADS)
    rows = [rows[place % len(rows)] for place in range(max(MANY_ROWS, len(rows)))]
    usual = Pads(max(map(len, rows)) + FEW_PADS, model.padding_side, (model.pad_id,))
    contents = model.filler_ids[:1], model.filler_ids[::-1]
    before = session.forward(pad(rows, usual))
    after = [session.forward(pad(rows, replace(usual, content=each))) for each in contents]
    movement = session.compare(before, *after)
    summary = describe(movement, "with the content of the pads")
    if not movement.moved_rows and not movement.broken_rows:
        if unread_edge(session, rows):
            summary += "; but the last token of the text is not read"
            return ProbeOutcome("bug", summary, movement, ("mask-off-by-one",))
        return ProbeOutcome("exact", summary, movement)
    if not session.tolerance.exceeded(session.compare(session.forward_alone(rows), before)):
        summary += "; pads of the padding id move nothing, so the model recognizes pads by their id"
        return ProbeOutcome("note", summary, movement)
    return ProbeOutcome("bug", summary, movement, (name_of_content_fault(session, rows),))


@probe(
    "mask-forgotten",
    changes="the attention mask is left out, as in the well-known mistake",
    proves="nothing about the system; reports what the mistake would cost with this model",
)
def mask_forgotten(session: AuditSession) -> ProbeOutcome:
    model = session.padded
    rows = session.rows(12, FEW_PADS)
    pads = Pads(max(map(len, rows)), model.padding_side, (model.pad_id,))
    try:
        after = session.forward(replace(pad(rows, pads), attention_mask=None))
    except Exception as error:  # noqa: BLE001  # the refusal is the result
        refusal = in_one_line(f"{type(error).__name__}: {error}")
        return ProbeOutcome("note", f"a batch without a mask is refused: {refusal}")
    movement = session.compare(session.forward_alone(rows), after)
    words = f"would move {movement.moved_rows} of {counted(movement.rows, 'result')} by up to"
    flips = f" and flip {counted(movement.flips, 'label')}" if movement.flips else ""
    return ProbeOutcome("note", f"{words} {movement.largest:.2g}{flips}", movement)


@probe(
    "pad-amount",
    changes="how many pads a text has, all of them masked out",
    proves="the width of the batch does not enter a result",
)
def pad_amount(session: AuditSession) -> ProbeOutcome:
    model = session.padded
    room = (model.max_tokens or NO_LIMIT) // 2
    amounts = [amount for amount in AMOUNTS if amount <= room]
    rows = session.rows(6, max(amounts, default=1))
    alone = session.forward_alone(rows)
    side = model.padding_side
    after = [session.forward_alone(rows, num_pads=amount, side=side) for amount in amounts]
    movement = session.compare(alone, *after)
    return session.judged(movement, "pad-amount-counts", "with the number of pads")


@probe(
    "pad-side",
    changes="the side on which the pads are",
    proves="positions follow the text, and the head finds its token, wherever the pads are",
)
def pad_side(session: AuditSession) -> ProbeOutcome:
    """Judge the system's own side; report the cost of the other one as a note."""
    used = session.padded.padding_side
    other: PaddingSide = "left" if used == "right" else "right"
    rows = session.rows(6, FEW_PADS)
    alone = session.forward_alone(rows)
    moved = {
        side: session.compare(alone, session.forward_alone(rows, num_pads=FEW_PADS, side=side))
        for side in (used, other)
    }
    wrong = {side: session.tolerance.exceeded(movement) for side, movement in moved.items()}
    if wrong[used] and used == "left" and _positions_fix_it(session, rows, alone, not wrong[other]):
        summary = describe(moved[used], "with pads on the left, where this system has them")
        return ProbeOutcome("bug", summary, moved[used], ("left-padding-shifts-positions",))
    if wrong[other]:
        cost = moved[other].largest
        summary = (
            f"pads are on the {used} here; on the {other} they would move results by {cost:.2g}"
        )
        return ProbeOutcome("note", summary, moved[other])
    return session.judged(moved[used], "pad-amount-counts", f"with pads on the {used}")


def _positions_fix_it(
    session: AuditSession, rows: Sequence[Sequence[int]], alone: Outputs, right_is_sound: bool
) -> bool:
    """Whether positions by the mask end the movement, or pads on the right cause none."""
    if (start := session.padded.positions_start) is None:
        return right_is_sound
    passed = session.forward_alone(rows, start, num_pads=FEW_PADS, side="left")
    return not session.tolerance.exceeded(session.compare(alone, passed))


@probe(
    "head-pooling",
    changes="the content of the pads, comparing the hidden states of the text's own tokens",
    proves="whether encoder or head lets pads in",
)
def head_pooling(session: AuditSession) -> ProbeOutcome:
    if session.padded.hidden is None:
        raise NotTestedError("the system does not show its hidden states")
    moved_states = moved_logits = False
    for row in session.rows(4, FEW_PADS):
        text = PaddedText(session, row)
        moved_states |= text.matters(text.states, text.rectangle, *text.columns)
        moved_logits |= text.matters(text.output, text.rectangle, *text.columns)
    if moved_states:
        return ProbeOutcome("note", "the text's own hidden states move: the encoder lets pads in")
    if moved_logits:
        return ProbeOutcome(
            "note", "the text's hidden states keep their bits, the logits do not: the head"
        )
    return ProbeOutcome("exact", "neither the text's hidden states nor its logits move by a bit")


@probe(
    "position-offsets",
    changes="correct position_ids are passed instead of the model's own",
    proves="the model counts positions one by one from its first, in every text",
)
def position_offsets(session: AuditSession) -> ProbeOutcome:
    """Send texts alone and without a pad, so that nothing else can move a result."""
    if (start := session.padded.positions_start) is None:
        raise NotTestedError("the model takes no position_ids")
    rows = session.rows(9, 0)
    own = session.forward_alone(rows)
    movement = session.compare(own, session.forward_alone(rows, start))
    if movement.moved_rows:
        status = session.tolerance.judge(movement)
        faults = ("padding-id-positions",) if status == "bug" else ("rounding",)
        summary = describe(movement, "with position_ids passed")
        return ProbeOutcome(status, summary, movement, faults)
    summary = f"positions start at {start}, as they should"
    if start:
        zero = session.compare(own, session.forward_alone(rows, 0)).largest
        summary += f"; started at 0, as packing tools do, they would move results by {zero:.2g}"
    return ProbeOutcome("exact", summary, movement)


@probe(
    "pad-id-inside",
    changes="a token within the text, and one at its end, is replaced by the padding id, with "
    "mask 1",
    proves="the mask defines what is a pad, not the id",
)
def pad_id_inside(session: AuditSession) -> ProbeOutcome:
    """Report a fault if the tokenizer makes the padding id of ordinary texts, else a note."""
    model = session.padded
    rows = [row for row in session.rows(6, 1) if len(row) > 4]
    if not rows:
        raise NotTestedError("no text is long enough to hold a padding id")
    shifts_positions, hides_the_end = _shifts_positions(session, rows), _hides_end(session, rows)
    if not shifts_positions and not hides_the_end:
        return ProbeOutcome("exact", "the padding id is an ordinary token where the mask says so")
    seen = ["positions are counted by it"] if shifts_positions else []
    seen += ["a text that ends with it is read without its end"] if hides_the_end else []
    also = f"; it is {' and '.join(model.pad_is_also)} too" if model.pad_is_also else ""
    summary = (
        f"the padding id ({model.pad_id}) within a text counts as a pad: {'; '.join(seen)}{also}"
    )
    if any(model.pad_id in model.encode(text) for text in session.texts):
        return ProbeOutcome("bug", summary, faults=("pad-id-in-text",))
    if shifts_positions and not model.counts_pad_ids:
        return ProbeOutcome("bug", summary, faults=("padding-id-positions",))
    return ProbeOutcome("note", summary)


def _shifts_positions(session: AuditSession, rows: Sequence[Sequence[int]]) -> bool:
    """Whether the model's own positions of such a text are not one by one."""
    if (start := session.padded.positions_start) is None:
        return False
    inside = [[*row[:2], session.padded.pad_id, *row[3:]] for row in rows]
    own, passed = session.forward_alone(inside), session.forward_alone(inside, start)
    return session.tolerance.exceeded(session.compare(own, passed))


def _hides_end(session: AuditSession, rows: Sequence[Sequence[int]]) -> bool:
    """Whether the padding id at the end changes nothing, though another id there does."""
    model = session.padded
    alone = session.forward_alone(rows)
    closed = session.forward_alone([[*row, model.pad_id] for row in rows])
    longer = session.forward_alone([[*row, model.filler_ids[0]] for row in rows])
    hidden = not session.tolerance.exceeded(session.compare(alone, closed))
    return hidden and session.tolerance.exceeded(session.compare(alone, longer))
