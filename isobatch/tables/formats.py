"""Formats and compressions of files of rows, and how a file's name tells them.

It knows nothing of what stands in a file: nothing is opened here.
Invariant: one name gives one format and one compression, whatever is on the disk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from isobatch.errors import OptionError

Format = Literal["csv", "tsv", "jsonl", "parquet", "lines"]
FORMATS: tuple[Format, ...] = get_args(Format)

Compression = Literal["none", "gzip", "zstd"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)

ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "lines",
    ".lines": "lines",
}
COMPRESSED_ENDINGS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a csv or tsv file is written; the other formats have no dialects.

    Without a header the columns are named column_1, column_2, ... and the first line is a row.
    Without quotes a quote mark is a character like any other.
    """

    header: bool = True
    quotes: bool = True


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of rows and how to read it."""

    path: Path
    format: Format
    compression: Compression
    dialect: CsvDialect = CsvDialect()


def detect_format(name: str, format: Format | None = None) -> tuple[Format, Compression]:
    """Format and compression by the endings of `name`; `format`, where given, overrides the first.

    OptionError for an ending that tells nothing, a .json file, or a compressed Parquet file.
    """
    stem, compression = _split_compression(name)
    if format is None:
        format = _format_by_ending(name, Path(stem).suffix.lower())
    elif format not in FORMATS:
        raise OptionError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if format == "parquet" and compression != "none":
        raise OptionError(
            f"{name}: a Parquet file is compressed inside, never as a whole; decompress it first, "
            "or name it without the second ending"
        )
    return format, compression


def is_known(name: str) -> bool:
    """Whether `detect_format` can tell the format of `name` without help."""
    return Path(_split_compression(name)[0]).suffix.lower() in ENDINGS


def stem(name: str) -> str:
    """`name` without the endings that `detect_format` knows."""
    bare = _split_compression(name)[0]
    ending = Path(bare).suffix
    return bare.removesuffix(ending) if ending.lower() in ENDINGS else bare


def _split_compression(name: str) -> tuple[str, Compression]:
    ending = Path(name).suffix.lower()
    if ending in COMPRESSED_ENDINGS:
        return name[: -len(ending)], COMPRESSED_ENDINGS[ending]
    return name, "none"


def _format_by_ending(name: str, ending: str) -> Format:
    if ending in ENDINGS:
        return ENDINGS[ending]
    if ending == ".json":
        raise OptionError(
            f"{name}: a JSON array is not read, for it cannot be read row by row; make it JSON "
            f"Lines (jq -c '.[]' {name} > FILE.jsonl), or, if every line already holds one "
            "object, say --format jsonl"
        )
    raise OptionError(
        f"{name}: its ending {ending!r} does not tell its format; known are {', '.join(ENDINGS)}, "
        f"each but Parquet's also with {', '.join(COMPRESSED_ENDINGS)} behind; rename it, or say "
        f"--format {'|'.join(FORMATS)}"
    )
