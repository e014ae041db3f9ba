"""Rows of text cells: csv, tsv, and plain lines.

It knows nothing of JSON or Parquet. Needs the standard library alone, except to convert.
Invariant: a cell is the string that stands in the file; nothing is stripped, guessed or converted.
"""

import csv
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from isobatch.errors import TableError
from isobatch.tables.compression import FileHasher
from isobatch.tables.formats import TableFile
from isobatch.tables.libraries import library
from isobatch.tables.lines import read_texts
from isobatch.tables.rows import blocks, check_limits, no_column
from isobatch.tables.values import encoder, key_prefix

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Record = tuple[int, list[str]]
"""Number of the line where it begins, and its cells."""

MAX_CELL_CHARACTERS = 1 << 28
"""Ends the search for the end of a quote before it has filled the memory with the file."""

DELIMITERS = {"csv": ",", "tsv": "\t"}


class TextChunk:
    """Rows of which every cell is a string."""

    def __init__(self, name: str, columns: tuple[str, ...], records: list[Record]) -> None:
        self.name = name
        self.columns = columns
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def part(self, start: int, stop: int) -> "TextChunk":
        """TableChunk `start` to `stop`, the latter not included."""
        return TextChunk(self.name, self.columns, self._records[start:stop])

    def place(self, index: int) -> str:
        """File name and the line where row `index` begins."""
        return f"{self.name}:{self._records[index][0]}"

    def cells(self, column: str) -> list[object]:
        """The text of each row. OptionError if there is no such column."""
        return list(self.texts(column))

    def texts(self, column: str) -> list[str]:
        """The text of each row. OptionError if there is no such column."""
        position = self._position(column)
        return [cells[position] for _, cells in self._records]

    def members(self, columns: Sequence[str]) -> list[bytes]:
        """Each row as members of a JSON object, all strings. OptionError as for `texts`."""
        encode = encoder()
        keys = [(key_prefix(column), self._position(column)) for column in columns]
        return [
            b",".join([key + encode(cells[position]) for key, position in keys])
            for _, cells in self._records
        ]

    def arrow(self, column: str, type: "pa.DataType") -> "pa.Array | pa.ChunkedArray":
        """The texts as an Arrow array. TableError unless `type` is of strings."""
        pa = library("pyarrow")
        if not (pa.types.is_string(type) or pa.types.is_large_string(type)):
            raise TableError(
                f"{self.name}: its column {column!r} is text, but {type} in the files before it; "
                "write another format than Parquet, or leave the column out"
            )
        return pa.array(self.texts(column), type)

    def _position(self, column: str) -> int:
        try:
            return self.columns.index(column)
        except ValueError:
            raise no_column(self.name, column, self.columns) from None


class LinesTable:
    """A file of which every line is a text; its one column is named text."""

    columns: tuple[str, ...] = ("text",)

    def __init__(self, file: TableFile) -> None:
        self.file = file

    def rows(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None = None
    ) -> Iterator[TextChunk]:
        """All lines, blank ones too, without their line ends. Errors as in `Table.rows`."""
        check_limits(max_rows, max_characters)
        sized = (((number, [text]), len(text)) for number, text in self._texts(hasher))
        for block in blocks(sized, max_rows, max_characters):
            yield TextChunk(self.file.path.name, self.columns, block)

    def _texts(self, hasher: FileHasher | None) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(read_texts(self.file, hasher), 1):
            yield number, line.removesuffix("\n").removesuffix("\r") if line[-1] == "\n" else line


class DelimitedTable:
    """A csv or tsv file. TableError at once if it has no header, or one that names a column twice.

    Blank lines are skipped; where there is only one column each is an empty cell.
    """

    def __init__(self, file: TableFile) -> None:
        self.file = file
        self.columns = self._read_columns()

    def rows(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None = None
    ) -> Iterator[TextChunk]:
        """All rows. Errors as in `Table.rows`."""
        check_limits(max_rows, max_characters)
        sized = ((record, sum(map(len, record[1]))) for record in self._rows_of_data(hasher))
        for block in blocks(sized, max_rows, max_characters):
            yield TextChunk(self.file.path.name, self.columns, block)

    def _rows_of_data(self, hasher: FileHasher | None) -> Iterator[Record]:
        width, header_due = len(self.columns), self.file.dialect.header
        for number, cells in self._records(hasher):
            if not cells and (header_due or width != 1):
                continue
            if header_due:
                header_due = False
                continue
            row = cells or [""]
            if len(row) != width:
                raise self._ragged(number, len(row))
            yield number, row

    def _records(self, hasher: FileHasher | None = None) -> Iterator[Record]:
        """Every record, blank lines too, which have no cells."""
        if csv.field_size_limit() < MAX_CELL_CHARACTERS:
            csv.field_size_limit(MAX_CELL_CHARACTERS)
        reader = csv.reader(
            read_texts(self.file, hasher),
            delimiter=DELIMITERS[self.file.format],
            quoting=csv.QUOTE_MINIMAL if self.file.dialect.quotes else csv.QUOTE_NONE,
            strict=True,
        )
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._malformed(number, error) from error
            yield number, cells

    def _read_columns(self) -> tuple[str, ...]:
        number, first = next((record for record in self._records() if record[1]), (0, []))
        if not first:
            raise TableError(
                f"{self.file.path}: is empty: needs a header line that names the columns"
                if self.file.dialect.header
                else f"{self.file.path}: is empty, so that its columns cannot be counted; leave "
                "it out"
            )
        if not self.file.dialect.header:
            return tuple(f"column_{number}" for number in range(1, len(first) + 1))
        self._refuse_header(number, first)
        return tuple(first)

    def _refuse_header(self, number: int, names: list[str]) -> None:
        place = f"{self.file.path}:{number}"
        if any("\0" in name for name in names):
            raise TableError(
                f"{place}: the header holds NUL characters; is it UTF-16 without a byte order "
                f"mark? Convert it: iconv -f UTF-16LE -t UTF-8 {self.file.path.name} > NEW"
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TableError(
                f"{place}: the header names the column {twice!r} twice; rename one, or, if this "
                "line is a row, say --no-header"
            )

    def _ragged(self, number: int, count: int) -> TableError:
        width = len(self.columns)
        cure = (
            f"is a cell with a {'tab' if self.file.format == 'tsv' else 'comma'} left unquoted?"
            if count > width
            else "is a cell missing, or a line broken in two?"
        )
        return TableError(
            f"{self.file.path}:{number}: has {count} fields where "
            f"{'the header' if self.file.dialect.header else 'the first row'} has {width}; {cure} "
            "Mend this line (for quote marks that are plain text say --no-quotes)"
        )

    def _malformed(self, number: int, error: csv.Error) -> TableError:
        place, reason = f"{self.file.path}:{number}", str(error)
        if "unexpected end of data" in reason or "field larger" in reason:
            return TableError(
                f"{place}: a quote that opens in the record beginning here is never closed (or a "
                f"cell has more than {MAX_CELL_CHARACTERS:,} characters); close it, or, if quote "
                "marks are plain text in this file, say --no-quotes"
            )
        if "new-line character" in reason:
            return TableError(
                f"{place}: a carriage return stands alone in a cell without quotes; if the file "
                f"ends its lines so, convert it: tr '\\r' '\\n' < {self.file.path.name} > NEW; "
                "otherwise quote the cell"
            )
        return TableError(
            f"{place}: the quotes of the record beginning here are malformed: {reason}; double "
            "the quote marks inside of quoted cells, or, if quote marks are plain text in this "
            "file, say --no-quotes"
        )
