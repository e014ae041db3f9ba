"""Pads, masks and neighbours: how far each moves the logits of one checkpoint, measured with torch.

It knows no claim and no verdict. Each number is the largest over the texts, 0.0 means the same
bits. Invariant: every comparison has the same text, in the same weights, on both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks.audit.rows import (
    Padded,
    Probed,
    Side,
    largest_move,
    padded,
    together,
    unpadded,
    worst,
)

SOME_PADS = 7
PAD_COUNTS = (1, SOME_PADS, 64)
LONG = 200


@dataclass(frozen=True, slots=True)
class LongText:
    """Of a text of LONG tokens: pads from alone, each on a fresh copy of the model; a shorter
    neighbour for one as long; and a short text that the model answered before it."""

    pads: float
    shorter: float
    history: float


def opposite(side: Side) -> Side:
    """The other side."""
    return "left" if side == "right" else "right"


def pad_content(probed: Probed, side: Side) -> float:
    """Pads of the pad's id against pads of two other fillings."""
    return worst(
        largest_move(probed.logits(*clean), probed.logits(*dirty))
        for clean, dirty in _two_contents(probed, side)
    )


def pad_content_in_encoder(probed: Probed) -> float | None:
    """The same before the head, where the last hidden states have a row for each token."""
    last = -1 if probed.side == "left" else -1 - SOME_PADS
    if probed.model.config.is_encoder_decoder or probed.model.config.model_type == "funnel":
        return None
    return worst(
        largest_move(_hidden(probed, clean, last), _hidden(probed, dirty, last))
        for clean, dirty in _two_contents(probed, probed.side)
    )


def _hidden(probed: Probed, batch: Padded, position: int) -> torch.Tensor:
    encoder = getattr(probed.model, probed.model.base_model_prefix)
    with torch.inference_mode():
        states: torch.Tensor = encoder(batch.ids, attention_mask=batch.mask)[0]
    return states[:, position]


def _two_contents(probed: Probed, side: Side) -> Iterator[tuple[Padded, Padded]]:
    for text in probed.texts:
        clean = padded(text, probed.pads(SOME_PADS), side)
        for seed in (1, 2):
            yield clean, padded(text, probed.ordinary(SOME_PADS, seed), side)


def mask_dropped(probed: Probed) -> float:
    """A text alone against the same with pads and no mask."""
    return worst(
        largest_move(
            probed.alone(text),
            probed.logits(padded(text, probed.pads(SOME_PADS), probed.side).ids),
        )
        for text in probed.texts
    )


def more_pads(probed: Probed, count: int, side: Side) -> float:
    """A text alone against the same with pads and their mask."""
    return worst(
        largest_move(probed.alone(text), probed.logits(*padded(text, probed.pads(count), side)))
        for text in probed.texts
    )


def other_neighbour(probed: Probed) -> float:
    """Two rows of one length: the second is changed, the first is looked at."""
    return worst(
        largest_move(
            probed.logits(*unpadded([text, probed.neighbour(text, 1)]))[0],
            probed.logits(*unpadded([text, probed.neighbour(text, 2)]))[0],
        )
        for text in probed.texts
    )


def shorter_neighbour(probed: Probed) -> float:
    """Two rows: the second has the same length or is shorter and padded; the first has no pads."""
    shortest = probed.texts[0]
    return worst(
        largest_move(
            probed.logits(*unpadded([text, probed.neighbour(text, 1)]))[0],
            probed.logits(*together([text, shortest], probed.pad_id, probed.side))[0],
        )
        for text in probed.texts[1:]
    )


def company(probed: Probed) -> float:
    """A text alone against the same among seven others of its length."""
    return worst(
        largest_move(
            probed.alone(text)[0],
            probed.logits(*unpadded([text, *(probed.neighbour(text, n) for n in range(7))]))[0],
        )
        for text in probed.texts
    )


def long_text(probed: Probed) -> LongText:
    """Always asked of fresh copies: a model may keep what an earlier text did to it."""
    text, short = probed.long_text(LONG), probed.texts[0]
    fresh = probed.fresh().alone(text)
    padding = padded(text, probed.pads(SOME_PADS), probed.side)
    as_long = unpadded([text, probed.neighbour(text, 1)])
    shorter = together([text, short], probed.pad_id, probed.side)
    used = probed.fresh()
    used.alone(short)
    return LongText(
        pads=largest_move(fresh, probed.fresh().logits(*padding)),
        shorter=largest_move(
            probed.fresh().logits(*as_long)[0], probed.fresh().logits(*shorter)[0]
        ),
        history=largest_move(fresh, used.alone(text)),
    )


def mask_is_read(probed: Probed) -> bool:
    """Whether it makes a difference to mask a quarter of a text."""
    ids, mask = unpadded([probed.texts[-1]])
    fewer = mask.clone()
    fewer[:, 2 : len(probed.texts[-1]) // 4 + 2] = 0
    return largest_move(probed.logits(ids, mask), probed.logits(ids, fewer)) != 0.0
