"""Bytes in and out of gzip and zstd.

It knows nothing of lines or rows.
Invariant: the same bytes always compress to the same bytes, as a gzip member or zstd frame of their
own, so that compressed pieces put one behind the other are a compressed file.
"""

import gzip
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from isobatch.errors import TableError
from isobatch.tables.formats import Compression
from isobatch.tables.libraries import ZSTD, library

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

GZIP_LEVEL = 6
BUFFER_BYTES = 1 << 18


def open_stream(path: Path, compression: Compression) -> BinaryIO:
    """`path` opened for reading, decompressed on the way.

    OSError if it cannot be opened, TableError if it is empty where compressed bytes are due. What
    reading raises on damage is told by `damage_errors`.
    """
    if compression == "none":
        return path.open("rb", buffering=BUFFER_BYTES)
    if path.stat().st_size == 0:
        raise TableError(
            f"{path}: is empty, and no {compression} file is; was it cut off? Make it anew"
        )
    opened = gzip.GzipFile(path, "rb") if compression == "gzip" else library(ZSTD).ZstdFile(path)
    return io.BufferedReader(_Decompressed(opened), BUFFER_BYTES)


class _Decompressed(io.RawIOBase):
    """Gives all bytes that stand before some damage, where the files' own `readinto` drops some."""

    def __init__(self, source: gzip.GzipFile) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        data = self._source.read1(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._source.close()
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
