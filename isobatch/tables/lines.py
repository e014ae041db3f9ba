"""A text file as lines: bytes, or strings where they are UTF-8.

It knows nothing of what a line means. Only "\\n" ends a line; what stands before it is kept.
Invariant: every line comes out, or a TableError names the line where the file cannot be read.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from isobatch.errors import TableError
from isobatch.tables.compression import FileHasher, damage_errors, open_stream
from isobatch.tables.formats import TableFile
from isobatch.tables.inputs import unreadable

MAX_LINE_BYTES = 1 << 28
"""256 MiB: beyond this a file has no lines rather than a long one, and memory has an end."""

UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_lines(file: TableFile, hasher: FileHasher | None = None) -> Iterator[bytes]:
    """Each line with its line end; the first without its byte order mark.

    TableError for a file that cannot be opened, decompressed or read to its end, for UTF-16, and
    for a line of more than MAX_LINE_BYTES.
    """
    number = 0
    damage = damage_errors(file.compression)
    try:
        with open_stream(file.path, file.compression, hasher) as stream:
            read = partial(stream.readline, MAX_LINE_BYTES + 1)
            for number, line in enumerate(iter(read, b""), 1):
                if len(line) > MAX_LINE_BYTES:
                    raise TableError(
                        f"{file.path}:{number}: this line has more than "
                        f"{MAX_LINE_BYTES >> 20} MiB; is this a text file?"
                    )
                whole = _without_mark(file.path, line) if number == 1 else line
                if whole:
                    yield whole
    except damage as error:
        raise _damaged(file, number, error) from error
    except OSError as error:
        raise unreadable(file.path, error) from error


def read_texts(file: TableFile, hasher: FileHasher | None = None) -> Iterator[str]:
    """The lines of `read_lines` as strings. TableError for a line that is not UTF-8, besides."""
    for number, line in enumerate(read_lines(file, hasher), 1):
        try:
            text = str(line, "utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(file.path, number, error) from error
        yield text


def not_utf8(path: Path, number: int, error: UnicodeDecodeError) -> TableError:
    """The TableError for line `number`, which is not UTF-8."""
    return TableError(
        f"{path}:{number}: byte {error.start + 1} of this line (0x{error.object[error.start]:02x}) "
        f"is not UTF-8 ({error.reason}); convert the file: iconv -f WINDOWS-1252 -t UTF-8 "
        f"{path.name} > NEW, with the encoding that it really has"
    )


def _without_mark(path: Path, line: bytes) -> bytes:
    if line.startswith(UTF16_MARKS):
        raise TableError(
            f"{path}:1: is UTF-16 (or UTF-32) by its byte order mark, and only UTF-8 is read; "
            f"convert it: iconv -f UTF-16 -t UTF-8 {path.name} > NEW"
        )
    return line.removeprefix(UTF8_MARK)


def _damaged(file: TableFile, number: int, error: Exception) -> TableError:
    if number == 0:
        return TableError(
            f"{file.path}: cannot be decompressed as {file.compression}: {error}; is its ending "
            "right? If so, fetch or make the file anew"
        )
    return TableError(
        f"{file.path}: breaks off after line {number}: its {file.compression} data is cut off or "
        f"damaged ({error}); fetch or make the file anew"
    )
