"""The writer of Parquet files: chunks are Arrow streams, made into row groups of a good size.

It knows nothing of text formats.
Invariant: how rows were cut into chunks does not show in the file, save where row groups end.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from isobatch.errors import OptionError, TableError
from isobatch.tables.added import Added, AddedField, check_added, not_unicode
from isobatch.tables.libraries import in_one_line, library
from isobatch.tables.rows import TableChunk
from isobatch.tables.text_writers import unwritten

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

GROUP_ROWS, GROUP_BYTES = 100_000, 64 << 20


class ParquetWriter:
    """Writes Parquet with the types of `schema`. TableError at once for a type that it lacks."""

    def __init__(
        self, columns: Sequence[str], fields: Sequence[AddedField], schema: "pa.Schema"
    ) -> None:
        pa = library("pyarrow")
        lacking = [column for column in columns if column not in schema.names]
        if lacking:
            raise OptionError(f"the schema has no column {lacking[0]!r}; scan the file again")
        kept = [schema.field(column) for column in columns]
        new = [pa.field(field.name, field.arrow_type()) for field in fields]
        self._columns = tuple(columns)
        self._fields = tuple(fields)
        self._schema = pa.schema([*kept, *new], schema.metadata)
        _refuse_unwritable(self._schema)

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, rows: TableChunk, added: Added) -> bytes:
        """One chunk, an Arrow stream. TableError for a cell that does not fit its column's type."""
        pa = library("pyarrow")
        check_added(rows, self._fields, added)
        arrays = [rows.arrow(column, self._schema.field(column).type) for column in self._columns]
        try:
            for field, values in zip(self._fields, added, strict=True):
                arrays.append(pa.array(values, field.arrow_type()))
        except UnicodeEncodeError as error:
            raise not_unicode(rows, self._fields, added, error) from error
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as stream:
            stream.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        return bytes(sink.getvalue())

    def assemble(self, chunks: Iterable[Path], target: BinaryIO) -> None:
        """Write the Parquet file. TableError if a chunk or the target fails."""
        pa = library("pyarrow")
        try:
            with library("pyarrow.parquet").ParquetWriter(target, self._schema) as writer:
                for tables in _row_groups(map(_read_chunk, chunks)):
                    writer.write_table(pa.concat_tables(tables), row_group_size=GROUP_ROWS)
        except (pa.ArrowException, OSError) as error:
            raise unwritten(target, error) from error


def _read_chunk(path: Path) -> "pa.Table":
    pa = library("pyarrow")
    with path.open("rb") as source:
        try:
            return pa.ipc.open_stream(source).read_all()
        except (pa.ArrowException, OSError) as error:
            raise TableError(
                f"{path}: this chunk is damaged: {in_one_line(error)}; remove it, so that it is "
                "made anew"
            ) from error


def _row_groups(tables: "Iterator[pa.Table]") -> "Iterator[list[pa.Table]]":
    """Neighbouring tables within the limits of a row group, or one table that is beyond them."""
    group: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        if group and (rows + table.num_rows > GROUP_ROWS or size + table.nbytes > GROUP_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
    if group:
        yield group


def _refuse_unwritable(schema: "pa.Schema") -> None:
    """Parquet lacks a few of Arrow's types; a writer of no rows tells."""
    pa = library("pyarrow")
    for field in schema:
        try:
            library("pyarrow.parquet").ParquetWriter(io.BytesIO(), pa.schema([field])).close()
        except pa.ArrowException as error:
            raise TableError(
                f"the column {field.name!r} ({field.type}) cannot be written to a Parquet file: "
                f"{in_one_line(error)}; write JSON Lines, or leave the column out"
            ) from error
