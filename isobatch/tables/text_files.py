"""Text files: UTF-8 lines, decompressed and hashed while they are read; compressed chunks written.

Only "\\n" ends a line. Needs the standard library alone, except for zstd before Python 3.14.
"""

import codecs
import gzip
import hashlib
import importlib
import io
import shlex
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
from isobatch.tables.encodings import UTF8, check_mark, decode_lines
from isobatch.tables.file_names import Compression, TableFile, unreadable
from isobatch.tables.pipe_advice import as_filter, without_options
from isobatch.tables.signatures import compression_of, refuse_binary

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

GZIP_LEVEL = 6
BUFFER_BYTES = 1 << 18

MAX_LINE_BYTES = 1 << 28
"""256 MiB. Longer lines are rejected: the file is probably not text, and memory stays bounded."""


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
            f"{path}: is empty, which a {compression} file never is. Was it truncated? Recreate it"
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
    """Yield each line in UTF-8 with its line end; the first without its byte order mark.

    TableError for a file that cannot be opened, decompressed or read to its end, and as in
    `stream_lines`.
    """
    if file.encoding == UTF8:
        yield from _stored_lines(file, hasher)
    else:
        for line in decoded_lines(file, hasher):
            yield line.encode()


def decoded_lines(file: TableFile, hasher: FileHasher | None = None) -> Iterator[str]:
    """Yield the lines of `read_lines` as strings. TableError for one not in the encoding, too."""
    return decode_lines(_stored_lines(file, hasher), str(file.path), file.encoding)


class _StreamDamageError(Exception):
    """Decompression failed after `number` lines."""

    def __init__(self, number: int) -> None:
        self.number = number


def _stored_lines(file: TableFile, hasher: FileHasher | None) -> Iterator[bytes]:
    damage = damage_errors(file.compression)
    try:
        with open_stream(file.path, file.compression, hasher) as stream:
            yield from stream_lines(
                stream, str(file.path), file.encoding, file.compression, damage, has_options=True
            )
    except _StreamDamageError as found:
        raise _damaged(file, found.number, found.__cause__) from found.__cause__
    except OSError as error:
        raise unreadable(file.path, error) from error


def stream_lines(
    stream: BinaryIO,
    place: str,
    encoding: str = UTF8,
    outer: Compression = "none",
    damage: tuple[type[Exception], ...] = (),
    *,
    has_options: bool = False,
) -> Iterator[bytes]:
    """Yield the stored bytes of each line of an open stream with its line end.

    `outer` is the compression that the stream removes, `damage` what it raises then. `has_options`:
    the user can choose format and compression, so that errors name them. The mark of UTF-8 is
    removed. TableError for the mark of another encoding than `encoding`, for a known
    format that is not text, and for a line of more than MAX_LINE_BYTES.
    """
    number = 0
    read = partial(stream.readline, MAX_LINE_BYTES + 1)
    try:
        for number, line in enumerate(iter(read, b""), 1):
            if len(line) > MAX_LINE_BYTES:
                raise TableError(
                    f"{place}:{number}: this line has more than {MAX_LINE_BYTES >> 20} MiB; is "
                    "this a text file?"
                )
            if number > 1:
                yield line
            elif first := _checked_start(place, line, encoding, outer, has_options=has_options):
                yield first
    except damage as error:
        raise _StreamDamageError(number) from error


def _checked_start(
    place: str, line: bytes, encoding: str, outer: Compression, *, has_options: bool
) -> bytes:
    try:
        refuse_binary(place, line, outer)
    except TableError as error:
        if has_options:
            raise
        raise TableError(as_filter(without_options(str(error), only_lines=True), place)) from error
    check_mark(place, line, encoding)
    return line.removeprefix(codecs.BOM_UTF8) if encoding == UTF8 else line


def _damaged(file: TableFile, number: int, error: BaseException | None) -> TableError:
    if number == 0:
        return TableError(
            f"{file.path}: cannot be decompressed as {file.compression}: {error}; "
            f"{_compression_fix(file.path)}"
        )
    return TableError(
        f"{file.path}: breaks off after line {number}: its {file.compression} data is truncated or "
        f"corrupt ({error}); download or recreate the file"
    )


def _compression_fix(path: Path) -> str:
    with path.open("rb") as stream:
        found = compression_of(stream.read(16))
    if found == "none":
        return (
            "if it is not compressed, use --compression none, or leave out the ending of its name; "
            "otherwise recreate the file"
        )
    return (
        f"it is {found}: use --compression {found}, or decompress it: "
        f"{found} -dc < {shlex.quote(str(path))} > NEW"
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
