"""Bytes in and out of gzip and zstd.

It knows nothing of lines or rows.
Invariant: the same bytes always compress to the same bytes, as a gzip member or zstd frame of their
own, so that compressed pieces put one behind the other are a compressed file.
"""

import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from isobatch.errors import TableError
from isobatch.tables.formats import Compression
from isobatch.tables.libraries import ZSTD, library

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

GZIP_LEVEL = 6
BUFFER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and SHA-256 of a file as it is on the disk."""

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
        """The digest of all bytes so far."""
        return FileDigest(self._bytes, self._sha256.hexdigest())


def open_stream(path: Path, compression: Compression, hasher: FileHasher | None = None) -> BinaryIO:
    """`path` opened for reading, decompressed on the way; `hasher` gets its bytes on the disk.

    OSError if it cannot be opened, TableError if it is empty where compressed bytes are due. What
    reading raises on damage is told by `damage_errors`.
    """
    if compression == "none":
        return _opened(path, hasher)
    if path.stat().st_size == 0:
        raise TableError(
            f"{path}: is empty, and no {compression} file is; was it cut off? Make it anew"
        )
    file = _opened(path, hasher)
    opened = gzip.GzipFile(fileobj=file) if compression == "gzip" else library(ZSTD).ZstdFile(file)
    return io.BufferedReader(_Decompressed(opened, file), BUFFER_BYTES)


def _opened(path: Path, hasher: FileHasher | None) -> io.BufferedReader:
    return io.BufferedReader(_HashedFile(path, hasher) if hasher else io.FileIO(path), BUFFER_BYTES)


class _HashedFile(io.FileIO):
    """Gives to `hasher` what a BufferedReader reads, which is by `readinto` alone."""

    def __init__(self, path: Path, hasher: FileHasher) -> None:
        super().__init__(path)
        self._hasher = hasher

    def readinto(self, buffer: "WriteableBuffer") -> int:
        count = super().readinto(buffer)
        self._hasher.update(memoryview(buffer)[:count])
        return count


class _Decompressed(io.RawIOBase):
    """Gives all bytes that stand before some damage, where the files' own `readinto` drops some."""

    def __init__(self, source: gzip.GzipFile, file: BinaryIO) -> None:
        self._source = source
        self._file = file

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


def damage_errors(compression: Compression) -> tuple[type[Exception], ...]:
    """What reading raises where the compressed bytes are damaged or break off."""
    if compression == "none":
        return ()
    if compression == "gzip":
        return (EOFError, zlib.error, gzip.BadGzipFile)
    return (EOFError, library(ZSTD).ZstdError)


def compress(data: bytes, compression: Compression) -> bytes:
    """`data` as one gzip member without name and time, or one zstd frame with a checksum."""
    if compression == "gzip":
        return gzip.compress(data, GZIP_LEVEL, mtime=0)
    if compression == "zstd":
        zstd = library(ZSTD)
        return bytes(zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}))
    return data
