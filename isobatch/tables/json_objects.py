"""One JSON object taken apart by the standard library: slow, strict, with exact complaints.

It stands behind the fast decoder for lines that it refuses or cannot vouch for.
Invariant: what comes out are all members of the object, each with the very bytes of its value.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from isobatch.errors import TableError

SPACE = re.compile(r"[ \t\n\r]*")


class _NotANumberError(ValueError):
    """NaN or an infinity, which Python's decoder would take."""


def _refuse_constant(name: str) -> None:
    raise _NotANumberError(name)


_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse_constant)


def split_object(path: Path, number: int, line: bytes) -> Mapping[str, bytes]:
    """The members of the object on line `number`.

    TableError if it is no object, malformed, nested too deeply, or names a key twice.
    """
    text = line.decode()
    pairs = _parse(path, number, line, text)
    members = {key: raw.encode() for key, raw in pairs}
    for key, _ in pairs if len(members) < len(pairs) else ():
        if sum(key == other for other, _ in pairs) > 1:
            raise TableError(
                f"{path}:{number}: the key {key!r} stands twice in this object; remove one"
            )
    for key in members:
        if any("\ud800" <= character <= "\udfff" for character in key):
            raise TableError(
                f"{path}:{number}: the key {key!r} holds half of a surrogate pair, which is not "
                "Unicode text; rename it"
            )
    return members


def refuse_object(path: Path, number: int, line: bytes, error: Exception) -> TableError:
    """The TableError for line `number`, at which `error` was raised."""
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
            "seems to break off here, so make it anew, or remove the line"
        )
    return TableError(f"{where}: malformed JSON: {reason}; mend this line, or remove it")


def _parse(path: Path, number: int, line: bytes, text: str) -> list[tuple[str, str]]:
    start = _after_space(text, 0)
    if text[start] != "{":
        raise TableError(
            f"{path}:{number}: each line must be one JSON object ({{...}}), but this one begins "
            f"with {text[start : start + 20].strip()!r}; an array is converted by jq -c '.[]' "
            f"{path.name} > NEW, lines of bare text are read with --format lines"
        )
    try:
        return _pairs(text, start)
    except (ValueError, RecursionError) as error:
        raise refuse_object(path, number, line, error) from error


def _pairs(text: str, start: int) -> list[tuple[str, str]]:
    """Keys, and the texts of their values. ValueError if `text` is more or less than an object."""
    pairs: list[tuple[str, str]] = []
    position = _after_space(text, start + 1)
    if text[position : position + 1] != "}":
        position = _member(text, position, pairs)
        while text[position : position + 1] == ",":
            position = _member(text, _after_space(text, position + 1), pairs)
    _expect("}", text, position, "',' or '}'")
    end = _after_space(text, position + 1)
    if end != len(text):
        raise json.JSONDecodeError("Expected the end of the line", text, end)
    return pairs


def _member(text: str, position: int, pairs: list[tuple[str, str]]) -> int:
    """Append the member at `position`, and return where what follows it stands."""
    _expect('"', text, position, "a key in double quotes")
    key, position = _DECODER.raw_decode(text, position)
    position = _after_space(text, position)
    _expect(":", text, position, "':'")
    start = _after_space(text, position + 1)
    _, stop = _DECODER.raw_decode(text, start)
    pairs.append((key, text[start:stop]))
    return _after_space(text, stop)


def _expect(mark: str, text: str, position: int, name: str) -> None:
    if text[position : position + 1] != mark:
        raise json.JSONDecodeError(f"Expected {name}", text, position)


def _after_space(text: str, position: int) -> int:
    match = SPACE.match(text, position)
    assert match is not None, "it matches nothing, too"
    return match.end()
