"""Text encodings: their names, byte order marks, and lines of bytes as text.

Invariant: every command that reads text decodes it here, so that a byte order mark means the same
to all of them: UTF-8's is removed, that of another encoding than the expected one is an error.
"""

import codecs
import shlex
from collections.abc import Iterable, Iterator

from isobatch.errors import OptionError, TableError
from isobatch.tables.pipe_advice import STDIN, as_filter

UTF8 = "utf-8"

MARKS = (
    (b"\xff\xfe\0\0", "utf-32", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32", "utf-32-be"),
    (b"\xef\xbb\xbf", UTF8, UTF8),
    (b"\xff\xfe", "utf-16", "utf-16-le"),
    (b"\xfe\xff", "utf-16", "utf-16-be"),
)
"""Byte order marks, of which UTF-32's begins with UTF-16's, and two names of what they announce."""

USUAL = "utf-8, utf-16, cp1252 (Windows, Western Europe), latin-1, shift_jis, gb18030, big5, euc-kr"

NOT_FOR_FILES = ("idna", "punycode", "undefined", "raw-unicode-escape", "unicode-escape")
"""Codecs of Python for host names and source code."""


def check_encoding(name: str) -> str:
    """Return Python's name of the encoding; OptionError for one that Python does not have."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError, UnicodeError):
        found = None
    # _is_text_encoding is how Python itself tells cp1252 from base64
    if found is None or not found._is_text_encoding or found.name in NOT_FOR_FILES:
        raise OptionError(f"unknown encoding {name!r}; usual names are {USUAL}")
    return UTF8 if found.name == "utf-8-sig" else found.name


def check_mark(place: str, start: bytes, encoding: str) -> None:
    """Raise a TableError if a file starts with the byte order mark of another encoding."""
    found = next((names for mark, *names in MARKS if start.startswith(mark)), None)
    if found is None or encoding in found:
        return
    fix = "leave out --encoding" if found[0] == UTF8 else f"use --encoding {found[0]}"
    raise TableError(
        f"{place}:1: is {found[0].upper()} by its byte order mark, but is read as "
        f"{encoding.upper()}; {fix}"
    )


def decode_lines(lines: Iterable[bytes], place: str, encoding: str = UTF8) -> Iterator[str]:
    """Yield lines, which end at "\\n", as text; in UTF-8 the mark was removed before.

    TableError for the first line that is not in the encoding.
    """
    if encoding != UTF8:
        yield from _decode_stream(lines, place, encoding)
        return
    is_ascii = True
    for number, line in enumerate(lines, 1):
        try:
            text = str(line, "utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(place, number, error, is_mixed=not is_ascii) from error
        is_ascii = is_ascii and text.isascii()
        yield text


def _decode_stream(lines: Iterable[bytes], place: str, encoding: str) -> Iterator[str]:
    """Decode with one decoder for all lines, since a newline byte may be half of a character."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    parts: list[str] = []
    number, first = 1, True
    try:
        for line in lines:
            text = decoder.decode(line)
            parts.append(text.removeprefix("\ufeff") if first else text)
            first = first and not text
            if "\n" in text:
                *whole, rest = "".join(parts).split("\n")
                for each in whole:
                    yield each + "\n"
                    number += 1
                parts = [rest]
        parts.append(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        found = error.object[error.start : error.start + 1].hex()
        raise TableError(
            f"{place}:{number}: byte 0x{found} in this line is not {encoding} ({error.reason}); "
            f"use another --encoding; usual names are {USUAL}"
        ) from error
    if rest := "".join(parts):
        yield rest


MIXED = (
    'import sys; [sys.stdout.buffer.write(line if line.decode("utf-8", "ignore").encode() == line '
    'else line.decode("{encoding}").encode()) for line in open(sys.argv[1], "rb")]'
)
"""A script that converts the lines of a file that are not UTF-8."""


def not_utf8(
    place: str, number: int, error: UnicodeDecodeError, *, is_mixed: bool = False
) -> TableError:
    """Return the TableError for line `number`; `is_mixed`: lines before it are UTF-8, not ASCII."""
    try:
        error.object.decode("cp1252")
        likely = "cp1252"
    except UnicodeDecodeError:
        likely = "latin-1"
    byte = error.object[error.start]
    found = (
        f"{place}:{number}: byte {error.start + 1} of this line (0x{byte:02x}) is not UTF-8 "
        f"({error.reason})"
    )
    if is_mixed:
        script = shlex.quote(MIXED.format(encoding=likely))
        message = (
            f"{found}, but lines before it are: the file mixes encodings. Convert the lines that "
            f"are not UTF-8: python -c {script} {shlex.quote(place)} > NEW"
        )
        return TableError(as_filter(message, place) if place == STDIN else message)
    return TableError(
        f"{found}; use --encoding {likely}, or the encoding that the file really has; usual names "
        f"are {USUAL}"
    )
