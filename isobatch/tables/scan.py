"""One pass over a whole table, before hours of work are spent on a file that breaks off.

It knows nothing of formats beyond what their tables tell.
Invariant: what has been scanned can be read again, and its schema holds every one of its values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isobatch.errors import TableError
from isobatch.tables.compression import FileDigest, FileHasher
from isobatch.tables.json_kinds import Kind, MixedKindsError, arrow_type, kind_of, merged
from isobatch.tables.libraries import library
from isobatch.tables.parquet import ArrowTable
from isobatch.tables.rows import MISSING, Table, TableChunk, Unreadable

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

SCAN_ROWS, SCAN_CHARACTERS = 4096, 1 << 24


@dataclass(frozen=True, slots=True)
class TableScan:
    """What one pass over a table has found.

    The schema is that of a Parquet file, always; of other files only where it was asked for.
    `digests` are of the files, in the order of the tables.
    """

    num_rows: int
    columns: tuple[str, ...]
    schema: "pa.Schema | None"
    digests: tuple[FileDigest, ...]


def scan_tables(tables: Sequence[Table], with_schema: bool = False) -> TableScan:
    """Read all of `tables`, which are of one format, and count their rows as those of one.

    TableError for the first row that cannot be read, and for a table whose columns are not those of
    the first (JSON objects may differ); with a schema also for a column of JSON whose values have
    no one Arrow type.
    """
    first = tables[0]
    columns: dict[str, None] = dict.fromkeys(first.columns or ())
    kinds: dict[str, Kind] = {}
    digests = []
    num_rows = 0
    for table in tables:
        _refuse_other_columns(first, table)
        hasher = FileHasher()
        for rows in table.rows(SCAN_ROWS, SCAN_CHARACTERS, hasher):
            num_rows += len(rows)
            if table.columns is None:
                columns.update(dict.fromkeys(rows.columns))
                if with_schema:
                    _merge_kinds(rows, kinds)
        digests.append(hasher.digest())
    if isinstance(first, ArrowTable):
        return TableScan(num_rows, first.columns, first.schema, tuple(digests))
    schema = _schema(first, columns, kinds) if with_schema else None
    return TableScan(num_rows, tuple(columns), schema, tuple(digests))


def _refuse_other_columns(first: Table, table: Table) -> None:
    if table.columns != first.columns:
        raise TableError(
            f"{table.file.path}: its columns are {_listed(table)}, but those of {first.file.path} "
            f"are {_listed(first)}; rows of one output need the same: name a folder as output "
            "(ending with /), which gets a file for each"
        )
    if (
        isinstance(table, ArrowTable)
        and isinstance(first, ArrowTable)
        and not table.schema.equals(first.schema)
    ):
        raise TableError(
            f"{table.file.path}: its columns have other types than those of {first.file.path}; "
            "name a folder as output (ending with /), which gets a file for each"
        )


def _listed(table: Table) -> str:
    return ", ".join(table.columns or ())


def _merge_kinds(rows: TableChunk, kinds: dict[str, Kind]) -> None:
    for column in rows.columns:
        kind = kinds.get(column, "null")
        for index, value in enumerate(rows.cells(column)):
            if value is not MISSING:
                kind = _merged(rows, index, column, kind, value)
        kinds[column] = kind


def _merged(rows: TableChunk, index: int, column: str, kind: Kind, value: object) -> Kind:
    try:
        if isinstance(value, Unreadable):
            raise MixedKindsError(value.reason)
        return merged(kind, kind_of(value))
    except MixedKindsError as error:
        raise _no_type(rows.place(index), column, error) from error


def _schema(table: Table, columns: dict[str, None], kinds: dict[str, Kind]) -> "pa.Schema":
    fields = {}
    for column in columns:
        try:
            fields[column] = arrow_type(kinds.get(column, "text"))
        except MixedKindsError as error:
            raise _no_type(str(table.file.path), column, error) from error
    return library("pyarrow").schema(list(fields.items()))


def _no_type(place: str, column: str, error: MixedKindsError) -> TableError:
    return TableError(
        f"{place}: the column {column!r} has no type in a Parquet file: {error}; write JSON Lines "
        "instead, or leave the column out"
    )
