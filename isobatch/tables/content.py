"""The content of a text file against its name, by its first lines and before anything is computed.

Invariant: a file that is what its name says passes, a column of texts with semicolons too; a file
that evidently is not gets a TableError that names the option to read it with.
"""

import csv
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress

from isobatch.errors import TableError
from isobatch.tables.file_names import DELIMITERS, TableFile
from isobatch.tables.text_files import decoded_lines

HEAD_LINES, HEAD_CHARACTERS = 100, 1 << 16
MIN_PROSE_RECORDS = 5
"""Of which each must have as many separators before blanks count as separators, as in "a, b"."""

CANDIDATES = (";", "\t", ",", "|")
RARE_CANDIDATES = (":", "^", "~", "\x01", "\x1f")
"""Separators that count only under a header of names, and in every row."""

NAMES = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "vertical bars"}
MARKUP = ("<!doctype html", "<html", "<?xml")
SEP_LINE = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE | re.DOTALL)
"""The first line by which Excel is given the separator."""

NAME = re.compile(r'"?[^\W\d]\w*"?')


def check_content(file: TableFile) -> None:
    """Raise a TableError if the first lines of a text file are not of its format.

    Other TableErrors as in `decoded_lines`.
    """
    lines = list(_head(file))
    shown = next((line.strip() for line in lines if not line.isspace()), "")
    if not shown or (file.format == "lines" and file.format_given):
        return
    _refuse_nul_bytes(file, lines)
    if shown.lower().startswith(MARKUP):
        raise TableError(
            f"{file.path}: is an HTML or XML page, not rows of text; a download may have failed or "
            f"needs a login: download the file again{_or_lines(file)}"
        )
    if file.format == "jsonl":
        _check_json(file, lines, shown)
        return
    if shown.startswith("[") and _is_json_array(shown, lines):
        raise _is_array(file)
    if shown.startswith("{") and _is_object(shown):
        raise TableError(f"{file.path}: holds JSON objects; use --format jsonl{_or_lines(file)}")
    if file.format == "lines":
        _refuse_table(file, lines)
    else:
        _check_delimiter(file, lines)


def sep_delimiter(line: str) -> str | None:
    """Return the separator that a first line "sep=;" declares, or None for another line."""
    match = SEP_LINE.fullmatch(line)
    return match[1] if match else None


def shown_delimiter(delimiter: str) -> str:
    """Return `delimiter` as a shell takes it."""
    if delimiter.isprintable():
        return shlex.quote(delimiter)
    return "'\\t'" if delimiter == "\t" else f"'\\x{ord(delimiter):02x}'"


def likely_table_option(lines: Sequence[str]) -> str | None:
    """Return the option that reads lines with the same number of separators in each."""
    if lines and _is_object(lines[0].strip()):
        return "--format jsonl"
    for delimiter in CANDIDATES:
        counts = {line.count(delimiter) for line in lines if not line.isspace()}
        if len(counts) == 1 and counts != {0}:
            return {"\t": "--format tsv", ",": "--format csv"}.get(
                delimiter, f"--format csv --delimiter {shown_delimiter(delimiter)}"
            )
    return None


def _head(file: TableFile) -> Iterator[str]:
    characters = 0
    for number, line in enumerate(decoded_lines(file), 1):
        yield line
        characters += len(line)
        if number == HEAD_LINES or characters >= HEAD_CHARACTERS:
            return


def _or_lines(file: TableFile) -> str:
    return "; if each line is a text, use --format lines" if file.format == "lines" else ""


def _refuse_nul_bytes(file: TableFile, lines: Sequence[str]) -> None:
    """Refuse UTF-16 and UTF-32 without a mark: every second to fourth byte of theirs is NUL."""
    start = "".join(lines)[:4096]
    nulls = start.count("\0")
    if nulls < 2 or nulls * 3 < len(start):
        return
    width = "utf-32" if nulls * 5 > len(start) * 3 else "utf-16"
    order = "be" if start.startswith("\0") else "le"
    raise TableError(
        f"{file.path}:1: contains NUL characters, as {width.upper()} does without a byte order "
        f"mark; use --encoding {width}-{order}"
    )


def _check_json(file: TableFile, lines: Sequence[str], shown: str) -> None:
    if shown.startswith("["):
        raise _is_array(file)
    if shown.startswith("{"):
        if not _is_object(shown) and _is_spread(lines):
            raise TableError(
                f"{file.path}:1: a JSON object over several lines, where each line must hold one; "
                f"convert it: jq -c . {shlex.quote(str(file.path))} > NEW.jsonl"
            )
        return
    option = likely_table_option(lines) or "--format lines"
    raise TableError(
        f"{file.path}:1: each line must be one JSON object ({{...}}), but this one begins with "
        f"{shown[:20]!r}; lines of bare text are read with --format lines"
        if option == "--format lines"
        else f"{file.path}:1: does not hold JSON objects, but begins with {shown[:20]!r}; use "
        f"{option}"
    )


def _is_spread(lines: Sequence[str]) -> bool:
    """Whether the first object of the file has several lines."""
    text = "".join(lines).lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return lines[0].strip() == "{"
    return "\n" in text[:end]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_json_array(shown: str, lines: Sequence[str]) -> bool:
    """Whether lines begin an array of objects, or of JSON in general if they are all of it."""
    following = "".join(lines).strip()[1:].lstrip()
    if following.startswith("{"):
        return True
    try:
        return isinstance(json.loads("".join(lines)), list) and len(lines) > 1
    except (ValueError, RecursionError):
        return shown == "["


def _is_array(file: TableFile) -> TableError:
    return TableError(
        f"{file.path}:1: is a JSON array, which cannot be read row by row, where each line must be "
        f"a row; convert it: jq -c '.[]' {shlex.quote(str(file.path))} > NEW.jsonl{_or_lines(file)}"
    )


def _refuse_table(file: TableFile, lines: Sequence[str]) -> None:
    """Refuse lines with the same number of tabs, or under a header of names."""
    full = [line.rstrip("\r\n") for line in lines if not line.isspace()]
    if len(full) < 2:
        return
    for delimiter in CANDIDATES:
        first = full[0].split(delimiter)
        is_header = len(first) > 1 and all(map(NAME.fullmatch, first))
        in_all = {line.count(delimiter) for line in full} == {len(first) - 1}
        same_tabs = delimiter == "\t" and len(first) > 1 and in_all
        if same_tabs or (
            is_header and all(line.count(delimiter) >= len(first) - 1 for line in full)
        ):
            format = "tsv" if delimiter == "\t" else "csv"
            option = "" if delimiter in "\t," else f" --delimiter {shown_delimiter(delimiter)}"
            header = "" if is_header else " --no-header"
            raise TableError(
                f"{file.path}: has columns that are separated by {NAMES[delimiter]}, and is not "
                f"one text per line; use --format {format}{option}{header}{_or_lines(file)}"
            )


def _check_delimiter(file: TableFile, lines: Sequence[str]) -> None:
    own = file.delimiter
    declared = sep_delimiter(lines[0])
    if declared is not None and declared != own:
        raise TableError(
            f"{file.path}:1: declares the separator {declared!r} (sep={declared}), and not "
            f"{own!r}; use --delimiter {shown_delimiter(declared)}"
        )
    if declared is not None or file.dialect.delimiter == DELIMITERS[file.format]:
        return
    records = _records(lines, own, quotes=file.dialect.quotes)
    if file.dialect.header and file.dialect.quotes:
        _refuse_quoted_lines(file, lines, records)
    for other in (*CANDIDATES, *RARE_CANDIDATES):
        if other != own and _fits_better(file, lines, records, other):
            default = DELIMITERS[file.format]
            fix = f"use --delimiter {shown_delimiter(other)}; if it has only one column, use "
            fix += f"--delimiter {shown_delimiter(default)}"
            raise TableError(
                f"{file.path}:1: its columns are separated by {_name(other)}, and not by "
                f"{_name(own)}: {lines[0].strip()[:60]!r}; "
                f"{'leave out --delimiter' if other == default else fix}"
            )


def _name(delimiter: str) -> str:
    return NAMES.get(delimiter, repr(delimiter))


def _refuse_quoted_lines(
    file: TableFile, lines: Sequence[str], records: Sequence[Sequence[str]]
) -> None:
    """Refuse lines that are one quoted cell each, as some spreadsheets write them."""
    if len(records) < 2 or any(len(cells) != 1 for cells in records) or lines[0][:1] != '"':
        return
    inner = [cells[0] for cells in records]
    for delimiter in CANDIDATES:
        names = inner[0].split(delimiter)
        if (
            len(names) > 1
            and all(map(NAME.fullmatch, names))
            and all(cell.count(delimiter) >= len(names) - 1 for cell in inner)
        ):
            script = (
                "import csv, sys; [sys.stdout.buffer.write((row[0] + chr(10)).encode()) for row in "
                f'csv.reader(open(sys.argv[1], newline="", encoding="{file.encoding}"), '
                f"delimiter={file.delimiter!r}) if row]"
            )
            raise TableError(
                f"{file.path}:1: each line is quoted as a whole, so it is a single column: "
                f"{lines[0].strip()[:60]!r}; remove these quotes: python -c {shlex.quote(script)} "
                f"{shlex.quote(str(file.path))} > NEW"
            )


def _fits_better(
    file: TableFile, lines: Sequence[str], own: Sequence[Sequence[str]], other: str
) -> bool:
    """Whether `other` gives several columns where the file's own delimiter gives one.

    Separators before blanks, as in prose, count only where many lines have the same number. With a
    header it is enough that half of the rows have as many separators as the header.
    """
    records = _records(lines, other, quotes=file.dialect.quotes)
    if not records or len(records[0]) < 2:
        return False
    first, rest = len(records[0]), [len(cells) for cells in records[1:]]
    same = all(width == first for width in rest)
    is_tight = not any(_is_prose(cells) for cells in records[: 1 if file.dialect.header else None])
    if other in RARE_CANDIDATES:
        is_header = file.dialect.header and all(map(NAME.fullmatch, records[0]))
        enough = len(rest) > 0 and all(width >= first for width in rest)
        return is_header and enough and len(own[0]) == 1
    if own and len(own[0]) > 1:
        is_ragged = len({len(cells) for cells in own}) > 1
        in_prose = all(cell.startswith(" ") for cells in own for cell in cells[1:])
        return len(rest) > 0 and same and is_tight and first > 2 and (is_ragged or in_prose)
    if not is_tight:
        return same and len(records) >= MIN_PROSE_RECORDS
    if file.dialect.header:
        return 2 * sum(width >= first for width in rest) >= len(rest)
    return same and (len(rest) > 0 or first > 2)


def _is_prose(cells: Sequence[str]) -> bool:
    return any(cell.startswith(" ") for cell in cells[1:]) or (len(cells) == 2 and not cells[1])


def _records(lines: Sequence[str], delimiter: str, *, quotes: bool) -> list[list[str]]:
    """Parse leniently, and leave out blank lines and the last record, of which more may follow."""
    reader = csv.reader(
        lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    )
    found: list[list[str]] = []
    with suppress(csv.Error):  # such as a lone carriage return: reading the table reports it
        found.extend(cells for cells in reader if cells)
    is_cut = len(lines) == HEAD_LINES or sum(map(len, lines)) >= HEAD_CHARACTERS
    return found[:-1] if is_cut and len(found) > 1 else found
