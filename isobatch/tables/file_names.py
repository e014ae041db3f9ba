"""File names: the format that an ending implies, and the files that the user's names match.

No content is read (`content` compares it with the name). Each input is opened once, only to see
that it can be.
"""

import glob
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from isobatch.errors import OptionError, TableError

TableFormat = Literal["csv", "tsv", "jsonl", "parquet", "lines"]
"""The formats of tables, which are read and, lines excepted, written."""

Format = Literal[TableFormat, "npy"]
"""Also NumPy's array of vectors, which is written only."""

FORMATS: tuple[Format, ...] = get_args(TableFormat)

Compression = Literal["none", "gzip", "zstd"]

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
OUTPUT_ENDINGS: dict[str, Format] = {**ENDINGS, ".npy": "npy"}

COMPRESSED_ENDINGS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}


SAVE_AS_CSV = "save it as CSV UTF-8 in the spreadsheet program"
UNPACKING: dict[str, str] = {
    ".bz2": "bzip2 -dc {name} > NEW",
    ".xz": "xz -dc {name} > NEW",
    ".zip": "unzip {name}",
    ".tar": "tar -xf {name}",
    ".tgz": "tar -xf {name}",
    ".xlsx": SAVE_AS_CSV,
    ".xls": SAVE_AS_CSV,
    ".ods": SAVE_AS_CSV,
}
"""Endings of files that must be converted first, with the way to do it."""

DELIMITERS: dict[Format, str] = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a csv or tsv file is written; the other formats have no dialects.

    Without a header the columns are named column_1, column_2, ... and the first line is a row.
    Without quotes a quote mark is a character like any other. `delimiter` is one character; None is
    the one of the format. OptionError for a delimiter that cannot separate cells.
    """

    header: bool = True
    quotes: bool = True
    delimiter: str | None = None

    def __post_init__(self) -> None:
        given = self.delimiter
        if given is not None and (len(given) != 1 or given in '"\r\n\0\ufeff'):
            raise OptionError(
                f"delimiter must be one character, and neither a quote mark nor a line end, got "
                f"{given!r}; usual are --delimiter ';' and --delimiter '\\t'"
            )


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of rows and how to read or write it.

    `encoding` is a name that `check_encoding` returned; outputs are always UTF-8. `format_given`:
    the format was chosen by the user and is not implied by the name. is_stdin: the file has what
    was read from stdin, and is deleted after the run.
    """

    path: Path
    format: Format
    compression: Compression
    dialect: CsvDialect = CsvDialect()
    encoding: str = "utf-8"
    format_given: bool = False
    is_stdin: bool = False

    @property
    def delimiter(self) -> str:
        """The delimiter of a csv or tsv file."""
        return self.dialect.delimiter or DELIMITERS[self.format]


def detect_format(
    name: str, format: Format | None = None, option: str = "--format"
) -> tuple[Format, Compression]:
    """Return the format and compression that `name` ends in; `format` overrides the first.

    `option` sets the format on the command line. OptionError for an unknown ending, a .json file,
    or a compressed Parquet file.
    """
    bare, compression = _split_compression(name)
    if format is None:
        format = _format_by_ending(name, Path(bare).suffix.lower(), option)
    check_format(name, format, compression, is_input=option == "--format")
    return format, compression


def check_format(
    place: str, format: Format, compression: Compression, *, is_input: bool = True
) -> None:
    """Raise an OptionError for an unknown format, or Parquet compressed as a whole."""
    known = FORMATS if is_input else (*FORMATS, "npy")
    if format not in known:
        raise OptionError(f"format must be one of {', '.join(known)}, got {format!r}")
    if format == "npy" and compression != "none":
        raise OptionError(
            f"{place}: NumPy maps arrays that are not compressed; leave out the second ending of "
            "its name"
        )
    if format == "parquet" and compression != "none":
        raise OptionError(
            f"{place}: Parquet is compressed inside, never as a whole; decompress it: "
            f"{compression} -dc < {shlex.quote(place)} > NEW.parquet; or, if the file itself is "
            "not compressed, use --format parquet --compression none"
            if is_input
            else f"{place}: Parquet is compressed inside, never as a whole; leave out the second "
            "ending of its name"
        )


def stem(name: str) -> str:
    """Return `name` without the endings that `detect_format` knows."""
    bare = _split_compression(name)[0]
    ending = Path(bare).suffix
    return bare.removesuffix(ending) if ending.lower() in ENDINGS else bare


def _split_compression(name: str) -> tuple[str, Compression]:
    ending = Path(name).suffix.lower()
    if ending in COMPRESSED_ENDINGS:
        return name[: -len(ending)], COMPRESSED_ENDINGS[ending]
    return name, "none"


def _format_by_ending(name: str, ending: str, option: str) -> Format:
    known = ENDINGS if option == "--format" else OUTPUT_ENDINGS
    if ending in known:
        return known[ending]
    is_input, quoted = option == "--format", shlex.quote(name)
    if ending == ".json" and is_input:
        raise OptionError(
            f"{name}: JSON arrays are not supported, as they cannot be read row by row; convert to "
            f"JSON Lines (jq -c '.[]' {quoted} > NEW.jsonl), or, if every line already holds one "
            "object, use --format jsonl"
        )
    if ending == ".json":
        raise OptionError(
            f"{name}: JSON arrays are not written, but JSON Lines are; name the output .jsonl, or "
            f"use {option} jsonl"
        )
    if ending in OUTPUT_ENDINGS and is_input:
        raise OptionError(
            f"{name}: an array of vectors is written, not read; specify the file of the texts"
        )
    if ending in UNPACKING and is_input:
        raise OptionError(
            f"{name}: {ending} files are not read; convert it first: "
            f"{UNPACKING[ending].format(name=quoted)}"
        )
    raise OptionError(
        f"{name}: unknown file ending {ending!r}; known are {', '.join(ENDINGS)}, each except "
        f"Parquet's optionally followed by {', '.join(COMPRESSED_ENDINGS)}; rename the file, or "
        f"use {option} {'|'.join(FORMATS)}"
    )


def expand_inputs(inputs: Sequence[str], leave_out: Path | None = None) -> list[Path]:
    """Return the files that `inputs` name: files, patterns such as "part-*.csv", and folders.

    The order is the caller's, sorted by name within a pattern or folder. A pattern counts as one
    only where no file has that literal name. A folder gives its own files with known endings,
    without hidden files and subfolders. `leave_out` is left out of both: the output, which may be
    there from an earlier run; of patterns, if it is a folder, the files of earlier runs in it.
    TableError for a name that has no match, a folder without such files, or a file that cannot be
    opened. OptionError for a file that is named twice.
    """
    sources: dict[Path, str] = {}
    paths: list[Path] = []
    for name in inputs:
        for path in _expand(name, leave_out):
            _check_readable(path)
            real = path.resolve()
            if real in sources:
                raise OptionError(
                    f"{path}: named twice, by {sources[real]!r} and by {name!r}, so its rows would "
                    "be read twice; leave one of them out"
                )
            sources[real] = name
            paths.append(path)
    return paths


def _expand(name: str, leave_out: Path | None) -> list[Path]:
    path = Path(name)
    try:
        if path.is_dir():
            return _files_of_folder(path, leave_out)
        if path.exists() or not any(mark in name for mark in "*?["):
            return [path]
        # Path.glob takes no absolute pattern, and finds hidden files too
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        files = [m for m in map(Path, found) if not m.is_dir() and not _same(m, leave_out)]
        matches = list(_without_outputs(files, leave_out))
    except OSError as error:
        raise unreadable(path, error) from error
    if not matches:
        raise TableError(f"{name}: no file matches this pattern; check its spelling and folder")
    return matches


def _is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _without_outputs(paths: Sequence[Path], folder: Path | None) -> Sequence[Path]:
    """Leave out the files that earlier runs wrote into the folder of the outputs; never all."""
    if folder is None or not folder.is_dir():
        return paths
    own = folder.resolve()
    written = {each.name for each in (own / ".isobatch").glob("*/")}
    return [p for p in paths if p.resolve().parent != own or p.name not in written] or paths


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and path.resolve() == other.resolve()


def _files_of_folder(folder: Path, leave_out: Path | None) -> list[Path]:
    files = sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and stem(path.name) != _split_compression(path.name)[0]
        and (path.is_file() or _is_dangling(path))  # whose rows would be missing
        and not _same(path, leave_out)
    )
    if not files:
        raise TableError(
            f"{folder}: this folder has no file with a known ending ({', '.join(ENDINGS)}); name "
            "the files themselves (subfolders are not searched)"
        )
    return files


def _check_readable(path: Path) -> None:
    """Raise a TableError for an unreadable file, or a pipe, which cannot be read twice."""
    try:
        if path.exists() and not path.is_file():
            raise TableError(
                f"{path}: not a regular file, but inputs are read more than once; save its content "
                "to a file first"
            )
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> TableError:
    """Return the TableError for a file that the operating system failed to open or read."""
    if isinstance(error, FileNotFoundError):
        return TableError(f"{path}: no such file; check its spelling and folder")
    if isinstance(error, IsADirectoryError):
        return TableError(f"{path}: is a folder, where a file is expected; specify the files in it")
    if isinstance(error, PermissionError):
        return TableError(f"{path}: permission denied; change its permissions (chmod +r)")
    return TableError(
        f"{path}: cannot be read: {error.strerror or error}; check the disk, or copy the file again"
    )
