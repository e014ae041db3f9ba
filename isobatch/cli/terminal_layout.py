"""Lines and tables that fit the terminal. Invariant: they break between words, never within one.

Only a word that is wider than the terminal is broken, and no text is cut off. Lines for a file or a
pipe are not wrapped, so that a program finds each message on one line.
"""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from isobatch.drawing.display_text import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    Cell = str | Text

_BORDERS = 3
"""Characters that a column of a table has around its text; the table has one more."""

_GAP = 2
"""Spaces between the two columns of a list of facts."""

SHORTENED = 200
"""Characters of a text that a table shows; JSON has all of them."""


def wrapped(text: str, width: int) -> str:
    """Break lines between words; the rest of a line is indented by two spaces more than it."""
    return "\n".join(part for line in text.splitlines() for part in _wrapped_line(line, width))


def _wrapped_line(line: str, width: int) -> Iterator[str]:
    if _num_cells(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip(" "))]
    current = indent
    for word in line.split(" "):
        if not word:
            continue
        if current.strip() and _num_cells(current) + 1 + _num_cells(word) > width:
            yield current
            current = f"{indent}  {word}"
        else:
            current += f"{' ' if current.strip() else ''}{word}"
    yield current


def _num_cells(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def say(text: str, *, err: bool = False) -> None:
    """Print lines on stdout or stderr, wrapped to its width if it is a terminal."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None and stream.isatty():
        text = wrapped(text, shutil.get_terminal_size().columns)
    typer.echo(text, err=err)


def shortened_text(text: str) -> str:
    """Cut a text to SHORTENED characters, and say where all of it is."""
    if len(text) <= SHORTENED:
        return text
    return f"{text[:SHORTENED]} … ({len(text):,} characters; --json has all)"


def open_console() -> "Console":
    """Open a console on stdout that prints texts as they are."""
    from rich.console import Console

    return Console(markup=False, highlight=False)


def fitted_table(
    header: Sequence[str],
    rows: Iterable[Sequence["Cell"]],
    width: int,
    *,
    show_lines: bool = False,
) -> "RenderableType":
    """Build a table, with borders if they fit; a list for each row if its words do not fit."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    cells = [[_text(cell) for cell in row] for row in rows]
    names = [_text(name) for name in header]
    table = Table(show_lines=show_lines)
    widths = _column_widths([names, *cells], width - _BORDERS * len(names) - 1)
    if widths is None:
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0, show_lines=show_lines)
        widths = _column_widths([names, *cells], width - len(names) + 1)
    if widths is None:
        return _listed_rows(names, cells, width)
    for name, size in zip(names, widths, strict=True):
        table.add_column(name, width=size, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def facts_table(
    facts: Iterable[tuple["Cell", "Cell"]], width: int, *, style: str | None = None
) -> "Table":
    """Build a list of names with values, in two columns without borders."""
    from rich.table import Table

    rows = [(_text(name), _text(value)) for name, value in facts]
    longest = max((name.cell_len for name, _ in rows), default=0)
    first = min(longest, max(_longest_word(name for name, _ in rows), width // 3))
    table = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    table.add_column(width=first, overflow="fold", style=style)
    second = max((line.cell_len for _, value in rows for line in value.split()), default=1)
    table.add_column(width=max(1, min(second, width - first - _GAP)), overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _listed_rows(names: Sequence["Text"], rows: Sequence[Sequence["Text"]], width: int) -> "Table":
    """List each row as names with values, with an empty line between two rows."""
    from rich.console import Group
    from rich.table import Table

    lists = Table.grid()
    lists.add_column(width=width)
    for number, row in enumerate(rows):
        filled = (pair for pair in zip(names, row, strict=True) if pair[1])
        facts = facts_table(filled, width)
        lists.add_row(Group("", facts) if number else facts)
    return lists


def _column_widths(rows: Sequence[Sequence["Text"]], room: int) -> list[int] | None:
    """Return the width of each column, at least that of its longest word; None if they do not fit.

    Columns grow from there to their longest line, the narrowest first.
    """
    columns = list(zip(*rows, strict=True))
    least = [_longest_word(column) for column in columns]
    most = [max(line.cell_len for cell in column for line in cell.split()) for column in columns]
    widths = [min(pair) for pair in zip(least, most, strict=True)]
    if sum(widths) > room:
        return None
    growing = [index for index, width in enumerate(widths) if width < most[index]]
    while growing and sum(widths) < room:
        narrowest = min(growing, key=lambda index: widths[index])
        widths[narrowest] += 1
        growing = [index for index in growing if widths[index] < most[index]]
    return widths


def _longest_word(cells: Iterable["Text"]) -> int:
    from rich.cells import cell_len

    words = (word for cell in cells for word in re.split(r"\s+", cell.plain))
    return max(map(cell_len, words), default=1) or 1


def _text(cell: "Cell") -> "Text":
    """Return a literal text: in a plain string, rich would replace :emoji: codes.

    Characters that control the terminal are replaced: a cell may be data.
    """
    from rich.text import Text

    return Text(printable(cell)) if isinstance(cell, str) else cell
