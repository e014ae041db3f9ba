"""Reading the JSON files of a checkpoint folder, with errors that name file, line and column."""

import codecs
import json
import re
import shlex
from pathlib import Path

from isobatch.checkpoint.unreadable import unreadable
from isobatch.errors import CheckpointError

_WRITTEN_IN_JSON = {"True": "true", "False": "false", "None": "null"}
_LITERAL = re.compile("|".join(_WRITTEN_IN_JSON))
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""Byte order marks; UTF-32's begins with UTF-16's and must come first."""

_COMMENT = re.compile(r"//|/\*|#")


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object from a file, also one with a byte order mark.

    Raises CheckpointError with file, line and column, and the fix.
    """
    content = _read(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: contains {type(content).__name__}, expected a JSON object")
    return content


def read_json_list(path: Path) -> list[object]:
    """Read a JSON array from a file; raises as `read_json` does."""
    content = _read(path)
    if not isinstance(content, list):
        raise CheckpointError(f"{path}: contains {type(content).__name__}, expected a JSON array")
    return content


def _read(path: Path) -> object:
    text = _read_text(path)
    try:
        content: object = json.loads(text)
    except json.JSONDecodeError as error:
        if not text.strip() or text.lstrip().startswith("<"):
            raise unreadable(path, error) from error
        raise CheckpointError(_syntax(path, error)) from error
    except RecursionError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    return content


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    quoted = shlex.quote(str(path))
    convert = "iconv -f {} -t UTF-8 " + f"{quoted} > {quoted}.utf8 && mv {quoted}.utf8 {quoted}"
    if found := next((name for mark, name in _MARKS if raw.startswith(mark)), None):
        raise CheckpointError(
            f"{path}: cannot be read: it is {found}, and JSON is UTF-8. {convert.format(found)}"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if raw[:1] not in b"{[ \t\r\n":
            raise unreadable(path, error) from error
        raise CheckpointError(
            f"{path}: cannot be read: byte {error.start} is not UTF-8. If it is from Windows: "
            + convert.format("WINDOWS-1252")
        ) from error


def _syntax(path: Path, error: json.JSONDecodeError) -> str:
    """Describe a syntax error by its place, and by the fix of the usual ones."""
    text, at = error.doc, error.pos
    place = f"{path}:{error.lineno}:{error.colno}"
    if text.startswith("version https://git-lfs"):
        return str(unreadable(path, error))
    if at < len(text) and text[at] == ",":  # Python 3.13 and later report the comma itself
        following = text[at + 1 :].lstrip()[:1]
        if following and following in "}]":
            return f"{place}: a comma before {following}. Delete this comma"
    before = text[:at].rstrip()
    if before.endswith(",") and text[at : at + 1] in ("}", "]"):
        line, column = _position(text, len(before) - 1)
        return f"{path}:{line}:{column}: a comma before {text[at]}. Delete this comma"
    if _COMMENT.match(text, at):
        return f"{place}: a comment, and JSON has none. Delete it"
    if text.startswith(("<<<<<<<", "=======", ">>>>>>>"), at):
        return f"{place}: a merge conflict. Keep one of the two versions"
    if text.startswith("'", at):
        return f"{place}: a single quote. Write strings in double quotes"
    if literal := _LITERAL.match(text, at):
        return f"{place}: {literal[0]} is Python. Write {_WRITTEN_IN_JSON[literal[0]]}"
    return f"{place}: {error.msg}"


def _position(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of an offset, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
