"""One sentence in fifty batches of strangers: how far its logits move, in each way of computing.

It draws nothing. Invariant: all ways get the very same batches.
"""

from collections.abc import Sequence

from isobatch.page.checkpoint import Checkpoint, PaddedBatch, Row, rows_of
from isobatch.page.data import Company, Draw, Strip
from isobatch.page.neighbours import NEIGHBOURS, draw_company
from isobatch.page.verdict import compare, steps_between


def describe_company(
    checkpoint: Checkpoint, text: str, max_tokens: int, *, sentence: int = 0
) -> Company:
    """`text`, which is that `sentence` of the page, in every draw."""
    drawn = draw_company()
    batches = [checkpoint.pad(company.batch(text), max_tokens) for company in drawn]
    places = [company.place for company in drawn]
    alone = checkpoint.pad([text], max_tokens)
    padded_alone = rows_of(checkpoint.padded.forward(alone.input_ids).logits)[0]
    packed_alone = checkpoint.packed(alone)[0]
    pairs = list(zip(batches, places, strict=True))
    forgotten = [_padded(checkpoint, *pair, masked=False) for pair in pairs]
    masked = [_padded(checkpoint, *pair, masked=True) for pair in pairs]
    packed = [checkpoint.packed(batch)[place] for batch, place in pairs]
    return Company(
        sentence=sentence,
        neighbours=NEIGHBOURS,
        draws=tuple(
            _draw(company.neighbours, company.place, batch)
            for company, batch in zip(drawn, batches, strict=True)
        ),
        strips=(
            _strip("forgotten", forgotten, padded_alone),
            _strip("masked", masked, padded_alone),
            _strip("packed", packed, packed_alone),
        ),
    )


def _padded(checkpoint: Checkpoint, batch: PaddedBatch, place: int, *, masked: bool) -> Row:
    mask = batch.attention_mask if masked else None
    return rows_of(checkpoint.padded.forward(batch.input_ids, mask).logits)[place]


def _draw(neighbours: tuple[int, ...], place: int, batch: PaddedBatch) -> Draw:
    columns = batch.input_ids.shape[1]
    return Draw(neighbours, place, columns, columns - batch.lengths[place])


def _strip(way: str, rows: Sequence[Row], alone: Row) -> Strip:
    verdicts = [compare(row, alone) for row in rows]
    furthest = [max(zip(row, alone, strict=True), key=_distance) for row in rows]
    differences = tuple(there - here for there, here in furthest)
    return Strip(
        way=way,
        differences=differences,
        steps=tuple(steps_between(there, here) for there, here in furthest),
        num_moved=sum(not verdict.same_bits for verdict in verdicts),
        num_flipped=sum(verdict.flipped for verdict in verdicts),
        largest=max(map(abs, differences)),
    )


def _distance(pair: tuple[float, float]) -> float:
    return abs(pair[0] - pair[1])
