"""The Arrow schema of JSON columns, found by looking at every value.

pyarrow's own inference is not used: it turns true into 1.0 among numbers, and what it finds depends
on where chunks of rows begin. Invariant: values read back equal from the type that is found (save
that an object's missing keys read back as null); kinds without a common type are an error.
"""

from collections.abc import Iterable
from typing import TypeAlias

import pyarrow as pa  # type: ignore[import-untyped]

from isobatch.errors import TableError
from isobatch.tables.table import MISSING, TableChunk, Unreadable

JsonKind: TypeAlias = "str | tuple[JsonKind] | dict[str, JsonKind]"
"""A name for null, flags, numbers and text; (its items' kind,) for an array; or an object's."""

EXACT_IN_FLOAT = 2**53
INT64 = range(-(2**63), 2**63)

WIDENINGS = (("float", "integer"), ("long integer", "integer"))
"""Pairs of kinds of which the first holds every value of the second, too."""


class MixedKindsError(ValueError):
    """Values of two kinds without a common Arrow type."""


class SchemaBuilder:
    """Merges the kinds of all values of each column; `text_columns` are known beforehand."""

    def __init__(self, text_columns: Iterable[str] = ()) -> None:
        self._kinds: dict[str, JsonKind] = dict.fromkeys(text_columns, "text")

    def add(self, rows: TableChunk) -> None:
        """Merge the kinds of `rows`. TableError names the row that has no type with the others."""
        for column in rows.columns:
            kind = self._kinds.get(column, "null")
            for index, value in enumerate(rows.cells(column)):
                if value is not MISSING:
                    try:
                        kind = merged(kind, kind_of(value))
                    except MixedKindsError as error:
                        raise _no_type(rows.place(index), column, error) from error
            self._kinds[column] = kind

    def schema(self, place: str) -> pa.Schema:
        """Return the schema. TableError, which names `place`, for a column without a type."""
        fields = {}
        for column, kind in self._kinds.items():
            try:
                fields[column] = arrow_type(kind)
            except MixedKindsError as error:
                raise _no_type(place, column, error) from error
        return pa.schema(list(fields.items()))


def _no_type(place: str, column: str, error: MixedKindsError) -> TableError:
    return TableError(
        f"{place}: the column {column!r} has no type in a Parquet file: {error}; write JSON Lines "
        "instead, or leave the column out"
    )


def kind_of(value: object) -> JsonKind:
    """Return the kind of one value.

    MixedKindsError for an array of mixed items, a huge integer, or an unreadable value.
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, float):
        return "float"
    if isinstance(value, int):
        if value not in INT64:
            raise MixedKindsError(f"the integer {value} has more than 64 bits")
        return "integer" if -EXACT_IN_FLOAT <= value <= EXACT_IN_FLOAT else "long integer"
    if isinstance(value, dict):
        return {key: kind_of(item) for key, item in value.items()}
    if isinstance(value, Unreadable):
        raise MixedKindsError(value.reason)
    assert isinstance(value, list), "JSON has no other kinds"
    kind: JsonKind = "null"
    for item in value:
        kind = merged(kind, kind_of(item))
    return (kind,)


def merged(one: JsonKind, other: JsonKind) -> JsonKind:
    """Return the kind that holds both kinds. MixedKindsError if there is none."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if isinstance(one, tuple) and isinstance(other, tuple):
        return (merged(one[0], other[0]),)
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            key: merged(one.get(key, "null"), other.get(key, "null")) for key in {**one, **other}
        }
    for pair in WIDENINGS:
        if (one, other) in (pair, pair[::-1]):
            return pair[0]
    raise MixedKindsError(f"it holds both {_name(one)} and {_name(other)} values")


def _name(kind: JsonKind) -> str:
    if isinstance(kind, dict):
        return "object"
    return "array" if isinstance(kind, tuple) else str(kind)


def arrow_type(kind: JsonKind) -> pa.DataType:
    """Return the Arrow type of `kind`. MixedKindsError for an object without keys."""
    if isinstance(kind, tuple):
        return pa.list_(arrow_type(kind[0]))
    if isinstance(kind, dict):
        if not kind:
            raise MixedKindsError("it holds objects without any key")
        return pa.struct([(key, arrow_type(item)) for key, item in kind.items()])
    return {
        "null": pa.null(),
        "flag": pa.bool_(),
        "integer": pa.int64(),
        "long integer": pa.int64(),
        "float": pa.float64(),
        "text": pa.string(),
    }[str(kind)]
