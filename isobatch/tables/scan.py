"""One pass over whole tables, so that a bad line is found before hours of work are spent on a file.

Invariant: a scanned table can be read again, and its schema holds every one of its values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isobatch.errors import TableError
from isobatch.extras import needs_extra
from isobatch.tables.table import Table, TableChunk
from isobatch.tables.text_files import FileDigest, FileHasher

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

SCAN_ROWS, SCAN_CHARACTERS = 4096, 1 << 24


@dataclass(frozen=True, slots=True)
class TableScan:
    """The result of one pass over tables.

    The schema is that of a Parquet file, always; of other files only where it was requested.
    `digests` are of the files, in the order of the tables. undecodable: the columns with a value
    that is not text, and the error of the first, where that was requested.
    """

    num_rows: int
    columns: tuple[str, ...]
    schema: "pa.Schema | None"
    digests: tuple[FileDigest, ...]
    undecodable: Mapping[str, TableError]


def scan_tables(
    tables: Sequence[Table], with_schema: bool = False, *, as_texts: bool = False
) -> TableScan:
    """Read all of `tables`, which are of one format, and count their rows as those of one.

    TableError for the first row that cannot be read, and for a table whose columns are not those of
    the first (JSON objects may differ); with a schema also for a column of JSON whose values have
    no common Arrow type. as_texts: find the columns with a value that is not text.
    """
    first = tables[0]
    columns: dict[str, None] = dict.fromkeys(first.columns or ())
    builder = None
    if with_schema and first.schema is None:
        with needs_extra("files", "Parquet"):
            from isobatch.tables.json_schema import SchemaBuilder
        builder = SchemaBuilder(columns)
    digests = []
    num_rows = 0
    undecodable: dict[str, TableError] = {}
    for table in tables:
        _check_columns(first, table)
        hasher = FileHasher()
        for rows in table.rows(SCAN_ROWS, SCAN_CHARACTERS, hasher):
            num_rows += len(rows)
            if table.columns is None:
                columns.update(dict.fromkeys(rows.columns))
                if builder:
                    builder.add(rows)
                if as_texts:
                    _find_undecodable(rows, undecodable)
        digests.append(hasher.digest())
    schema = builder.schema(str(first.file.path)) if builder else first.schema
    return TableScan(num_rows, tuple(columns), schema, tuple(digests), undecodable)


def _find_undecodable(rows: TableChunk, found: dict[str, TableError]) -> None:
    """Add the columns with a value that is not text, which a file of texts could not hold."""
    for column in rows.columns:
        if column not in found:
            try:
                rows.texts(column)
            except TableError as error:
                found[column] = error


def _check_columns(first: Table, table: Table) -> None:
    if table.columns != first.columns:
        raise TableError(
            f"{table.file.path}: its columns are {_listed(table)}, but those of {first.file.path} "
            f"are {_listed(first)}. Files that are read together need the same columns: process "
            "one at a time, or specify a folder as output (ending with /), which gets a file for "
            "each"
        )
    if table.schema is not None and not table.schema.equals(first.schema):
        raise TableError(
            f"{table.file.path}: its columns do not have the same types as those of "
            f"{first.file.path}; "
            "name a folder as output (ending with /), which gets a file for each"
        )


def _listed(table: Table) -> str:
    return "those of JSON objects" if table.columns is None else ", ".join(table.columns)
