"""Chunking: cuts the rows of tables into the units in which work is computed and saved.

Invariant: the same files are always cut at the same rows, so that chunk 7 holds the same rows in
every run and a job can resume.
"""

from collections.abc import Iterator, Sequence

from isobatch.scoring.columns import InputColumns
from isobatch.tables import Table, TableChunk

MAX_CHUNK_ROWS = 4096
MAX_CHUNK_CHARACTERS = 131_072
"""Of text: about 32,000 tokens, 1 to 10 s of work that a kill can cost; docs/log.md has speeds."""

MAX_READ_CHARACTERS = 8_000_000
"""Of whole rows that are read at once: bounds the memory where other columns are long."""


def cut_chunks(tables: Sequence[Table], columns: InputColumns) -> Iterator[TableChunk]:
    """Yield the rows of all tables in order, cut by the length of their texts."""
    for table in tables:
        for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS):
            yield from _split(rows, columns)


def _split(rows: TableChunk, columns: InputColumns) -> Iterator[TableChunk]:
    start = characters = 0
    cells = zip(*(rows.cells(column) for column in columns.texts), strict=True)
    for index, row in enumerate(cells):
        length = sum(len(cell) for cell in row if isinstance(cell, str))
        if index > start and characters + length > MAX_CHUNK_CHARACTERS:
            yield rows.part(start, index)
            start, characters = index, 0
        characters += length
    yield rows.part(start, len(rows))
