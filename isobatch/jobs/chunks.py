"""Cutting the rows of the inputs into chunks, the unit in which work is kept.

It knows how long the texts are and not what they say. Invariant: the same files are cut in the same
places, whatever happened before, so that chunk 7 is the same rows in every run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isobatch.jobs.layout import ReadColumns
from isobatch.tables import Rows, Table

MAX_CHUNK_ROWS = 4096
MAX_CHUNK_CHARACTERS = 131_072
"""Of text: some 32,000 tokens, 1 to 10 s of work that a kill can cost; docs/log.md has speeds."""

MAX_READ_CHARACTERS = 8_000_000
"""Of whole rows that are read at once: what bounds the memory where other columns are long."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring rows of one file, and their place among all chunks of the job."""

    index: int
    rows: Rows


def cut_chunks(tables: Sequence[Table], columns: ReadColumns) -> Iterator[Chunk]:
    """The rows of all tables in order, cut by the length of their texts."""
    parts = (
        part
        for table in tables
        for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS)
        for part in _parts(rows, columns)
    )
    return (Chunk(index, part) for index, part in enumerate(parts))


def _parts(rows: Rows, columns: ReadColumns) -> Iterator[Rows]:
    start = characters = 0
    for index, length in enumerate(_lengths(rows, columns)):
        if index > start and characters + length > MAX_CHUNK_CHARACTERS:
            yield rows.part(start, index)
            start, characters = index, 0
        characters += length
    yield rows.part(start, len(rows))


def _lengths(rows: Rows, columns: ReadColumns) -> list[int]:
    read = filter(None, (columns.text, columns.pair))
    cells = zip(*(rows.cells(column) for column in read), strict=True)
    return [sum(len(cell) for cell in row if isinstance(cell, str)) for row in cells]
