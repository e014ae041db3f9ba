"""Positions: does the id of the pad, inside a text and with mask 1, shift what comes after it?

It knows no family by name. Invariant: positions are passed only where passing the plain ones gives
the model's own bits for an ordinary text, and turning them round does not.
"""

import inspect

import torch

from benchmarks.audit.rows import Probed, largest_move, unpadded


def positions_shift(probed: Probed) -> float | None:
    """A text with the pad's id inside, mask 1: positions of the model's own against plain ones."""
    text = probed.texts[5]
    start = first_position(probed, text)
    if start is None:
        return None
    ids, mask = unpadded([[*text[:4], probed.pad_id, *text[5:]]])
    positions = torch.arange(start, start + len(text))[None]
    own, plain = probed.logits(ids, mask), probed.logits(ids, mask, position_ids=positions)
    return largest_move(own, plain)


def first_position(probed: Probed, text: list[int]) -> int | None:
    """The id from which an ordinary text counts; None where positions are not to be passed."""
    if "position_ids" not in inspect.signature(probed.model.forward).parameters:
        return None
    ids, mask = unpadded([text])
    for start in (0, probed.pad_id + 1, 2):  # 2: YOSO and Nystromformer, whatever their pad
        passed = torch.arange(start, start + len(text))[None]
        same = probed.logits(ids, mask, position_ids=passed)
        turned = probed.logits(ids, mask, position_ids=passed.flip(1))
        if torch.equal(same, probed.alone(text)) and not torch.equal(same, turned):
            return start
    return None
