"""The same checkpoint in half precision: pads, and a row that is all masked beside a whole one.

It knows no claim. Invariant: what the model cannot compute is an error with its reason, no number.
"""

from dataclasses import dataclass

import torch

from benchmarks.audit.probes import SOME_PADS, more_pads
from benchmarks.audit.rows import Probed, largest_move, unpadded


@dataclass(frozen=True, slots=True)
class Lowered:
    """In half precision: how far SOME_PADS pads move, NaN of a masked-out row, its neighbour.

    Where the model cannot compute so, error says why and the numbers are None.
    """

    pads: float | None = None
    masked_row_is_nan: bool | None = None
    neighbour: float | None = None
    error: str = ""


def lowered(probed: Probed, name: str) -> Lowered:
    """The same model in half precision."""
    try:
        half = probed.lowered(getattr(torch, name))
        pads = more_pads(half, SOME_PADS, half.side)
        broken, neighbour = masked_out_row(half)
    except RuntimeError as error:
        return Lowered(error=str(error).splitlines()[0])
    return Lowered(pads, broken, neighbour)


def masked_out_row(probed: Probed) -> tuple[bool, float]:
    """Whether a row that is all masked becomes NaN, and how far it moves its neighbour."""
    text = probed.texts[4]
    ids, mask = unpadded([text, probed.neighbour(text, 1)])
    emptied = mask.clone()
    emptied[1] = 0
    whole, half_empty = probed.logits(ids, mask), probed.logits(ids, emptied)
    return bool(half_empty[1].isnan().any()), largest_move(whole[0], half_empty[0])
