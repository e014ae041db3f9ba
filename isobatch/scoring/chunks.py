"""Chunking: cuts the rows of tables into the units in which work is computed and saved.

Invariant: the same files are always cut at the same rows, so that chunk 7 holds the same rows in
every run and a job can resume. The first chunks are small, so that a run that is stopped after
seconds has saved some of its rows.
"""

from collections.abc import Iterator, Sequence

from isobatch.scoring.columns import InputColumns
from isobatch.tables import Table, TableChunk

MAX_CHUNK_ROWS = 4096
FIRST_CHUNK_CHARACTERS = 4096
"""Of text: about 1,000 tokens. Each chunk may have twice as many as the one before."""

MAX_CHUNK_CHARACTERS = 131_072
"""Of text: about 32,000 tokens, 1 to 10 s of work that a kill can cost; docs/log.md has speeds."""

MAX_READ_CHARACTERS = 8_000_000
"""Of whole rows that are read at once: bounds the memory where other columns are long."""


def cut_chunks(tables: Sequence[Table], columns: InputColumns) -> Iterator[TableChunk]:
    """Yield the rows of all tables in order, cut by the length of their texts."""
    limit = min(FIRST_CHUNK_CHARACTERS, MAX_CHUNK_CHARACTERS)
    for table in tables:
        for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS):
            lengths, start = _text_lengths(rows, columns), 0
            while start < len(rows):
                stop = _end_of_chunk(lengths, start, limit)
                yield rows.part(start, stop)
                start, limit = stop, min(2 * limit, MAX_CHUNK_CHARACTERS)


def _text_lengths(rows: TableChunk, columns: InputColumns) -> list[int]:
    cells = zip(*(rows.cells(column) for column in columns.texts), strict=True)
    return [sum(len(cell) for cell in row if isinstance(cell, str)) for row in cells]


def _end_of_chunk(lengths: Sequence[int], start: int, limit: int) -> int:
    """Return the end of the longest chunk from `start` within the limit, of one row or more."""
    characters = lengths[start]
    for index in range(start + 1, len(lengths)):
        characters += lengths[index]
        if characters > limit:
            return index
    return len(lengths)
