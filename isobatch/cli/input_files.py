"""Input files, and options of the commands that read text; stdin becomes a temporary file."""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from isobatch.errors import OptionError, TableError
from isobatch.tables import (
    DELIMITERS,
    UTF8,
    Compression,
    CsvDialect,
    Format,
    TableFile,
    TableFormat,
    check_encoding,
    detect_format,
    expand_inputs,
)
from isobatch.tables.pipe_advice import as_filter, without_options

STDIN = "-"

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Files, glob patterns, a folder, or - for stdin."),
]
InputFormat = Annotated[
    TableFormat | None,
    typer.Option(
        "--format", help="Format of the input. Default: by the file name; lines for stdin."
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(help="Column of the texts. Default: detected if there is one obvious choice."),
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
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHARACTER",
        help="CSV, TSV: separator of the columns of the input; '\\t' or tab for a tab. Default: a "
        "comma in CSV, a tab in TSV.",
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Encoding of the input, by Python's names: utf-8, utf-16, cp1252, latin-1, shift_jis "
        "... Default: utf-8. Output is always UTF-8.",
    ),
]
CompressionOption = Annotated[
    Compression | None,
    typer.Option(
        "--compression",
        help="Compression of the input. Default: by the file name (.gz, .zst); none for stdin.",
    ),
]
OnEmptyOption = Annotated[
    Literal["score", "error"],
    typer.Option(
        "--on-empty",
        help="Empty texts and white space: score them like any text (score), or make the row an "
        "error (error).",
    ),
]
RowTruncation = Annotated[
    Literal["cut", "error"],
    typer.Option(
        envvar="ISOBATCH_TRUNCATION",
        help="Texts too long for the model: truncate (cut), or make the row an error (error).",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")]


@dataclass(frozen=True, slots=True)
class InputOptions:
    """The options that say how input files are read; None means as their names imply.

    `command` is the command that has all of them; None: its command has not, so that messages must
    not name --format and --compression. OptionError for an unknown encoding and an unusable
    delimiter.
    """

    format: Format | None = None
    no_header: bool = False
    no_quotes: bool = False
    delimiter: str | None = None
    encoding: str | None = None
    compression: Compression | None = None
    command: str | None = None

    def advice(self, message: str) -> str:
        """Return the message of an error without options that the command does not have."""
        if self.command:
            return message
        return without_options(message, only_lines=self.format == "lines")

    def table(self, path: Path, format: Format, compression: Compression) -> TableFile:
        """Describe a file, for which `format` and `compression` are the defaults."""
        return TableFile(
            path,
            self.format or format,
            self.compression or compression,
            CsvDialect(not self.no_header, not self.no_quotes, _delimiter(self.delimiter)),
            UTF8 if self.encoding is None else check_encoding(self.encoding),
            format_given=self.format is not None,
        )

    def refuse_unused(self, tables: Sequence[TableFile]) -> None:
        """Raise an OptionError for an option that none of the files has a use for."""
        formats = {table.format for table in tables}
        found = ", ".join(sorted(formats))
        if not formats & {*DELIMITERS}:
            given = {"--no-header": self.no_header, "--no-quotes": self.no_quotes}
            given["--delimiter"] = self.delimiter is not None
            if unused := [name for name, is_given in given.items() if is_given]:
                raise OptionError(
                    f"{unused[0]} is for CSV and TSV, but the input is {found}. Leave it out, or "
                    f"use --format csv {unused[0]}"
                )
        if formats == {"parquet"} and self.encoding is not None:
            raise OptionError("--encoding is for text, but the input is Parquet. Leave it out")


def _delimiter(given: str | None) -> str | None:
    """Read `given` as shells pass it: a tab or another control character is often escaped."""
    if given in ("\\t", "tab"):
        return "\t"
    code = re.fullmatch(r"\\x([0-9a-fA-F]{2})", given or "")
    return chr(int(code[1], 16)) if code else given


@contextmanager
def input_tables(
    names: Sequence[str],
    options: InputOptions,
    output: str | None = None,
) -> Iterator[list[TableFile]]:
    """Expand `names` into files; stdin is read to its end into a temporary file.

    `output` is excluded, though a folder or pattern may contain it.
    """
    if list(names) == [STDIN]:
        if sys.stdin.isatty():
            raise OptionError("stdin is a terminal. Specify files, or pipe one in")
        with tempfile.TemporaryDirectory(prefix="isobatch-") as folder:
            path = Path(folder) / "stdin"
            table = replace(options.table(path, "lines", "none"), is_stdin=True)
            options.refuse_unused([table])
            _save_stdin(path)
            try:
                yield [table]
            except (OptionError, TableError) as error:
                reader = f"isobatch {options.command} - ..." if options.command else "isobatch ..."
                message = as_filter(options.advice(str(error)), str(path), reader)
                raise type(error)(message) from error
        return
    if STDIN in names:
        raise OptionError(
            "stdin (-) cannot be combined with other inputs. Specify files, or pipe all"
        )
    paths = expand_inputs(names, Path(output) if output else None)
    tables = [options.table(path, *_named_format(path, options)) for path in paths]
    options.refuse_unused(tables)
    try:
        yield tables
    except TableError as error:
        raise TableError(options.advice(str(error))) from error


def _named_format(path: Path, options: InputOptions) -> tuple[Format, Compression]:
    try:
        return detect_format(path.name, options.format)
    except OptionError:
        # a name such as reviews.parquet.gz may stay where the options name both
        if options.format is None or options.compression is None:
            raise
        return options.format, options.compression


def _save_stdin(path: Path) -> None:
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise TableError(
            f"stdin: cannot be saved in {path.parent}: {error.strerror}. Free some space, or set "
            "TMPDIR to a folder with room"
        ) from error
