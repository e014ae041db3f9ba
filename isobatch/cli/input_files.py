"""Input files and options that `run` and `evaluate` share; stdin becomes a temporary file."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from isobatch.errors import OptionError
from isobatch.tables import CsvDialect, Format, TableFile, detect_format, expand_inputs

STDIN = "-"

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Files, glob patterns, a folder, or - for stdin."),
]
InputFormat = Annotated[
    Format | None,
    typer.Option(
        "--format", help="Format of the input. Default: by the file name; lines for stdin."
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(help="Column of the texts. Default: found if there is one obvious choice."),
]
PairColumn = Annotated[
    str | None, typer.Option(help="Column of the second texts, for a model of text pairs.")
]
IdColumn = Annotated[
    str | None, typer.Option(help="Column that identifies a row in messages; always kept.")
]
NoHeader = Annotated[
    bool,
    typer.Option(
        "--no-header", help="CSV, TSV: the first line is a row; columns are column_1, column_2 ..."
    ),
]
NoQuotes = Annotated[
    bool, typer.Option("--no-quotes", help="CSV, TSV: quotation marks are plain characters.")
]
RowTruncation = Annotated[
    Literal["cut", "error"],
    typer.Option(
        envvar="ISOBATCH_TRUNCATION",
        help="Texts too long for the model: truncate (cut), or make an error of the row (error).",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")]


@contextmanager
def input_tables(
    names: Sequence[str],
    format: Format | None,
    no_header: bool = False,
    no_quotes: bool = False,
    output: str | None = None,
) -> Iterator[list[TableFile]]:
    """Expand `names` into files; stdin is read to its end into a temporary file.

    `output` is excluded, though a folder or pattern may contain it.
    """
    dialect = CsvDialect(header=not no_header, quotes=not no_quotes)
    if list(names) == [STDIN]:
        if sys.stdin.isatty():
            raise OptionError("stdin is a terminal. Name files, or pipe one in")
        with tempfile.TemporaryDirectory(prefix="isobatch-") as folder:
            path = Path(folder) / "stdin"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            yield [TableFile(path, format or "lines", "none", dialect)]
        return
    if STDIN in names:
        raise OptionError("stdin (-) cannot be combined with other inputs. Name files, or pipe all")
    paths = expand_inputs(names, Path(output) if output else None)
    yield [TableFile(path, *detect_format(path.name, format), dialect) for path in paths]
