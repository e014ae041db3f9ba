"""The writer for a format: rows with columns added become chunks, and the chunks one file.

It knows nothing of where rows and added values come from, nor of how chunks are kept.
Invariant: the same rows and values give the same bytes, and no chunk depends on another.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from isobatch.errors import OptionError
from isobatch.tables.added import Added, AddedField
from isobatch.tables.formats import FORMATS, Compression, CsvDialect, Format
from isobatch.tables.parquet_writer import ParquetWriter
from isobatch.tables.rows import TableChunk
from isobatch.tables.text_writers import DelimitedWriter, JsonWriter

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]


class TableWriter(Protocol):
    """Encodes rows as chunks, and makes one file of them."""

    def head(self) -> bytes:
        """What stands before all chunks: the header line of csv and tsv, where there is one."""

    def encode(self, rows: TableChunk, added: Added) -> bytes:
        """One chunk; `added` holds, for each added field, the value of each row.

        TableError, naming the row, for a cell that the format cannot hold.
        """

    def assemble(self, chunks: Iterable[Path], target: BinaryIO) -> None:
        """Write the whole file to `target`. TableError if a chunk or the target fails."""


def make_writer(
    format: Format,
    compression: Compression,
    dialect: CsvDialect,
    columns: Sequence[str],
    fields: Sequence[AddedField],
    schema: "pa.Schema | None" = None,
) -> TableWriter:
    """The writer of the input's `columns`, in that order, and of `fields` after them.

    Only Parquet needs the schema, and has the columns' types from it. OptionError for a format that
    cannot be written, two columns of one name, or Parquet without schema or compressed as a whole.
    TableError for a type that Parquet lacks.
    """
    _refuse_names(columns, fields)
    if format == "csv" or format == "tsv":
        return DelimitedWriter(format, compression, dialect, columns, fields)
    if format == "jsonl":
        return JsonWriter(compression, columns, fields)
    if format == "lines":
        raise OptionError(
            "plain lines cannot hold more than one column; write to a file that ends in .jsonl, "
            ".csv, .tsv or .parquet"
        )
    if format != "parquet":
        raise OptionError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if compression != "none":
        raise OptionError("a Parquet file is compressed inside, never as a whole; drop the ending")
    if schema is None:
        raise OptionError("to write Parquet the rows' schema must be known: scan them with_schema")
    return ParquetWriter(columns, fields, schema)


def _refuse_names(columns: Sequence[str], fields: Sequence[AddedField]) -> None:
    counts = Counter([*columns, *(field.name for field in fields)])
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise OptionError(
            f"the output would have two columns of the name {twice!r}; name the added one "
            "differently, or leave the other out"
        )
    if not counts:
        raise OptionError("the output would have no columns; keep one")
