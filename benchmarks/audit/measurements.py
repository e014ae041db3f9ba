"""All that is measured of one architecture, as plain numbers.

It knows no claim and no verdict. Invariant: the same checkpoint gives every number of a row.
"""

from dataclasses import dataclass

from benchmarks.audit.positions import positions_shift
from benchmarks.audit.precision import Lowered, lowered
from benchmarks.audit.probes import (
    PAD_COUNTS,
    SOME_PADS,
    LongText,
    company,
    long_text,
    mask_dropped,
    mask_is_read,
    more_pads,
    opposite,
    other_neighbour,
    pad_content,
    pad_content_in_encoder,
    shorter_neighbour,
)
from benchmarks.audit.rows import Probed
from benchmarks.audit.warnings import count_warnings


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured of one architecture; module docstring for the numbers.

    content: the pads' ids changed, mask passed, on the tokenizer's side and on the other.
    content_in_encoder: the same in the hidden state of
    the last real token. mask_dropped: pads without a mask. pads: so many pads, with the mask, from
    alone. other_side: pads on the side that is not the tokenizer's. neighbours: one neighbour of
    the same length for another; shorter: for a padded one. company: from alone into eight of the
    same length. positions_shift: by the pad's id inside a text; None where positions cannot be
    passed. mask_read: whether any mask changes anything. eager_only: no SDPA, no FlashAttention.
    """

    content: float
    content_other_side: float
    content_in_encoder: float | None
    mask_dropped: float
    pads: dict[int, float]
    other_side: float
    neighbours: float
    shorter: float
    company: float
    long_text: LongText
    warnings: int
    warnings_again: int
    positions_shift: float | None
    mask_read: bool
    eager_only: bool
    lowered: dict[str, Lowered]


def measure(probed: Probed) -> Measured:
    """Everything; a second or two."""
    first, again = count_warnings(probed)
    return Measured(
        content=pad_content(probed, probed.side),
        content_other_side=pad_content(probed, opposite(probed.side)),
        content_in_encoder=pad_content_in_encoder(probed),
        mask_dropped=mask_dropped(probed),
        pads={count: more_pads(probed, count, probed.side) for count in PAD_COUNTS},
        other_side=more_pads(probed, SOME_PADS, opposite(probed.side)),
        neighbours=other_neighbour(probed),
        shorter=shorter_neighbour(probed),
        company=company(probed),
        long_text=long_text(probed),
        warnings=first,
        warnings_again=again,
        positions_shift=positions_shift(probed),
        mask_read=mask_is_read(probed),
        eager_only=not (probed.model._supports_sdpa or probed.model._supports_flash_attn),
        lowered={name: lowered(probed, name) for name in ("float16", "bfloat16")},
    )
