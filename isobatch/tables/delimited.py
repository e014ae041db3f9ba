"""csv, tsv and plain lines: rows of text cells, read and written by the standard library.

Invariant: a cell is the string that is in the file, never stripped, guessed or converted.
"""

import csv
import io
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from isobatch.drawing.display_text import counted
from isobatch.errors import TableError
from isobatch.tables.content import sep_delimiter
from isobatch.tables.file_names import DELIMITERS, Compression, CsvDialect, Format, TableFile
from isobatch.tables.table import (
    AddedValues,
    LineChunk,
    Table,
    TableChunk,
    TableWriter,
    group_rows,
    unknown_column,
)
from isobatch.tables.text_files import FileHasher, compress, decoded_lines
from isobatch.tables.values import AddedField, json_encoder, key_prefix

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

CsvRecord = tuple[int, list[str]]
"""The number of its first line, and its cells."""

Cells = Sequence[str]

MAX_CELL_CHARACTERS = 1 << 28
"""Maximum cell size; stops the CSV reader at an unclosed quote before it fills the memory."""


@dataclass(frozen=True, slots=True)
class TextChunk(LineChunk[list[str]]):
    """Rows of which every cell is a string."""

    columns: tuple[str, ...]

    def cells(self, column: str) -> list[object]:
        return list(self.texts(column))

    def texts(self, column: str) -> list[str]:
        position = self._position(column)
        return [cells[position] for _, cells in self.records]

    def members(self, columns: Sequence[str]) -> list[bytes]:
        encode = json_encoder()
        keys = [(key_prefix(column), self._position(column)) for column in columns]
        return [
            b",".join([key + encode(cells[position]) for key, position in keys])
            for _, cells in self.records
        ]

    def arrow(self, column: str, type: "pa.DataType") -> "pa.Array | pa.ChunkedArray":
        """Return the texts as an Arrow array. TableError unless `type` is of strings."""
        import pyarrow as pa

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
            raise unknown_column(self.name, column, self.columns) from None


class LinesTable(Table):
    """A file of which every line is a text, blank ones too; its one column is named text."""

    columns: tuple[str, ...] = ("text",)

    def _chunks(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None
    ) -> Iterator[TextChunk]:
        sized = (((number, [text]), 1, len(text)) for number, text in self._texts(hasher))
        for records in group_rows(sized, max_rows, max_characters):
            yield TextChunk(self.file.path.name, records, self.columns)

    def _texts(self, hasher: FileHasher | None) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(decoded_lines(self.file, hasher), 1):
            yield number, line.removesuffix("\n").removesuffix("\r") if line[-1] == "\n" else line


class DelimitedTable(Table):
    """A csv or tsv file. TableError at once if it has no header, or one that names a column twice.

    Blank lines are skipped; where there is only one column each is an empty cell. So is a first
    line that declares the delimiter to Excel ("sep=;").
    """

    columns: tuple[str, ...]

    def __init__(self, file: TableFile) -> None:
        super().__init__(file)
        self.columns = self._read_columns()

    def _chunks(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None
    ) -> Iterator[TextChunk]:
        sized = ((record, 1, sum(map(len, record[1]))) for record in self._data_records(hasher))
        for records in group_rows(sized, max_rows, max_characters):
            yield TextChunk(self.file.path.name, records, self.columns)

    def _data_records(self, hasher: FileHasher | None) -> Iterator[CsvRecord]:
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

    def _records(self, hasher: FileHasher | None = None) -> Iterator[CsvRecord]:
        """Yield every record, blank lines too, which have no cells."""
        if csv.field_size_limit() < MAX_CELL_CHARACTERS:
            csv.field_size_limit(MAX_CELL_CHARACTERS)
        lines = decoded_lines(self.file, hasher)
        first = next(lines, "")
        skipped = int(sep_delimiter(first) is not None)
        reader = csv.reader(
            lines if skipped else chain([first], lines),
            delimiter=self.file.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.file.dialect.quotes else csv.QUOTE_NONE,
            strict=True,
        )
        while True:
            number = reader.line_num + 1 + skipped
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._malformed(number, reader.line_num + skipped, error) from error
            yield number, cells

    def _read_columns(self) -> tuple[str, ...]:
        number, first = next((record for record in self._records() if record[1]), (0, []))
        if not first:
            raise TableError(
                f"{self.file.path}: is empty: needs a header line that names the columns"
                if self.file.dialect.header
                else f"{self.file.path}: is empty, so its columns cannot be counted; leave it out"
            )
        if not self.file.dialect.header:
            return tuple(f"column_{number}" for number in range(1, len(first) + 1))
        self._check_header(number, first)
        return tuple(first)

    def _check_header(self, number: int, names: list[str]) -> None:
        place = f"{self.file.path}:{number}"
        if any("\0" in name for name in names):
            raise TableError(
                f"{place}: the header contains NUL characters; is it UTF-16 without a byte order "
                "mark? Use --encoding utf-16-le"
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TableError(
                f"{place}: the header names the column {twice!r} twice; rename one, or, if this "
                "line is a row, use --no-header"
            )

    def _ragged(self, number: int, count: int) -> TableError:
        width, own = len(self.columns), self.file.delimiter
        name = {"\t": "tab", ",": "comma"}.get(own, repr(own))
        guess = (
            f"is a cell with a {name} left unquoted?"
            if count > width
            else "is a cell missing, or a line broken in two?"
        )
        place = f"{self.file.path}:{number}"
        if self._has_backslash_quotes(number, number):
            return self._escaped(place)
        return TableError(
            f"{place}: has {counted(count, 'field')} where "
            f"{'the header' if self.file.dialect.header else 'the first row'} has {width}; {guess} "
            "Fix this line (if quote marks are plain text in this file, use --no-quotes)"
        )

    def _malformed(self, number: int, last: int, error: csv.Error) -> TableError:
        place, reason = f"{self.file.path}:{number}", str(error)
        if "new-line character" in reason:
            return TableError(
                f"{place}: a carriage return without line feed in an unquoted cell; if the file "
                f"ends its lines so, convert it: tr '\\r' '\\n' < {self._shell_name()} > NEW; "
                "otherwise quote the cell"
            )
        if self._has_backslash_quotes(number, last):
            return self._escaped(place)
        if "unexpected end of data" in reason or "field larger" in reason:
            return TableError(
                f"{place}: a quote that opens in the record beginning here is never closed (or a "
                f"cell has more than {MAX_CELL_CHARACTERS:,} characters); close it, or, if quote "
                "marks are plain text in this file, use --no-quotes"
            )
        return TableError(
            f"{place}: the quotes of the record beginning here are malformed: {reason}; double "
            "the quote marks inside of quoted cells, or, if quote marks are plain text in this "
            "file, use --no-quotes"
        )

    def _escaped(self, place: str) -> TableError:
        return TableError(
            f"{place}: quote marks inside of a quoted cell are escaped by backslashes, where CSV "
            "doubles them; convert the file: "
            f'sed \'s/\\\\"/""/g\' {self._shell_name()} > NEW'
        )

    def _has_backslash_quotes(self, first: int, last: int) -> bool:
        if not self.file.dialect.quotes:
            return False
        lines = islice(decoded_lines(self.file), first - 1, min(last, first + 99))
        return any('\\"' in line for line in lines)

    def _shell_name(self) -> str:
        return shlex.quote(str(self.file.path))


_CRLF = "\r\n"


class DelimitedWriter(TableWriter):
    """Writes csv or tsv with "\\n" line ends, and quotes only where they are needed."""

    def __init__(
        self,
        format: Format,
        compression: Compression,
        dialect: CsvDialect,
        columns: Sequence[str],
        fields: Sequence[AddedField],
    ) -> None:
        super().__init__(columns, fields, compression)
        self._delimiter = dialect.delimiter or DELIMITERS[format]
        self._dialect = dialect

    def head(self) -> bytes:
        names = [*self._columns, *(field.name for field in self._fields)]
        text = self._lines([names], None) if self._dialect.header else ""
        return compress(text.encode(), self._compression)

    def _encode(self, rows: TableChunk, added: AddedValues) -> bytes:
        if not len(rows):
            return b""
        texts = [rows.texts(column) for column in self._columns]
        for field, values in zip(self._fields, added, strict=True):
            texts.append(field.texts(values))
        data = self._lines(list(zip(*texts, strict=True)), rows).encode()
        return compress(data, self._compression)

    def _lines(self, records: Sequence[Cells], rows: TableChunk | None) -> str:
        if not self._dialect.quotes:
            return "".join([self._unquoted(record, rows, i) for i, record in enumerate(records)])
        text = self._quoted(records, "\n")
        if "\r" not in text:
            return text
        # Python 3.11 quotes the characters of the line end alone, and cannot read a lone carriage
        # return back that is not quoted.
        lines = [self._quoted([record], _CRLF) for record in records]
        return "".join([f"{line.removesuffix(_CRLF)}\n" for line in lines])

    def _quoted(self, records: Sequence[Cells], line_end: str) -> str:
        sink = io.StringIO(newline="")
        csv.writer(sink, delimiter=self._delimiter, lineterminator=line_end).writerows(records)
        return sink.getvalue()

    def _unquoted(self, record: Cells, rows: TableChunk | None, index: int) -> str:
        for cell in record:
            if self._delimiter in cell or "\n" in cell or "\r" in cell:
                raise TableError(
                    f"{rows.place(index) if rows else 'the header'}: the cell {cell[:40]!r} holds "
                    "a delimiter or line end, which needs quotes, but the output has none, like "
                    "its input (--no-quotes); use --output-format jsonl"
                )
        return self._delimiter.join(record) + "\n"


def split_at_commas(line: str) -> tuple[str, ...]:
    """Split names at commas, as in a line of CSV; a name with a comma is quoted.

    ValueError for more than one line, and for a longer cell than any table may have.
    """
    if csv.field_size_limit() < MAX_CELL_CHARACTERS:
        csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        return tuple(next(csv.reader([line], skipinitialspace=True), ()))
    except csv.Error as error:
        raise ValueError(f"{line[:40]!r}: {error}") from error
