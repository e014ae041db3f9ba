"""One sentence in fifty random batches: how far its logits move, in each way of computing.

Invariant: the batches are the same on every machine and for every sentence.
"""

import random
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from isobatch.page.lesson_data import DifferenceSeries, RandomBatch, RandomBatches
from isobatch.page.lesson_model import LessonModel, LogitRow
from isobatch.page.logit_comparison import compare_logits, ulps_between

NUM_BATCHES = 50
MAX_BATCH = 8
_SEED = 20

_FILE = files("isobatch.page").joinpath("web", "neighbours.txt")
NEIGHBOURS = tuple(_FILE.read_text(encoding="utf-8").splitlines())


class BatchDraw(NamedTuple):
    """Indices into NEIGHBOURS, and the row at which the sentence is inserted."""

    neighbours: tuple[int, ...]
    row: int

    def texts(self, sentence: str) -> list[str]:
        """List the texts of the batch, `sentence` among them."""
        texts = [NEIGHBOURS[index] for index in self.neighbours]
        texts.insert(self.row, sentence)
        return texts


@cache
def draw_batches() -> tuple[BatchDraw, ...]:
    """Draw NUM_BATCHES batches of two to MAX_BATCH texts."""
    chance = random.Random(_SEED)
    drawn = []
    for _ in range(NUM_BATCHES):
        others = chance.sample(range(len(NEIGHBOURS)), chance.randint(1, MAX_BATCH - 1))
        drawn.append(BatchDraw(tuple(others), chance.randint(0, len(others))))
    return tuple(drawn)


def compute_random_batches(model: LessonModel, text: str, max_tokens: int) -> RandomBatches:
    """Compute `text`, the first sentence of the page, in every random batch."""
    draws = draw_batches()
    batches = [model.tokenize(draw.texts(text), max_tokens) for draw in draws]
    pairs = [(batch, draw.row) for batch, draw in zip(batches, draws, strict=True)]
    alone = model.tokenize([text], max_tokens)
    padded_alone = model.padded_logits(alone, masked=False)[0]
    packed_alone = model.packed_logits(alone)[0]
    forgotten = [model.padded_logits(batch, masked=False)[row] for batch, row in pairs]
    masked = [model.padded_logits(batch, masked=True)[row] for batch, row in pairs]
    packed = [model.packed_logits(batch)[row] for batch, row in pairs]
    widths = [batch.input_ids.shape[1] for batch in batches]
    length = alone.lengths[0]
    return RandomBatches(
        sentence=0,
        neighbours=NEIGHBOURS,
        batches=tuple(
            RandomBatch(draw.neighbours, draw.row, width, width - length)
            for draw, width in zip(draws, widths, strict=True)
        ),
        series=(
            _series("forgotten", forgotten, padded_alone),
            _series("masked", masked, padded_alone),
            _series("packed", packed, packed_alone),
        ),
    )


def _series(way: str, rows: Sequence[LogitRow], alone: LogitRow) -> DifferenceSeries:
    comparisons = [compare_logits(row, alone) for row in rows]
    furthest = [
        max(zip(row, alone, strict=True), key=lambda pair: abs(pair[0] - pair[1])) for row in rows
    ]
    differences = tuple(there - here for there, here in furthest)
    return DifferenceSeries(
        way=way,
        differences=differences,
        ulps=tuple(ulps_between(there, here) for there, here in furthest),
        num_moved=sum(not each.same_bits for each in comparisons),
        num_flipped=sum(each.label_flipped for each in comparisons),
        largest=max(map(abs, differences)),
    )
