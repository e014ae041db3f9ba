"""The reader and the writer of each format, whose modules are imported when they are needed."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from isobatch.errors import OptionError
from isobatch.extras import needs_extra
from isobatch.tables.content import check_content
from isobatch.tables.delimited import DelimitedTable, DelimitedWriter, LinesTable
from isobatch.tables.file_names import Compression, CsvDialect, Format, TableFile, check_format
from isobatch.tables.table import Table, TableWriter
from isobatch.tables.values import AddedField

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]


def open_table(file: TableFile) -> Table:
    """Open `file`, and read its header or schema.

    TableError if that cannot be read or names a column twice, and if the first lines are evidently
    of another format. OptionError for an unknown format, for compressed Parquet, or if the format
    needs a library that is not installed.
    """
    check_format(str(file.path), file.format, file.compression)
    if file.format == "parquet":
        with needs_extra("files", "Parquet"):
            from isobatch.tables.parquet import ParquetTable
        return ParquetTable(file)
    reader: type[Table] = DelimitedTable
    if file.format == "lines":
        reader = LinesTable
    elif file.format == "jsonl":
        with needs_extra("files", "JSON Lines"):
            from isobatch.tables.json_lines import JsonTable
        reader = JsonTable
    check_content(file)
    return reader(file)


def open_output(file: TableFile) -> Table:
    """Open a file that was written, as `open_table`; also an array of vectors."""
    if file.format != "npy":
        return open_table(file)
    from isobatch.tables.npy_files import NpyTable

    return NpyTable(file)


def make_writer(
    format: Format,
    compression: Compression,
    dialect: CsvDialect,
    columns: Sequence[str],
    fields: Sequence[AddedField],
    schema: "pa.Schema | None" = None,
) -> TableWriter:
    """Return the writer of the input's `columns`, in that order, and of `fields` after them.

    Only Parquet needs the schema, and has the columns' types from it. OptionError for a format that
    cannot be written, two columns of one name, or Parquet without schema or compressed as a whole.
    TableError for a type that Parquet lacks.
    """
    _check_names(columns, fields)
    check_format("the output", format, compression, is_input=False)
    if format == "lines":
        raise OptionError(
            "plain lines cannot hold more than one column; write to a file that ends in .jsonl, "
            ".csv, .tsv or .parquet"
        )
    if format == "jsonl":
        with needs_extra("files", "JSON Lines"):
            from isobatch.tables.json_lines import JsonWriter
        return JsonWriter(columns, fields, compression)
    if format == "npy":
        from isobatch.tables.npy_files import NpyWriter

        return NpyWriter(columns, fields)
    if format == "parquet":
        if schema is None:
            raise OptionError("Parquet output needs the rows' schema: scan them with_schema")
        with needs_extra("files", "Parquet"):
            from isobatch.tables.parquet import ParquetWriter
        return ParquetWriter(columns, fields, schema)
    return DelimitedWriter(format, compression, dialect, columns, fields)


def _check_names(columns: Sequence[str], fields: Sequence[AddedField]) -> None:
    counts = Counter([*columns, *(field.name for field in fields)])
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise OptionError(
            f"the output would have two columns of the name {twice!r}; name the added one "
            "differently, or leave the other out"
        )
    if not counts:
        raise OptionError("the output would have no columns; keep one")
