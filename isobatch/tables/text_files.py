"""Text files: UTF-8 lines, decompressed and hashed while they are read; compressed chunks written.

Only "\\n" ends a line. Needs the standard library alone, except for zstd before Python 3.14.
"""

import gzip
import hashlib
import importlib
import io
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

from isobatch.errors import TableError
from isobatch.extras import needs_extra
from isobatch.tables.file_names import Compression, TableFile, unreadable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

GZIP_LEVEL = 6
BUFFER_BYTES = 1 << 18

MAX_LINE_BYTES = 1 << 28
"""256 MiB. Longer lines are rejected: the file is probably not text, and memory stays bounded."""

UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def zstd_module() -> ModuleType:
    """Import zstd: of the standard library since Python 3.14, of a package before."""
    with needs_extra("files", "zstd"):
        name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        return importlib.import_module(name)


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and SHA-256 of a file as it is on disk."""

    bytes: int
    sha256: str


class FileHasher:
    """Computes the digest of a file whose bytes are given to it in order."""

    def __init__(self) -> None:
        self._bytes = 0
        self._sha256 = hashlib.sha256()

    def update(self, data: "ReadableBuffer") -> None:
        """Append the next bytes of the file."""
        self._bytes += memoryview(data).nbytes
        self._sha256.update(data)

    def digest(self) -> FileDigest:
        """Return the digest of all bytes so far."""
        return FileDigest(self._bytes, self._sha256.hexdigest())


class _HashedFile(io.FileIO):
    """Passes the bytes that a BufferedReader reads, by `readinto` alone, on to `hasher`."""

    def __init__(self, path: Path, hasher: FileHasher) -> None:
        super().__init__(path)
        self._hasher = hasher

    def readinto(self, buffer: "WriteableBuffer") -> int:
        count = super().readinto(buffer)
        self._hasher.update(memoryview(buffer)[:count])
        return count


class _DecompressedFile(io.RawIOBase):
    """Returns all bytes before damaged data; the `readinto` of gzip and zstd files drops some."""

    def __init__(self, file: BinaryIO, compression: Compression) -> None:
        self._file = file
        self._source = (
            gzip.GzipFile(fileobj=file) if compression == "gzip" else zstd_module().ZstdFile(file)
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        data = self._source.read1(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._source.close()
        self._file.close()
        super().close()


def open_stream(path: Path, compression: Compression, hasher: FileHasher | None = None) -> BinaryIO:
    """Open `path` for reading decompressed bytes; `hasher` is given its bytes on disk.

    OSError if it cannot be opened, TableError if it is empty although compressed. Reading damaged
    data raises one of `damage_errors`.
    """
    if compression != "none" and path.stat().st_size == 0:
        raise TableError(
            f"{path}: is empty, and no {compression} file is. Was it cut off? Make it again"
        )
    raw = _HashedFile(path, hasher) if hasher else io.FileIO(path)
    file = io.BufferedReader(raw, BUFFER_BYTES)
    if compression == "none":
        return file
    return io.BufferedReader(_DecompressedFile(file, compression), BUFFER_BYTES)


def damage_errors(compression: Compression) -> tuple[type[Exception], ...]:
    """Return the exceptions that reading damaged or truncated compressed data raises."""
    if compression == "none":
        return ()
    if compression == "gzip":
        return (EOFError, zlib.error, gzip.BadGzipFile)
    return (EOFError, zstd_module().ZstdError)


def read_lines(file: TableFile, hasher: FileHasher | None = None) -> Iterator[bytes]:
    """Yield each line with its line end; the first without its byte order mark.

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


def decoded_lines(file: TableFile, hasher: FileHasher | None = None) -> Iterator[str]:
    """Yield the lines of `read_lines` as strings. TableError for one that is not UTF-8, too."""
    for number, line in enumerate(read_lines(file, hasher), 1):
        try:
            text = str(line, "utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(file.path, number, error) from error
        yield text


def not_utf8(path: Path, number: int, error: UnicodeDecodeError) -> TableError:
    """Return the TableError for line `number`, which is not UTF-8."""
    return TableError(
        f"{path}:{number}: byte {error.start + 1} of this line (0x{error.object[error.start]:02x}) "
        f"is not UTF-8 ({error.reason}); convert the file: iconv -f WINDOWS-1252 -t UTF-8 "
        f"{path.name} > NEW, with the encoding that it really has"
    )


def _without_mark(path: Path, line: bytes) -> bytes:
    if line.startswith(UTF16_MARKS):
        raise TableError(
            f"{path}:1: is UTF-16 (or UTF-32) by its byte order mark, but only UTF-8 is supported; "
            f"convert it: iconv -f UTF-16 -t UTF-8 {path.name} > NEW"
        )
    return line.removeprefix(UTF8_MARK)


def _damaged(file: TableFile, number: int, error: Exception) -> TableError:
    if number == 0:
        return TableError(
            f"{file.path}: cannot be decompressed as {file.compression}: {error}; is its ending "
            "right? If so, fetch or make the file again"
        )
    return TableError(
        f"{file.path}: breaks off after line {number}: its {file.compression} data is truncated or "
        f"corrupt ({error}); fetch or make the file again"
    )


def compress(data: bytes, compression: Compression) -> bytes:
    """Compress `data` to one gzip member without name and time, or one zstd frame with a checksum.

    Invariant: the same bytes compress to the same bytes, and compressed pieces, concatenated, are a
    compressed file.
    """
    if compression == "gzip":
        return gzip.compress(data, GZIP_LEVEL, mtime=0)
    if compression == "zstd":
        zstd = zstd_module()
        return bytes(zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}))
    return data
