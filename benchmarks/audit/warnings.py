"""What transformers logs when padded input comes without a mask.

It knows transformers' logger. Invariant: logging is afterwards as it was before.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import transformers

from benchmarks.audit.rows import Probed, together


def count_warnings(probed: Probed) -> tuple[int, int]:
    """Records of level warning for pads without a mask: the first time, and the second."""
    rows = together(probed.texts[:3], probed.pad_id, probed.side)
    # transformers keeps what it has warned of once for the whole process.
    transformers.utils.logging.warning_once.cache_clear()
    with records("attention_mask") as first:
        probed.logits(rows.ids)
    with records("attention_mask") as again:
        probed.logits(rows.ids)
    return len(first), len(again)


class Heard(NamedTuple):
    """Records without a mask, where the pad's id stands in the last column, and only inside."""

    in_last_column: int
    inside: int


def where_it_looks(probed: Probed) -> Heard:
    """The same text with its pads behind it, and with the pad's id in the middle only."""
    text = probed.texts[4]
    behind, inside = [*text, probed.pad_id], [*text[:3], probed.pad_id, *text[3:]]
    counts = []
    for ids in (behind, inside):
        transformers.utils.logging.warning_once.cache_clear()
        with records("attention_mask") as heard:
            probed.logits(torch.tensor([ids]))
        counts.append(len(heard))
    return Heard(*counts)


@contextmanager
def records(word: str) -> Iterator[list[str]]:
    """What transformers logs meanwhile at level warning, where it has the word."""
    heard: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger, verbosity = logging.getLogger("transformers"), transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.WARNING)
    logger.addHandler(listener)
    try:
        yield heard
    finally:
        logger.removeHandler(listener)
        transformers.logging.set_verbosity(verbosity)
        heard[:] = [message for message in heard if word in message]
