"""Parquet: rows as Arrow tables, read in pieces; chunks are Arrow streams, made into row groups.

Invariant: a column keeps its Arrow type and values, nested ones, nulls and dictionaries included,
and the schema its metadata. How rows were cut into chunks does not show in a written file, save
where row groups end.
"""

import io
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from isobatch.drawing.display_text import counted
from isobatch.errors import OptionError, TableError
from isobatch.tables.arrow_values import plain_values, python_values
from isobatch.tables.column_types import cast_fix, is_text
from isobatch.tables.content import likely_table_option
from isobatch.tables.file_names import Compression, TableFile, unreadable
from isobatch.tables.signatures import compression_of, refuse_binary
from isobatch.tables.table import (
    AddedValues,
    Table,
    TableChunk,
    TableWriter,
    assembly_failed,
    group_rows,
    one_line,
    unknown_column,
)
from isobatch.tables.text_files import FileHasher, damage_errors, open_stream
from isobatch.tables.values import ENTITY, AddedField, AddedKind, json_of, key_prefix, text_of

READ_BYTES = 1 << 20
"""A column is read in steps; in one piece it would be as long as the row group, often the file."""

PIECE_ROWS = 1024
"""Rows are read and measured in pieces, and gathered to blocks of whole pieces or parts of them."""

GROUP_ROWS, GROUP_BYTES = 100_000, 64 << 20

ADDED_TYPES: dict[AddedKind, pa.DataType] = {
    "text": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "flag": pa.bool_(),
    "numbers": pa.list_(pa.float32()),
}
ADDED_TYPES["entities"] = pa.list_(
    pa.struct([pa.field(name, ADDED_TYPES[kind]) for name, kind in ENTITY.items()])
)


def added_type(field: AddedField) -> pa.DataType:
    """Return the type of an added column; vectors have a fixed size."""
    if field.kind == "vector":
        return pa.list_(pa.float32(), field.size)
    return ADDED_TYPES[field.kind]


@dataclass(frozen=True, slots=True)
class ParquetChunk:
    """Rows of an Arrow table, of which the first is number `first` of the file, from zero."""

    name: str
    first: int
    table: pa.Table

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.table.column_names)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def part(self, start: int, stop: int) -> "ParquetChunk":
        start, stop, _ = slice(start, stop).indices(len(self))
        part = self.table.slice(start, max(stop - start, 0))
        return ParquetChunk(self.name, self.first + start, part)

    def place(self, index: int) -> str:
        return f"{self.name}, row {self.first + index + 1}"

    def cells(self, column: str) -> list[object]:
        """Return Python's own values. TableError for a value that Python does not have."""
        return self._converted(column, as_python=True)

    def texts(self, column: str) -> list[str]:
        return [text_of(value) for value in self._converted(column)]

    def members(self, columns: Sequence[str]) -> list[bytes]:
        """Return JSON members, with null where a cell is null, NaN or infinite."""
        if not columns:
            return [b""] * len(self)
        members = [
            [key + json_of(value) for value in self._converted(column)]
            for key, column in zip(map(key_prefix, columns), columns, strict=True)
        ]
        return [b",".join(row) for row in zip(*members, strict=True)]

    def arrow(self, column: str, type: pa.DataType) -> pa.Array | pa.ChunkedArray:
        """Return the column as it is. TableError if it is of another type."""
        found = self._column(column)
        if found.type != type:
            raise TableError(
                f"{self.name}: its column {column!r} is {found.type}, but {type} in the files "
                "before it; convert it, write another format than Parquet, or leave the column out"
            )
        return found

    def _column(self, column: str) -> pa.ChunkedArray:
        if column not in self.table.column_names:
            raise unknown_column(self.name, column, self.columns)
        return self.table.column(column)

    def _converted(self, column: str, as_python: bool = False) -> list[object]:
        found = self._column(column)
        try:
            return python_values(found) if as_python else plain_values(found)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise TableError(
                f"{self.place(0)} and the {counted(len(self) - 1, 'row')} after it: the column "
                f"{column!r} ({found.type}) cannot be converted: "
                f"{one_line(error)}; leave it out"
            ) from error


class ParquetTable(Table):
    """A Parquet file. TableError at once if it is not one, or has two columns of one name."""

    schema: pa.Schema
    columns: tuple[str, ...]

    def __init__(self, file: TableFile) -> None:
        super().__init__(file)
        with self._opened() as parquet:
            self.schema = parquet.schema_arrow
        names = self.schema.names
        self.columns = tuple(names)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TableError(
                f"{file.path}: has two columns of the name {twice!r}; rename one of them"
            )

    def _chunks(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None
    ) -> Iterator[ParquetChunk]:
        first = 0
        with self._opened() as parquet:
            pieces = self._pieces(parquet, max_rows, max_characters)
            for block in _group_batches(pieces, max_rows, max_characters):
                table = pa.Table.from_batches(block, self.schema)
                yield ParquetChunk(self.file.path.name, first, table)
                first += table.num_rows
            if hasher is not None:
                self._hash(hasher)

    def _hash(self, hasher: FileHasher) -> None:
        """Read the file once more, as pyarrow reads it out of order."""
        with self.file.path.open("rb") as source:
            while piece := source.read(READ_BYTES):
                hasher.update(piece)

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        """Open the file. Errors that pyarrow raises while it is open become TableErrors."""
        path = self.file.path
        try:
            path.open("rb").close()
            with pq.ParquetFile(
                path, pre_buffer=False, buffer_size=READ_BYTES, page_checksum_verification=True
            ) as parquet:
                yield parquet
        except pa.ArrowException as error:
            raise self._damaged("", error) from error
        except OSError as error:
            # pyarrow raises an OSError without errno for malformed bytes
            found = unreadable(path, error) if error.errno else self._damaged("", error)
            raise found from error

    def _pieces(
        self, parquet: pq.ParquetFile, max_rows: int, max_characters: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield valid batches of at most `max_rows` rows, and `max_characters` bytes or one row."""
        metadata = parquet.metadata
        for group in range(metadata.num_row_groups):
            described = metadata.row_group(group)
            row_bytes = max(1, described.total_byte_size // max(1, described.num_rows))
            size = max(1, min(PIECE_ROWS, max_rows, max_characters // row_bytes))
            batches = parquet.iter_batches(size, row_groups=[group])
            for batch in self._checked(batches, group):
                yield from _halved(batch, max_characters)

    def _checked(self, batches: Iterator[pa.RecordBatch], group: int) -> Iterator[pa.RecordBatch]:
        """Find invalid UTF-8 above all, which pyarrow would pass on."""
        try:
            for batch in batches:
                batch.validate(full=True)
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(f", row group {group}", error) from error

    def check_text(self, column: str) -> None:
        """Raise a TableError, with the way to cast it, if the column's type is not of text."""
        type = self.schema.field(column).type
        if not is_text(type):
            raise TableError(
                f"{self.file.path}: its column {column!r} is {type}, not string; "
                f"{cast_fix(self.file.path, column, type)}"
            )

    def _damaged(self, where: str, error: Exception) -> TableError:
        if not where and (option := _other_format(self.file.path)):
            return TableError(f"{self.file.path}: not a Parquet file; {option}")
        return TableError(
            f"{self.file.path}{where}: not a Parquet file, or truncated or corrupt: "
            f"{one_line(error)}; download or recreate the file"
        )


def _other_format(path: Path) -> str | None:
    """Return how to read a file that is not Parquet, if its first bytes say so."""
    with path.open("rb") as source:
        start = source.read(READ_BYTES)
    if not start:
        return "it is empty; download or recreate the file"
    if start.startswith(b"PAR1"):
        return None
    if (outer := compression_of(start)) != "none":
        return _compressed_fix(path, outer)
    refuse_binary(str(path), start)
    return _text_option(start)


def _text_option(start: bytes) -> str | None:
    lines = start.decode("utf-8", "replace").splitlines()[
        : -1 if len(start) == READ_BYTES else None
    ]
    option = likely_table_option(lines) if start.isascii() or b"\0" not in start else None
    return f"use {option}" if option else None


def _compressed_fix(path: Path, outer: Compression) -> str:
    """Return how to read a compressed file, by what is compressed."""
    start = b""
    with suppress(*damage_errors(outer)), open_stream(path, outer) as source:
        start = source.read(READ_BYTES)
    if not start.startswith(b"PAR1") and (option := _text_option(start)):
        return f"it is {outer} data; {option} --compression {outer}"
    ending = ".parquet" if start.startswith(b"PAR1") else ""
    return (
        f"it is compressed as a whole, by {outer}; decompress it: "
        f"{outer} -dc < {shlex.quote(str(path))} > NEW{ending}"
    )


def _group_batches(
    pieces: Iterator[pa.RecordBatch], max_rows: int, max_bytes: int
) -> Iterator[list[pa.RecordBatch]]:
    """Group consecutive pieces within both limits; a piece is cut where a group is full."""
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


def byte_size(batch: pa.RecordBatch) -> int:
    """Return the bytes of the cells, without a dictionary, which all rows share."""
    return sum(
        (column.indices if pa.types.is_dictionary(column.type) else column).nbytes
        for column in batch.columns
    )


def _halved(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield `batch` in parts of at most `max_bytes`, or of one row."""
    half = batch.num_rows // 2
    if half == 0 or byte_size(batch) <= max_bytes:
        if batch.num_rows:
            yield batch
        return
    yield from _halved(batch.slice(0, half), max_bytes)
    yield from _halved(batch.slice(half), max_bytes)


class ParquetWriter(TableWriter):
    """Writes Parquet with the types of `schema`. TableError at once for a type that it lacks."""

    def __init__(
        self, columns: Sequence[str], fields: Sequence[AddedField], schema: pa.Schema
    ) -> None:
        super().__init__(columns, fields)
        lacking = [column for column in columns if column not in schema.names]
        if lacking:
            raise OptionError(f"the schema has no column {lacking[0]!r}; scan the file again")
        kept = [schema.field(column) for column in columns]
        new = [pa.field(field.name, added_type(field)) for field in fields]
        self._schema = pa.schema([*kept, *new], schema.metadata)
        _check_writable(self._schema)

    def _encode(self, rows: TableChunk, added: AddedValues) -> bytes:
        """Return an Arrow stream."""
        arrays = [rows.arrow(column, self._schema.field(column).type) for column in self._columns]
        for field, values in zip(self._fields, added, strict=True):
            arrays.append(pa.array(values, added_type(field)))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as stream:
            stream.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        return bytes(sink.getvalue())

    def assemble(self, chunks: Iterable[Path], target: BinaryIO) -> None:
        """Write chunks as row groups of a good size. TableError if a chunk or the target fails."""
        tables = ((table, table.num_rows, table.nbytes) for table in map(_read_chunk, chunks))
        try:
            with pq.ParquetWriter(target, self._schema) as writer:
                for group in group_rows(tables, GROUP_ROWS, GROUP_BYTES):
                    writer.write_table(pa.concat_tables(group), row_group_size=GROUP_ROWS)
        except (pa.ArrowException, OSError) as error:
            raise assembly_failed(target, error) from error


def _read_chunk(path: Path) -> pa.Table:
    with path.open("rb") as source:
        try:
            return pa.ipc.open_stream(source).read_all()
        except (pa.ArrowException, OSError) as error:
            raise TableError(
                f"{path}: this chunk is corrupt: {one_line(error)}; remove it, and it will be "
                "recomputed"
            ) from error


def _check_writable(schema: pa.Schema) -> None:
    """Try each type with a writer of no rows, as Parquet lacks a few of Arrow's types."""
    for field in schema:
        try:
            pq.ParquetWriter(io.BytesIO(), pa.schema([field])).close()
        except pa.ArrowException as error:
            raise TableError(
                f"the column {field.name!r} ({field.type}) cannot be written to a Parquet file: "
                f"{one_line(error)}; write JSON Lines, or leave the column out"
            ) from error
