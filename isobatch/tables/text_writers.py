"""Writers of csv, tsv and JSON Lines: the chunks, one behind the other, are the file.

They know nothing of Parquet. Invariant: a chunk is whole lines, compressed on its own.
"""

import csv
import io
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from isobatch.errors import TableError
from isobatch.tables.added import Added, AddedField, check_added, not_unicode
from isobatch.tables.compression import compress
from isobatch.tables.delimited import DELIMITERS
from isobatch.tables.formats import Compression, CsvDialect, Format
from isobatch.tables.libraries import in_one_line
from isobatch.tables.rows import TableChunk
from isobatch.tables.values import key_prefix

Cells = Sequence[str]


class DelimitedWriter:
    """Writes csv or tsv with "\\n" line ends, and quotes only where they are needed."""

    def __init__(
        self,
        format: Format,
        compression: Compression,
        dialect: CsvDialect,
        columns: Sequence[str],
        fields: Sequence[AddedField],
    ) -> None:
        self._delimiter = DELIMITERS[format]
        self._compression = compression
        self._dialect = dialect
        self._columns = tuple(columns)
        self._fields = tuple(fields)

    def head(self) -> bytes:
        """The header line, where the dialect has one; nothing, compressed, otherwise."""
        names = [*self._columns, *(field.name for field in self._fields)]
        text = self._lines([names], None) if self._dialect.header else ""
        return compress(text.encode(), self._compression)

    def encode(self, rows: TableChunk, added: Added) -> bytes:
        """One chunk. TableError for a cell that needs quotes where the dialect has none."""
        check_added(rows, self._fields, added)
        if not len(rows):
            return b""
        texts = [rows.texts(column) for column in self._columns]
        for field, values in zip(self._fields, added, strict=True):
            texts.append(field.texts(values))
        try:
            data = self._lines(list(zip(*texts, strict=True)), rows).encode()
        except UnicodeEncodeError as error:
            raise not_unicode(rows, self._fields, added, error) from error
        return compress(data, self._compression)

    def assemble(self, chunks: Iterable[Path], target: BinaryIO) -> None:
        """Head and chunks, one behind the other. TableError if one fails."""
        concatenate(self.head(), chunks, target)

    def _lines(self, records: Sequence[Cells], rows: TableChunk | None) -> str:
        if not self._dialect.quotes:
            return "".join([self._bare(record, rows, i) for i, record in enumerate(records)])
        text = self._quoted(records, csv.QUOTE_MINIMAL)
        if "\r" not in text:
            return text
        return "".join([self._quoted([record], _quoting(record)) for record in records])

    def _quoted(self, records: Sequence[Cells], quoting: Literal[0, 1]) -> str:
        sink = io.StringIO(newline="")
        csv.writer(sink, delimiter=self._delimiter, lineterminator="\n", quoting=quoting).writerows(
            records
        )
        return sink.getvalue()

    def _bare(self, record: Cells, rows: TableChunk | None, index: int) -> str:
        for cell in record:
            if self._delimiter in cell or "\n" in cell or "\r" in cell:
                raise TableError(
                    f"{rows.place(index) if rows else 'the header'}: the cell {cell[:40]!r} holds "
                    "a delimiter or line end, and without quotes it would fall apart; write with "
                    "quotes, or another format"
                )
        return self._delimiter.join(record) + "\n"


def _quoting(record: Cells) -> Literal[0, 1]:
    """Python 3.11 leaves a cell with a lone carriage return bare, and does not read it back."""
    return csv.QUOTE_ALL if any("\r" in cell for cell in record) else csv.QUOTE_MINIMAL


class JsonWriter:
    """Writes one compact JSON object a line, UTF-8 not escaped.

    Rows of JSON keep their own keys, their order and every value's spelling.
    """

    def __init__(
        self, compression: Compression, columns: Sequence[str], fields: Sequence[AddedField]
    ) -> None:
        self._compression = compression
        self._columns = tuple(columns)
        self._fields = tuple(fields)

    def head(self) -> bytes:
        """Nothing, compressed."""
        return compress(b"", self._compression)

    def encode(self, rows: TableChunk, added: Added) -> bytes:
        """One chunk. TableError for what is not Unicode."""
        check_added(rows, self._fields, added)
        if not len(rows):
            return b""
        try:
            members = [rows.members(self._columns)]
            for field, values in zip(self._fields, added, strict=True):
                key = key_prefix(field.name)
                members.append([key + value for value in field.json(values)])
        except UnicodeEncodeError as error:
            raise not_unicode(rows, self._fields, added, error) from error
        lines = [b"{%b}\n" % b",".join(filter(None, row)) for row in zip(*members, strict=True)]
        return compress(b"".join(lines), self._compression)

    def assemble(self, chunks: Iterable[Path], target: BinaryIO) -> None:
        """The chunks, one behind the other. TableError if one fails."""
        concatenate(self.head(), chunks, target)


def concatenate(head: bytes, chunks: Iterable[Path], target: BinaryIO) -> None:
    """Write `head` and the bytes of `chunks` to `target`. TableError if it cannot be done."""
    try:
        target.write(head)
        for chunk in chunks:
            with chunk.open("rb") as source:
                shutil.copyfileobj(source, target)
    except OSError as error:
        raise unwritten(target, error) from error


def unwritten(target: BinaryIO, error: Exception) -> TableError:
    """The TableError for a file that could not be put together."""
    place = getattr(error, "filename", None) or getattr(target, "name", "the output")
    reason = getattr(error, "strerror", None) or in_one_line(error)
    return TableError(
        f"{place}: cannot be written or read: {reason}; see that the disk has room and that the "
        "chunks are still there"
    )
