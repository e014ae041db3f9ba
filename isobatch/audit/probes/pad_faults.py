"""Diagnosis where the content of pads matters: which fault it is, by which pads matter and how.

Invariant: a fault is named only after the other explanations of the same movement were ruled out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.session import AuditSession
from isobatch.audit.subject import Pads, Rectangle, pad, without_pads

NUM_PADS = 6

COPIES = 8
"""Of the text in a batch: some mistakes are made in batches only, or in larger ones."""

ADDITIVE = 1e-3
"""Share of a movement by which two pads together may miss the sum of both, if they add up."""

SAME = 1e-4
"""Share of the largest state by which other kernels may move a hidden state."""

_FIRST_PAD_ONLY = [True] + [False] * (NUM_PADS - 1)

View = Callable[[Rectangle], NDArray[np.float64]]


@dataclass(frozen=True)
class PaddedText:
    """One text with NUM_PADS pads, and the views by which the effect of a pad is measured."""

    session: AuditSession
    row: Sequence[int]

    @cached_property
    def pads(self) -> Pads:
        """The padding, on the system's own side."""
        model = self.session.padded
        return Pads(len(self.row) + NUM_PADS, model.padding_side, (model.pad_id,))

    @cached_property
    def rectangle(self) -> Rectangle:
        """Copies of the text, each with its pads and its mask; only the first is compared."""
        model = self.session.padded
        # Other ids in front would count as text, and shift its positions.
        is_shifted = self.pads.side == "left" and model.counts_pad_ids
        start = model.positions_start if is_shifted else None
        return pad([self.row] * COPIES, self.pads, start)

    @property
    def bare(self) -> Rectangle:
        """The same without a mask."""
        return replace(self.rectangle, attention_mask=None)

    @cached_property
    def columns(self) -> list[int]:
        """Columns of the pads, the one next to the text first."""
        return self.pads.pad_columns(len(self.row))

    def token(self, inward: int) -> int:
        """Return the column of the token with `inward` others between itself and the pads."""
        first, last = min(self.columns), max(self.columns)
        return first - 1 - inward if self.pads.side == "right" else last + 1 + inward

    def output(self, rectangle: Rectangle) -> NDArray[np.float64]:
        """View the output itself."""
        return np.asarray(self.session.forward(rectangle)[0])

    def far_state(self, rectangle: Rectangle) -> NDArray[np.float64]:
        """View the hidden state of the token farthest from the pads; the output without states."""
        return self._hidden(rectangle, self.token(len(self.row) - 1))

    def far_state_alone(self, row: Sequence[int]) -> NDArray[np.float64]:
        """View a row without pads, whose far token is that of the text, in the same way."""
        return self._hidden(without_pads([row]), 0 if self.pads.side == "right" else -1)

    def states(self, rectangle: Rectangle) -> NDArray[np.float64]:
        """View the hidden states of all the text's own tokens; the output without states."""
        return self._hidden(rectangle, self.pads.text_columns(len(self.row)))

    def _hidden(self, rectangle: Rectangle, columns: int | slice) -> NDArray[np.float64]:
        hidden = self.session.padded.hidden
        if hidden is None:
            return self.output(rectangle)
        return np.asarray(hidden(rectangle)[0, columns])

    def changed(self, rectangle: Rectangle, columns: Sequence[int]) -> Rectangle:
        """Put other tokens into these columns."""
        ids = rectangle.input_ids.copy()
        for column in columns:
            now = ids[0, column]
            fillers = self.session.padded.filler_ids
            ids[:, column] = next(each for each in fillers if each != now)
        return replace(rectangle, input_ids=ids)

    def matters(self, view: View, rectangle: Rectangle, *columns: int) -> bool:
        """Find out whether the content of these columns moves a bit of the `view`."""
        after = view(self.changed(rectangle, columns))
        return not np.array_equal(view(rectangle), after)


def name_of_content_fault(session: AuditSession, rows: Sequence[Sequence[int]]) -> str:
    """Return the name of the fault by which pads count; `rows` are token ids of texts."""
    text = PaddedText(session, min(rows, key=len))
    if _mask_is_ignored(text):
        return "mask-dropped"
    if _mask_is_inverted(text):
        return "mask-inverted"
    if _reads_one_more(text):
        return "mask-off-by-one"
    matters = [text.matters(text.output, text.rectangle, column) for column in text.columns]
    if matters == [False] * (NUM_PADS - 1) + [True]:
        return "last-column-read" if text.pads.side == "right" else "first-column-read"
    if not _head_alone(text):
        return "pads-leak"
    has_states = session.padded.hidden is not None
    return "mask-off-by-one" if has_states and matters == _FIRST_PAD_ONLY else "pads-pooled"


def unread_edge(session: AuditSession, rows: Sequence[Sequence[int]]) -> bool:
    """Find out whether in each row the token next to the pads, and not the next, is left unread.

    Unread: its content matters without a mask, and not with it. Parts that cut rows into pieces of
    several columns leave none or several tokens unread, which distinguishes them.
    """
    texts = [PaddedText(session, row) for row in rows if len(row) > 2]
    try:
        return bool(texts) and all(
            _reads(text, 0) == (True, False) and _reads(text, 1) == (True, True) for text in texts
        )
    except Exception:  # noqa: BLE001  # a model that requires a mask, or its closing token
        return False


def _reads(text: PaddedText, inward: int) -> tuple[bool, bool]:
    """Whether others read a token without the mask, and with it."""
    view, column = text.far_state, text.token(inward)
    return text.matters(view, text.bare, column), text.matters(view, text.rectangle, column)


def _mask_is_ignored(text: PaddedText) -> bool:
    """Whether leaving the mask out changes no bit: of the output, or of the states of the text.

    States show it only where pads reach them: in a decoder those on the right never do.
    """
    try:
        return any(
            np.array_equal(view(text.rectangle), view(text.bare))
            and text.matters(view, text.bare, *text.columns)
            for view in (text.output, text.states)
        )
    except Exception:  # noqa: BLE001  # a model that requires a mask does not ignore it
        return False


def _mask_is_inverted(text: PaddedText) -> bool:
    """Whether pads have no effect, and the text has one, once 0 and 1 are swapped."""
    if not text.matters(text.states, text.rectangle, *text.columns):
        return False
    assert text.rectangle.attention_mask is not None
    swapped = replace(text.rectangle, attention_mask=1 - text.rectangle.attention_mask)
    silent = not text.matters(text.states, swapped, *text.columns)
    return silent and text.matters(text.states, swapped, text.token(len(text.row) // 2))


def _reads_one_more(text: PaddedText) -> bool:
    """Whether attention reads the first pad alone: as text, or in the place of the far token.

    A convolution lets the first pad in as well; but then masking it in as text changes the rest.
    """
    view, first = text.far_state, text.columns[0]
    if not text.matters(view, text.rectangle, first):
        return False
    if text.matters(view, text.rectangle, *text.columns[1:]):
        return False
    ids = [int(each) for each in text.rectangle.input_ids[0]]
    longer = ids[: first + 1] if text.pads.side == "right" else ids[first:]
    as_text, seen = text.far_state_alone(longer), view(text.rectangle)
    if np.abs(as_text - seen).max() <= SAME * max(1.0, np.abs(seen).max()):
        return True
    return not text.matters(text.output, text.rectangle, text.token(len(text.row) - 1))


def _head_alone(text: PaddedText) -> bool:
    """Whether only the head lets pads in: by the hidden states, or else by pads that add up."""
    if text.session.padded.hidden is not None:
        return not text.matters(text.states, text.rectangle, *text.columns)
    # Means and sums over columns move by as much as each pad does, attention does not.
    one, other = text.columns[:2]
    none, first, second, both = (
        text.output(text.changed(text.rectangle, columns))
        for columns in ((), (one,), (other,), (one, other))
    )
    return bool(np.abs(both - first - second + none).max() <= ADDITIVE * np.abs(both - none).max())
