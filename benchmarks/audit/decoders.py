"""Classifiers on a decoder: at which token is the answer read, and by what is it found?

It knows that the answer is read at one token. Invariant: the pad's id is set back afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.audit.rows import Probed, Side, largest_move, padded, unpadded, worst

_PADS = 7


@dataclass(frozen=True, slots=True)
class DecoderMeasured:
    """Of a decoder whose pad is its eos.

    error_without_pad: what a batch of two says when no pad id is set. eos_read_without_pad: how far
    an eos at the end of a text moves the answer where no pad id is set, and with pad == eos.
    alone_against_batched: the same text with eos at its end, alone without a pad id, and with one.
    content_right, content_left: the content of masked pads changed.
    """

    error_without_pad: str
    eos_read_without_pad: float
    eos_read_with_pad: float
    alone_against_batched: float
    content_right: float
    content_left: float


def measure_decoder(probed: Probed) -> DecoderMeasured:
    """Everything."""
    return DecoderMeasured(
        error_without_pad=error_without_pad(probed),
        eos_read_without_pad=eos_read(probed, None),
        eos_read_with_pad=eos_read(probed, probed.pad_id),
        alone_against_batched=alone_against_batched(probed),
        content_right=_content(probed, "right"),
        content_left=_content(probed, "left"),
    )


def error_without_pad(probed: Probed) -> str:
    """Empty if there is none."""
    text = probed.texts[2]
    with pad_id_set(probed, None):
        try:
            probed.logits(*unpadded([text, text]))
        except ValueError as error:
            return str(error)
    return ""


def eos_read(probed: Probed, pad_id: int | None) -> float:
    """A text against the same with eos at its end, each alone."""
    with pad_id_set(probed, pad_id):
        return worst(
            largest_move(probed.alone(text), probed.alone([*text, probed.pad_id]))
            for text in probed.texts
        )


def alone_against_batched(probed: Probed) -> float:
    """A text that ends with eos: alone as the folder has it, and as a batch needs it."""
    texts = [[*text, probed.pad_id] for text in probed.texts]
    with pad_id_set(probed, None):
        alone = [probed.alone(text) for text in texts]
    pairs = zip(alone, texts, strict=True)
    return worst(largest_move(one, probed.alone(text)) for one, text in pairs)


@contextmanager
def pad_id_set(probed: Probed, pad_id: int | None) -> Iterator[None]:
    """The model's pad id, for a while."""
    probed.model.config.pad_token_id = pad_id
    try:
        yield
    finally:
        probed.model.config.pad_token_id = probed.pad_id


def _content(probed: Probed, side: Side) -> float:
    text = probed.texts[4]
    clean, dirty = probed.pads(_PADS), probed.ordinary(_PADS, 1)
    return largest_move(
        probed.logits(*padded(text, clean, side)), probed.logits(*padded(text, dirty, side))
    )
