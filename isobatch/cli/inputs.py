"""The files that a command reads, as the user names them; stdin becomes a file for the while.

Options that `run` and `evaluate` share stand here once.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from isobatch.errors import OptionError
from isobatch.tables import Dialect, Format, TableFile, expand_inputs, recognise

FormatName = Literal["csv", "tsv", "jsonl", "parquet", "lines"]

STDIN = "-"

InputFormat = Annotated[
    FormatName | None,
    typer.Option("--format", help="Format of the input; by its name if absent, lines for stdin."),
]
TextColumn = Annotated[
    str | None,
    typer.Option(help="The column of the texts; found if there is one obvious choice."),
]
PairColumn = Annotated[
    str | None, typer.Option(help="The column of the second texts, for a model of pairs.")
]
IdColumn = Annotated[
    str | None, typer.Option(help="A column that names the row in messages; always kept.")
]
NoHeader = Annotated[
    bool,
    typer.Option("--no-header", help="CSV, TSV: the first line is a row; columns: column_1, ..."),
]
NoQuotes = Annotated[
    bool, typer.Option("--no-quotes", help="CSV, TSV: quotation marks are plain characters.")
]


def dialect_of(*, no_header: bool, no_quotes: bool) -> Dialect:
    """The dialect of CSV and TSV that the options ask for."""
    return Dialect(header=not no_header, quotes=not no_quotes)


@contextmanager
def named_tables(
    names: Sequence[str],
    format: Format | None,
    dialect: Dialect,
    output: str | None = None,
) -> Iterator[list[TableFile]]:
    """The files that `names` stand for; stdin is read to its end into a temporary file.

    `output` is no input, though a folder or pattern that is named may hold it.
    """
    if list(names) == [STDIN]:
        if sys.stdin.isatty():
            raise OptionError("nothing on stdin: name files, or pipe one in")
        with tempfile.TemporaryDirectory(prefix="isobatch-") as folder:
            path = Path(folder) / "stdin"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            yield [TableFile(path, format or "lines", "none", dialect)]
        return
    if STDIN in names:
        raise OptionError("stdin (-) cannot be one of several inputs; name files, or pipe all in")
    paths = expand_inputs(names, Path(output) if output else None)
    yield [TableFile(path, *recognise(path.name, format), dialect) for path in paths]
