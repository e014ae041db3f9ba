"""The cost of a forgotten attention mask: many texts in batches, each against its logits alone.

Invariant: a text is compared with the same tokens computed in a call of their own, and the same
texts, in the same order and batches, give the same figures.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from statistics import median

import torch
from torch import Tensor

from isobatch.checkpoint.text_encoder import check_texts
from isobatch.errors import InputError, IsobatchWarning, OptionError
from isobatch.lesson.four_steps import LessonCheckpoint

BATCH_SIZE = 32
MAX_BINS = 24


@dataclass(frozen=True, slots=True)
class MaskEffect:
    """All texts in their batches, computed in one way, against alone.

    A text moved if any bit of its logits changed. median and largest: of the largest change of a
    logit of each text, over all texts, moved or not.
    """

    num_moved: int
    num_flipped: int
    median: float
    largest: float


@dataclass(frozen=True, slots=True)
class MoveBin:
    """Texts whose logits moved by at least `low` and by less than `high`."""

    low: float
    high: float
    num_texts: int
    num_flipped: int


@dataclass(frozen=True, slots=True)
class MovedText:
    """The text that moves most without its mask, in its batch.

    index: of the text among all, from 0; batch: from 0. neighbours: the other texts of the batch,
    in order; longest: the index of the one that has the most tokens, to whose length all are
    padded. replay_moved: the largest change where only that neighbour is in the batch, and
    replay_same_bits: whether the logits are then the same, bit for bit, as in the whole batch.
    """

    index: int
    text: str
    num_tokens: int
    num_pads: int
    batch: int
    neighbours: tuple[str, ...]
    longest: int
    alone: tuple[float, ...]
    forgotten: tuple[float, ...]
    masked: tuple[float, ...]
    label_alone: str
    label_forgotten: str
    label_masked: str
    moved: float
    replay_moved: float
    replay_same_bits: bool


@dataclass(frozen=True, slots=True)
class MaskCost:
    """The cost of a forgotten mask on `num_texts` texts in batches in their order.

    source: the name of the texts. num_left_out: rows of the source without a text. num_padded:
    texts that got padding, num_pads tokens of it. bins: of the moves without the mask; furthest:
    None if no text moves.
    """

    source: str
    num_texts: int
    num_left_out: int
    num_truncated: int
    batch_size: int
    num_batches: int
    num_padded: int
    num_pads: int
    forgotten: MaskEffect
    masked: MaskEffect
    bins: tuple[MoveBin, ...]
    furthest: MovedText | None

    def as_dict(self) -> dict[str, object]:
        """Convert to plain values for JSON."""
        return asdict(self)


SAMPLE = "the built-in sample"


def sample_texts() -> tuple[str, ...]:
    """Read the built-in sample: 200 sentences of different lengths, in no order."""
    text = files("isobatch.lesson").joinpath("sample.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def check_number_of_texts(texts: Sequence[object], source: str) -> None:
    """Raise OptionError for fewer than two texts, since one alone is never padded."""
    if len(texts) < 2:
        found = "no text" if not texts else "one text, which is not padded when it is alone"
        raise OptionError(f"{source}: has {found}. Use at least two texts")


def measure_mask_cost(
    checkpoint: LessonCheckpoint,
    texts: Sequence[str] | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    source: str = SAMPLE,
    num_left_out: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> MaskCost:
    """Compute each text alone, and in its batch without the mask and with it.

    texts: None for the built-in sample. Texts are cut at the maximum of the model. on_progress: is
    called with the number of computed texts and of all. OptionError for fewer than two texts and
    for batches of one, in which no text is padded; InputError for a text that is not a string.
    """
    if batch_size < 2:
        raise OptionError(
            f"batch size {batch_size}: a text in a batch of its own has no padding. Use 2 or more"
        )
    texts = sample_texts() if texts is None else texts
    check_number_of_texts(texts, source)
    check_texts(texts)
    if pairs := [index for index, text in enumerate(texts) if not isinstance(text, str)]:
        raise InputError("expected a text, got a pair", pairs[0])
    batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    computed = []
    for batch in batches:
        computed.append(_compute(checkpoint, batch))
        if on_progress is not None:
            on_progress(sum(len(each.lengths) for each in computed), len(texts))
    return MaskCost(
        source=source,
        num_texts=len(texts),
        num_left_out=num_left_out,
        num_truncated=sum(each.num_truncated for each in computed),
        batch_size=batch_size,
        num_batches=len(batches),
        num_padded=sum(pads > 0 for each in computed for pads in each.pads),
        num_pads=sum(sum(each.pads) for each in computed),
        forgotten=_effect([each for batch in computed for each in batch.changes(batch.forgotten)]),
        masked=_effect([each for batch in computed for each in batch.changes(batch.masked)]),
        bins=_bins([each for batch in computed for each in batch.changes(batch.forgotten)]),
        furthest=_furthest(checkpoint, batches, computed, batch_size),
    )


@dataclass(frozen=True, slots=True)
class _Change:
    moved: float
    same_bits: bool
    flipped: bool


@dataclass(frozen=True, slots=True)
class _ComputedBatch:
    """One batch in three ways, each [texts, labels]; lengths: tokens of each text."""

    lengths: list[int]
    num_truncated: int
    alone: Tensor
    forgotten: Tensor
    masked: Tensor

    @property
    def pads(self) -> list[int]:
        return [max(self.lengths) - length for length in self.lengths]

    def changes(self, logits: Tensor) -> list[_Change]:
        """Compare each row with the text alone."""
        return [
            _Change(
                moved=float((row - alone).abs().max()),
                same_bits=torch.equal(row, alone),
                flipped=bool(row.argmax() != alone.argmax()),
            )
            for row, alone in zip(logits, self.alone, strict=True)
        ]


def _compute(checkpoint: LessonCheckpoint, texts: Sequence[str]) -> _ComputedBatch:
    inputs = checkpoint.inputs(texts)
    alone = [checkpoint.logits(checkpoint.inputs([text]), masked=False) for text in texts]
    lengths = [int(length) for length in inputs["attention_mask"].sum(dim=1)]
    return _ComputedBatch(
        lengths=lengths,
        num_truncated=_num_truncated(checkpoint, texts, lengths),
        alone=torch.cat(alone),
        forgotten=checkpoint.logits(inputs, masked=False),
        masked=checkpoint.logits(inputs, masked=True),
    )


def _num_truncated(
    checkpoint: LessonCheckpoint, texts: Sequence[str], lengths: Sequence[int]
) -> int:
    """Count the texts that are cut: those as long as the model's maximum, with a token more."""
    longest = checkpoint.max_tokens
    full = [text for text, length in zip(texts, lengths, strict=True) if length >= longest]
    if not full:
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IsobatchWarning)  # that texts are longer than the model
        longer = checkpoint.tokenizer(full, truncation=True, max_length=longest + 1)
    return sum(len(ids) > longest for ids in longer["input_ids"])


def _effect(changes: Sequence[_Change]) -> MaskEffect:
    return MaskEffect(
        num_moved=sum(not each.same_bits for each in changes),
        num_flipped=sum(each.flipped for each in changes),
        median=median(each.moved for each in changes),
        largest=max(each.moved for each in changes),
    )


def _bins(changes: Sequence[_Change]) -> tuple[MoveBin, ...]:
    """Count the moves in at most MAX_BINS bins of one width, a 1, 2 or 5 with zeros."""
    largest = max(each.moved for each in changes)
    if not largest:
        return ()
    power = 10.0 ** math.floor(math.log10(largest / MAX_BINS))
    width = next(each * power for each in (1, 2, 5, 10) if largest < each * power * MAX_BINS)
    places = [min(int(each.moved / width), MAX_BINS - 1) for each in changes]
    found: list[MoveBin] = []
    for place in range(max(places) + 1):
        inside = [each for each, at in zip(changes, places, strict=True) if at == place]
        low, high = (float(f"{edge * width:.6g}") for edge in (place, place + 1))
        found.append(MoveBin(low, high, len(inside), sum(each.flipped for each in inside)))
    return tuple(found)


def _furthest(
    checkpoint: LessonCheckpoint,
    batches: Sequence[Sequence[str]],
    computed: Sequence[_ComputedBatch],
    batch_size: int,
) -> MovedText | None:
    """Describe the text that moves most, the first of several."""
    moves = [
        (change.moved, number, row)
        for number, each in enumerate(computed)
        for row, change in enumerate(each.changes(each.forgotten))
    ]
    moved, number, row = max(moves, key=lambda move: move[0])
    if not moved:
        return None
    texts, batch = list(batches[number]), computed[number]
    neighbours = texts[:row] + texts[row + 1 :]
    lengths = batch.lengths[:row] + batch.lengths[row + 1 :]
    longest = lengths.index(max(lengths))
    replayed = checkpoint.logits(
        checkpoint.inputs([texts[row], neighbours[longest]]), masked=False
    )[0]
    alone, forgotten, masked = batch.alone[row], batch.forgotten[row], batch.masked[row]
    return MovedText(
        index=number * batch_size + row,
        text=texts[row],
        num_tokens=batch.lengths[row],
        num_pads=batch.pads[row],
        batch=number,
        neighbours=tuple(neighbours),
        longest=longest,
        alone=tuple(alone.tolist()),
        forgotten=tuple(forgotten.tolist()),
        masked=tuple(masked.tolist()),
        label_alone=checkpoint.label(alone),
        label_forgotten=checkpoint.label(forgotten),
        label_masked=checkpoint.label(masked),
        moved=moved,
        replay_moved=float((replayed - alone).abs().max()),
        replay_same_bits=torch.equal(replayed, forgotten),
    )
