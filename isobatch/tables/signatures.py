"""Signatures: the first bytes of formats that are not text, with the way to read each of them."""

import shlex

from isobatch.errors import TableError
from isobatch.tables.file_names import Compression

COMPRESSED: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)

SPREADSHEET = "open it in the spreadsheet program, save it as CSV UTF-8, and use that file"
TO_PARQUET = (
    "convert it: python -c 'import sys, pyarrow.feather, pyarrow.parquet; "
    "pyarrow.parquet.write_table(pyarrow.feather.read_table(sys.argv[1]), sys.argv[2])' "
    "{name} NEW.parquet"
)

SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet file", "use --format parquet, or name it NEW.parquet"),
    (b"ARROW1", "an Arrow or Feather file", TO_PARQUET),
    (b"BZh", "a bzip2 file", "decompress it: bzip2 -dc < {name} > NEW"),
    (b"\xfd7zXZ\0", "an xz file", "decompress it: xz -dc < {name} > NEW"),
    (b"\x04\x22\x4d\x18", "an lz4 file", "decompress it: lz4 -dc < {name} > NEW"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x {name}"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet (.xlsx, .ods)", "unpack it: unzip {name}; or, "
     f"if it is a spreadsheet, {SPREADSHEET}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file", SPREADSHEET),
    (b"%PDF-", "a PDF file", "copy its text into a CSV file"),
    (b"SQLite format 3\0", "an SQLite database", "export a table: sqlite3 -csv -header {name} "
     "'SELECT * FROM ...' > NEW.csv"),
    (b"\x93NUMPY", "a NumPy array", "save its texts as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its texts as CSV"),
    (b"Obj\x01", "an Avro file", "convert it to Parquet"),
    (b"ORC", "an ORC file", "convert it to Parquet"),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself",
     "fetch the file: git lfs pull"),
)  # fmt: skip
"""The start of a file, its format, and the fix."""

TAR_OFFSET = 257
"""Where a tar archive has its signature."""


def compression_of(start: bytes) -> Compression:
    """Return the supported compression that a file with this start has."""
    return next((name for mark, name in COMPRESSED if start.startswith(mark)), "none")


def refuse_binary(place: str, start: bytes, outer: Compression = "none") -> None:
    """Raise a TableError if a file that should be text starts as one of another format does.

    `outer` is the compression that was removed already.
    """
    name = shlex.quote(place)
    compression = compression_of(start)
    if compression != "none" and outer != "none":
        raise TableError(
            f"{place}: is compressed twice, {compression} in {outer}; decompress it once: "
            f"{outer} -dc < {name} > NEW"
        )
    if start[TAR_OFFSET:].startswith(b"ustar"):
        raise TableError(f"{place}: is a tar archive; unpack it: tar -xf {name}")
    if compression != "none":
        raise TableError(
            f"{place}: is {compression} data, not text; use --compression {compression}, or "
            f"decompress it: {compression} -dc < {name} > NEW"
        )
    for signature, format, fix in SIGNATURES:
        if start.startswith(signature) and _is_binary(signature, start):
            raise TableError(f"{place}: is {format}; {fix.format(name=name)}")


def _is_binary(signature: bytes, start: bytes) -> bool:
    """Whether short signatures of letters, which a text may begin with, are followed by bytes."""
    if not signature.isalnum():
        return True
    try:
        following = start[len(signature) :].decode()
    except UnicodeDecodeError:
        return True
    return any(ord(character) < 32 and character not in "\t\r\n\f" for character in following)
