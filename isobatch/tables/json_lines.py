"""JSON Lines: rows of JSON objects, whose values keep the bytes that they have in the file.

A value is decoded only when it is requested. Invariant: a value's spelling and a row's order of
keys never change; a key that appears twice in one row, of which a reader would silently drop one,
is an error. (Inside of a nested value it is not.)
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Any

import msgspec

from isobatch.drawing.display_text import counted
from isobatch.errors import TableError
from isobatch.tables.encodings import not_utf8
from isobatch.tables.table import (
    MISSING,
    AddedValues,
    LineChunk,
    Table,
    TableChunk,
    TableWriter,
    Unreadable,
    group_rows,
    one_line,
)
from isobatch.tables.text_files import FileHasher, compress, read_lines
from isobatch.tables.values import has_surrogate, key_prefix, text_of

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Members = Mapping[str, Any]
"""Keys, and the values' bytes as bytes or msgspec.Raw."""

_decode_value = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(GenericAlias(dict, (str, msgspec.Raw))).decode


class JsonChunk(LineChunk[Members]):
    """Rows of which each is a JSON object."""

    @property
    def columns(self) -> tuple[str, ...]:
        keys: dict[str, None] = {}
        for _, members in self.records:
            if not keys.keys() >= members.keys():
                keys.update(dict.fromkeys(members))
        return tuple(keys)

    def cells(self, column: str) -> list[object]:
        """Return each row's value; MISSING without the key, Unreadable if Python cannot hold it."""
        return [
            _value_of(members[column]) if column in members else MISSING
            for _, members in self.records
        ]

    def texts(self, column: str) -> list[str]:
        """Return strings as their text, null and missing as "", all else as it is spelled.

        TableError for a string that cannot be decoded.
        """
        raws = (members.get(column, b"null") for _, members in self.records)
        return [self._text(index, column, bytes(raw)) for index, raw in enumerate(raws)]

    def members(self, columns: Sequence[str]) -> list[bytes]:
        """Return each row's own members of those columns, in its own order."""
        prefixes = {column: key_prefix(column) for column in columns}
        return [
            b",".join([prefixes[key] + raw for key, raw in members.items() if key in prefixes])
            for _, members in self.records
        ]

    def arrow(self, column: str, type: "pa.DataType") -> "pa.Array | pa.ChunkedArray":
        """Return an Arrow array; a missing value is null. TableError if one does not fit `type`."""
        import pyarrow as pa

        values = [
            None if value is MISSING else self._readable(index, column, value)
            for index, value in enumerate(self.cells(column))
        ]
        try:
            return pa.array(values, type)
        except (pa.ArrowException, OverflowError, RecursionError) as error:
            raise TableError(
                f"{self.place(0)} and the {counted(len(self) - 1, 'row')} after it: the values of "
                f"{column!r} do not fit its type {type}: {one_line(error)}; write JSON Lines, or "
                "leave the column out"
            ) from error

    def _text(self, index: int, column: str, raw: bytes) -> str:
        if raw == b"null":
            return ""
        if not raw.startswith(b'"'):
            return raw.decode()
        return text_of(self._readable(index, column, _value_of(raw)))

    def _readable(self, index: int, column: str, value: object) -> object:
        if isinstance(value, Unreadable):
            raise TableError(
                f"{self.place(index)}: the value of {column!r} cannot be decoded: {value.reason}; "
                "fix it, write JSON Lines, or leave the column out"
            )
        return value


def _value_of(raw: Any) -> object:
    """Return the Python value of some JSON; Unreadable if there is none."""
    try:
        return _decode_value(raw)
    except RecursionError:
        return Unreadable("it is nested too deeply")
    except msgspec.DecodeError as error:
        if "out of range" in str(error):
            return Unreadable("a number in it is out of range")
        return Unreadable(f"it holds half of a surrogate pair (\\ud800 to \\udfff): {error}")


class JsonTable(Table):
    """A file of JSON Lines, whose columns only reading it finds. Blank lines are skipped."""

    def _chunks(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None
    ) -> Iterator[JsonChunk]:
        path = self.file.path
        sized = (
            ((number, read_object(path, number, line)), 1, len(line))
            for number, line in enumerate(read_lines(self.file, hasher), 1)
            if not line.isspace()
        )
        for records in group_rows(sized, max_rows, max_characters):
            yield JsonChunk(path.name, records)

    def check_text(self, column: str) -> None:
        """Raise a TableError if the values of all rows are numbers, arrays or the like.

        Reading ends at the first row with a text, which is the first row of most files.
        """
        found: tuple[str, object] | None = None
        for rows in self.rows(1000, 1 << 20):
            for index, value in enumerate(rows.cells(column)):
                if isinstance(value, str | Unreadable):
                    return
                if found is None and value is not None and value is not MISSING:
                    found = rows.place(index), value
        if found is None:
            return
        key = json.dumps(column, ensure_ascii=False)
        convert = shlex.quote(
            f'.[{key}] |= if type == "array" then map(tostring) | join(" ") else tostring end'
        )
        raise TableError(
            f"{self.file.path}: no value of {column!r} is a string; {found[0]}: "
            f"{str(found[1])[:40]}; choose another column with --text-column, or convert it: "
            f"jq -c {convert} {shlex.quote(str(self.file.path))} > NEW.jsonl"
        )


def read_object(path: Path, number: int, line: bytes) -> Members:
    """Return the members of the object on line `number`.

    TableError for a line that is not UTF-8 or not one JSON object, for one that is nested too
    deeply, and for a key that appears twice or is not Unicode.
    """
    if not line.isascii():
        try:
            line.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(str(path), number, error) from error
    try:
        members = _decode_object(line)
    except RecursionError as error:
        raise _malformed(path, number, line, error) from error
    except ValueError:
        # msgspec also rejects half surrogate pairs, which are JSON
        return _split_object(path, number, line)
    return members if _has_unique_keys(line, members) else _split_object(path, number, line)


def _has_unique_keys(line: bytes, members: Members) -> bool:
    """Whether `line` is `members` in one of the two usual spellings, so that no key appears twice.

    The decoder silently keeps only the last of two equal keys. False for other spellings.
    """
    body = line.rstrip()
    pairs = [(key.encode(), raw) for key, raw in members.items()]
    return body in (
        b"{" + b", ".join([b'"%b": %b' % pair for pair in pairs]) + b"}",
        b"{" + b",".join([b'"%b":%b' % pair for pair in pairs]) + b"}",
    )


class _NotANumberError(ValueError):
    """NaN or an infinity, which Python's decoder accepts by default."""


def _reject_constant(name: str) -> None:
    raise _NotANumberError(name)


_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_reject_constant)


def _split_object(path: Path, number: int, line: bytes) -> Mapping[str, bytes]:
    """As `read_object`: a slow fallback for lines that the fast decoder rejects or cannot verify.

    It has exact error messages, and keeps the bytes of every value, which json.loads does not.
    """
    text, place = line.decode(), f"{path}:{number}"
    start = _skip_space(text, 0)
    if text[start] != "{":
        raise TableError(
            f"{place}: each line must be one JSON object ({{...}}), but this one begins with "
            f"{text[start : start + 20].strip()!r}; an array is converted by jq -c '.[]' "
            f"{path.name} > NEW, lines of bare text are read with --format lines"
        )
    try:
        pairs = _pairs(text, start)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, number, line, error) from error
    for key, times in Counter(key for key, _ in pairs).items():
        if times > 1:
            raise TableError(f"{place}: the key {key!r} appears twice in this object; remove one")
    for key, _ in pairs:
        if has_surrogate(key):
            raise TableError(
                f"{place}: the key {key!r} contains half of a surrogate pair, which is not Unicode "
                "text; rename it"
            )
    return {key: raw.encode() for key, raw in pairs}


def _pairs(text: str, start: int) -> list[tuple[str, str]]:
    """Return the keys and value texts of the object that is `text` from `start`, or ValueError."""
    pairs: list[tuple[str, str]] = []
    position = _skip_space(text, start + 1)
    more = text[position : position + 1] != "}"
    while more:
        _expect('"', text, position, "a key in double quotes")
        key, position = _DECODER.raw_decode(text, position)
        position = _skip_space(text, position)
        _expect(":", text, position, "':'")
        begin = _skip_space(text, position + 1)
        _, end = _DECODER.raw_decode(text, begin)
        pairs.append((key, text[begin:end]))
        position = _skip_space(text, end)
        if more := text[position : position + 1] == ",":
            position = _skip_space(text, position + 1)
    _expect("}", text, position, "',' or '}'")
    end = _skip_space(text, position + 1)
    if end != len(text):
        raise json.JSONDecodeError("Expected the end of the line", text, end)
    return pairs


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None, "the pattern matches the empty string"
    return match.end()


def _expect(mark: str, text: str, position: int, name: str) -> None:
    if text[position : position + 1] != mark:
        raise json.JSONDecodeError(f"Expected {name}", text, position)


def _malformed(path: Path, number: int, line: bytes, error: Exception) -> TableError:
    place = f"{path}:{number}"
    if isinstance(error, RecursionError):
        return TableError(f"{place}: this object is nested too deeply to be read; flatten it")
    if isinstance(error, _NotANumberError):
        return TableError(f"{place}: {error} is not JSON; write null in its place")
    where = f"{place}: column {error.colno}" if isinstance(error, json.JSONDecodeError) else place
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    if not line.endswith(b"\n"):
        return TableError(
            f"{where}: malformed JSON: {reason}; this last line has no line end either: the file "
            "may be truncated, so recreate it, or remove the line"
        )
    return TableError(f"{where}: malformed JSON: {reason}; fix this line, or remove it")


class JsonWriter(TableWriter):
    """Writes one compact JSON object a line, with UTF-8 not escaped.

    Rows of JSON keep their own keys, their order and every value's spelling.
    """

    def _encode(self, rows: TableChunk, added: AddedValues) -> bytes:
        if not len(rows):
            return b""
        members = [rows.members(self._columns)]
        for field, values in zip(self._fields, added, strict=True):
            key = key_prefix(field.name)
            members.append([key + value for value in field.json(values)])
        lines = [b"{%b}\n" % b",".join(filter(None, row)) for row in zip(*members, strict=True)]
        return compress(b"".join(lines), self._compression)
