"""Rows of Parquet files, as Arrow tables.

It knows nothing of text formats. Invariant: a column keeps its Arrow type and values, nested ones,
nulls and dictionaries included, and the schema its metadata.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isobatch.errors import TableError
from isobatch.tables.arrow_values import plain_values, python_values
from isobatch.tables.compression import FileHasher
from isobatch.tables.formats import TableFile
from isobatch.tables.inputs import unreadable
from isobatch.tables.libraries import in_one_line, library
from isobatch.tables.rows import check_limits, no_column
from isobatch.tables.values import json_of, key_prefix, text_of

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

READ_BYTES = 1 << 20
"""A column is read in steps; in one piece it would be as long as the row group, often the file."""

PIECE_ROWS = 1024
"""Rows are read and measured in pieces, and gathered to blocks of whole pieces or parts of them."""


class ArrowChunk:
    """Rows of an Arrow table."""

    def __init__(self, name: str, first: int, table: "pa.Table") -> None:
        self.name = name
        self._first = first
        self._table = table

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the schema."""
        return tuple(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def part(self, start: int, stop: int) -> "ArrowChunk":
        """TableChunk `start` to `stop`, the latter not included."""
        start, stop, _ = slice(start, stop).indices(len(self))
        part = self._table.slice(start, max(stop - start, 0))
        return ArrowChunk(self.name, self._first + start, part)

    def place(self, index: int) -> str:
        """File name and the row, counted from one."""
        return f"{self.name}, row {self._first + index + 1}"

    def cells(self, column: str) -> list[object]:
        """The Python value of each row. TableError for a value that Python does not have."""
        return self._converted(column, as_python=True)

    def texts(self, column: str) -> list[str]:
        """Each cell as a CSV file holds it, nested ones in JSON."""
        return [text_of(value) for value in self._converted(column)]

    def members(self, columns: Sequence[str]) -> list[bytes]:
        """Each row as members of a JSON object; null where a cell is null, NaN or infinite."""
        if not columns:
            return [b""] * len(self)
        members = [
            [key + json_of(value) for value in self._converted(column)]
            for key, column in zip(map(key_prefix, columns), columns, strict=True)
        ]
        return [b",".join(row) for row in zip(*members, strict=True)]

    def arrow(self, column: str, type: "pa.DataType") -> "pa.Array | pa.ChunkedArray":
        """The column as it is. TableError if it is of another type, for nothing is converted."""
        found = self._column(column)
        if found.type != type:
            raise TableError(
                f"{self.name}: its column {column!r} is {found.type}, but {type} in the files "
                "before it; convert it, write another format than Parquet, or leave the column out"
            )
        return found

    def _column(self, column: str) -> "pa.ChunkedArray":
        if column not in self._table.column_names:
            raise no_column(self.name, column, self.columns)
        return self._table.column(column)

    def _converted(self, column: str, as_python: bool = False) -> list[object]:
        found = self._column(column)
        try:
            return python_values(found) if as_python else plain_values(found)
        except (library("pyarrow").ArrowException, ValueError, OverflowError) as error:
            raise TableError(
                f"{self.place(0)} and the {len(self) - 1} rows after it: the column {column!r} "
                f"({found.type}) cannot be converted: "
                f"{in_one_line(error)}; leave it out"
            ) from error


class ArrowTable:
    """A Parquet file. TableError at once if it is none, or has two columns of one name."""

    def __init__(self, file: TableFile) -> None:
        self.file = file
        with self._opened() as parquet:
            self.schema: pa.Schema = parquet.schema_arrow
        names = self.schema.names
        self.columns: tuple[str, ...] = tuple(names)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TableError(
                f"{file.path}: has two columns of the name {twice!r}; rename one of them"
            )

    def rows(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None = None
    ) -> Iterator[ArrowChunk]:
        """All rows. Errors as in `Table.rows`."""
        check_limits(max_rows, max_characters)
        pa = library("pyarrow")
        first = 0
        with self._opened() as parquet:
            sized = self._pieces(parquet, max_rows, max_characters)
            for block in _gathered(sized, max_rows, max_characters):
                table = pa.Table.from_batches(block, self.schema)
                yield ArrowChunk(self.file.path.name, first, table)
                first += table.num_rows
            if hasher is not None:
                self._hash(hasher)

    def _hash(self, hasher: FileHasher) -> None:
        """In a pass of its own, as pyarrow reads the file out of order."""
        with self.file.path.open("rb") as source:
            while piece := source.read(READ_BYTES):
                hasher.update(piece)

    @contextmanager
    def _opened(self) -> "Iterator[pq.ParquetFile]":
        """The file, opened anew; what pyarrow raises while it is open becomes a TableError."""
        pa, path = library("pyarrow"), self.file.path
        try:
            path.open("rb").close()
            with library("pyarrow.parquet").ParquetFile(
                path, pre_buffer=False, buffer_size=READ_BYTES, page_checksum_verification=True
            ) as parquet:
                yield parquet
        except pa.ArrowException as error:
            raise self._damaged("", error) from error
        except OSError as error:
            # pyarrow raises a bare OSError for bytes that it cannot make sense of
            found = unreadable(path, error) if error.errno else self._damaged("", error)
            raise found from error

    def _pieces(
        self, parquet: "pq.ParquetFile", max_rows: int, max_characters: int
    ) -> "Iterator[pa.RecordBatch]":
        """Checked batches of at most `max_rows` rows, and at most `max_characters` bytes or one."""
        metadata = parquet.metadata
        for group in range(metadata.num_row_groups):
            described = metadata.row_group(group)
            row_bytes = max(1, described.total_byte_size // max(1, described.num_rows))
            size = max(1, min(PIECE_ROWS, max_rows, max_characters // row_bytes))
            batches = parquet.iter_batches(size, row_groups=[group])
            for batch in self._checked(batches, group):
                yield from _halved(batch, max_characters)

    def _checked(
        self, batches: "Iterator[pa.RecordBatch]", group: int
    ) -> "Iterator[pa.RecordBatch]":
        """Invalid UTF-8 above all, which pyarrow would hand on."""
        pa = library("pyarrow")
        try:
            for batch in batches:
                batch.validate(full=True)
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(f", row group {group}", error) from error

    def _damaged(self, where: str, error: Exception) -> TableError:
        return TableError(
            f"{self.file.path}{where}: is no Parquet file, or cut off or damaged: "
            f"{in_one_line(error)}; fetch or make the file anew"
        )


def _gathered(
    pieces: "Iterator[pa.RecordBatch]", max_rows: int, max_bytes: int
) -> "Iterator[list[pa.RecordBatch]]":
    """Blocks of neighbouring pieces within both limits; a piece is cut where a block is full."""
    block: list[pa.RecordBatch] = []
    room, size = max_rows, 0
    for whole in pieces:
        piece, piece_size = whole, byte_size(whole)
        if block and size + piece_size > max_bytes:
            yield block
            block, room, size = [], max_rows, 0
        while piece.num_rows >= room:
            yield [*block, piece.slice(0, room)]
            piece = piece.slice(room)
            block, room, size, piece_size = [], max_rows, 0, byte_size(piece)
        if piece.num_rows:
            block.append(piece)
            room, size = room - piece.num_rows, size + piece_size
    if block:
        yield block


def byte_size(batch: "pa.RecordBatch") -> int:
    """Bytes of the cells; a dictionary, which all rows share, does not count."""
    types = library("pyarrow").types
    return sum(
        (column.indices if types.is_dictionary(column.type) else column).nbytes
        for column in batch.columns
    )


def _halved(batch: "pa.RecordBatch", max_bytes: int) -> "Iterator[pa.RecordBatch]":
    """`batch` in parts of at most `max_bytes`, or of one row."""
    half = batch.num_rows // 2
    if half == 0 or byte_size(batch) <= max_bytes:
        if batch.num_rows:
            yield batch
        return
    yield from _halved(batch.slice(0, half), max_bytes)
    yield from _halved(batch.slice(half), max_bytes)
