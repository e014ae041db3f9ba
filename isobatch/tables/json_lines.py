"""Rows of JSON objects, one a line, whose values keep the bytes that they have in the file.

It knows nothing of CSV or Parquet files, and decodes a value only when it is asked for.
Invariant: a value's spelling and a row's order of keys never change; a key that stands twice in one
row, of which a reader would silently drop one, is an error. (Inside of a nested value it is not.)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from isobatch.errors import TableError
from isobatch.tables.compression import FileHasher
from isobatch.tables.formats import TableFile
from isobatch.tables.json_objects import refuse_object, split_object
from isobatch.tables.libraries import in_one_line, library
from isobatch.tables.lines import not_utf8, read_lines
from isobatch.tables.rows import MISSING, Unreadable, blocks, check_limits
from isobatch.tables.values import decoder, key_prefix, text_of

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Members = Mapping[str, Any]
"""Keys and the bytes of their values: bytes, or msgspec.Raw, which are as good."""

Record = tuple[int, Members]
"""Number of its line, and the row."""


class JsonChunk:
    """Rows of which each is a JSON object."""

    def __init__(self, name: str, records: list[Record]) -> None:
        self.name = name
        self._records = records

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys that one of these rows has, in order of appearance."""
        keys: dict[str, None] = {}
        for _, members in self._records:
            if not keys.keys() >= members.keys():
                keys.update(dict.fromkeys(members))
        return tuple(keys)

    def __len__(self) -> int:
        return len(self._records)

    def part(self, start: int, stop: int) -> "JsonChunk":
        """TableChunk `start` to `stop`, the latter not included."""
        return JsonChunk(self.name, self._records[start:stop])

    def place(self, index: int) -> str:
        """File name and line of row `index`."""
        return f"{self.name}:{self._records[index][0]}"

    def cells(self, column: str) -> list[object]:
        """The value of each row; MISSING where it lacks the key, Unreadable where Python does."""
        return [
            value_of(members[column]) if column in members else MISSING
            for _, members in self._records
        ]

    def texts(self, column: str) -> list[str]:
        """Strings as their text, null and missing as nothing, all else as it is spelled.

        TableError for a string that cannot be decoded.
        """
        raws = (members.get(column, b"null") for _, members in self._records)
        return [self._text(index, column, bytes(raw)) for index, raw in enumerate(raws)]

    def members(self, columns: Sequence[str]) -> list[bytes]:
        """Each row's own members of those columns, in its own order; none is invented."""
        prefixes = {column: key_prefix(column) for column in columns}
        return [
            b",".join([prefixes[key] + raw for key, raw in members.items() if key in prefixes])
            for _, members in self._records
        ]

    def arrow(self, column: str, type: "pa.DataType") -> "pa.Array | pa.ChunkedArray":
        """The values as an Arrow array; a missing one is null. TableError if one does not fit."""
        pa = library("pyarrow")
        values = [
            None if value is MISSING else self._readable(index, column, value)
            for index, value in enumerate(self.cells(column))
        ]
        try:
            return pa.array(values, type)
        except (pa.ArrowException, OverflowError, RecursionError) as error:
            raise TableError(
                f"{self.place(0)} and the {len(self) - 1} rows after it: the values of {column!r} "
                f"do not fit its type {type}: {in_one_line(error)}; write JSON Lines, or leave the "
                "column out"
            ) from error

    def _text(self, index: int, column: str, raw: bytes) -> str:
        if raw == b"null":
            return ""
        if not raw.startswith(b'"'):
            return raw.decode()
        return text_of(self._readable(index, column, value_of(raw)))

    def _readable(self, index: int, column: str, value: object) -> object:
        if isinstance(value, Unreadable):
            raise TableError(
                f"{self.place(index)}: the value of {column!r} cannot be decoded: {value.reason}; "
                "mend it, write JSON Lines, or leave the column out"
            )
        return value


class JsonTable:
    """A file of JSON Lines; only a scan tells its columns. Blank lines are skipped."""

    columns: tuple[str, ...] | None = None

    def __init__(self, file: TableFile) -> None:
        self.file = file

    def rows(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None = None
    ) -> Iterator[JsonChunk]:
        """All rows. Errors as in `Table.rows`."""
        check_limits(max_rows, max_characters)
        for block in blocks(self._rows_of_data(hasher), max_rows, max_characters):
            yield JsonChunk(self.file.path.name, block)

    def _rows_of_data(self, hasher: FileHasher | None) -> Iterator[tuple[Record, int]]:
        path, decode = self.file.path, object_decoder()
        for number, line in enumerate(read_lines(self.file, hasher), 1):
            if not line.isspace():
                yield (number, read_object(path, number, line, decode)), len(line)


@cache
def object_decoder() -> Callable[[bytes], Members]:
    """One line to its members, the values left as bytes."""
    msgspec = library("msgspec")
    decode: Callable[[bytes], Members] = msgspec.json.Decoder(
        GenericAlias(dict, (str, msgspec.Raw))
    ).decode
    return decode


def read_object(
    path: Path, number: int, line: bytes, decode: Callable[[bytes], Members]
) -> Members:
    """The members of the object on line `number`. TableError if it holds none, or no good one."""
    if not line.isascii():
        try:
            line.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(path, number, error) from error
    try:
        members = decode(line)
    except RecursionError as error:
        raise refuse_object(path, number, line, error) from error
    except ValueError:
        # msgspec refuses half surrogate pairs too, which are JSON; the slow reader has the last
        # word, and better ones.
        return split_object(path, number, line)
    return members if spells_out(line, members) else split_object(path, number, line)


def spells_out(line: bytes, members: Members) -> bool:
    """Whether `line` is `members` in one of the two usual spellings, so that no key stands twice.

    The decoder keeps only the last of two equal keys, and does not tell.
    """
    body = line.rstrip()
    pairs = [(key.encode(), raw) for key, raw in members.items()]
    return body in (
        b"{" + b", ".join([b'"%b": %b' % pair for pair in pairs]) + b"}",
        b"{" + b",".join([b'"%b":%b' % pair for pair in pairs]) + b"}",
    )


def value_of(raw: Any) -> object:
    """The Python value of some JSON; Unreadable where there is none."""
    try:
        return decoder()(raw)
    except RecursionError:
        return Unreadable("it is nested too deeply")
    except library("msgspec").DecodeError as error:
        if "out of range" in str(error):
            return Unreadable("a number in it is out of range")
        return Unreadable(f"it holds half of a surrogate pair (\\ud800 to \\udfff): {error}")
