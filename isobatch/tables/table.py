"""Tables: the interfaces of every format's reader and writer."""

import enum
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Generic, Protocol, Self, TypeVar

from isobatch.errors import OptionError, TableError
from isobatch.tables.file_names import Compression, TableFile
from isobatch.tables.text_files import FileHasher, compress
from isobatch.tables.values import AddedField, has_surrogate

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

T = TypeVar("T")

AddedValues = Sequence[Sequence[Any]]
"""For each added field, in order, the value of each row."""


class Missing(enum.Enum):
    """The type of MISSING."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""The cell of a JSON object that lacks the requested key; its null is None."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The cell of a JSON value that Python cannot represent, such as half a surrogate pair."""

    reason: str


class TableChunk(Protocol):
    """Consecutive rows of one file, in the file's own representation."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of these rows; of JSON objects the keys that one of them has, in order."""

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> "TableChunk":
        """Return rows `start` to `stop`, the latter not included."""

    def place(self, index: int) -> str:
        """Return where row `index` is: "reviews.csv:17", or "reviews.parquet, row 17"."""

    def cells(self, column: str) -> list[object]:
        """Return each row's Python value: str for text, None for null, MISSING, Unreadable, other.

        OptionError if there is no such column; a JSON object may lack any.
        """

    def texts(self, column: str) -> list[str]:
        """Return each row's cell as in a CSV file. TableError for a cell without Unicode text."""

    def members(self, columns: Sequence[str]) -> list[bytes]:
        """Return each row as members of a JSON object, without the braces."""

    def arrow(self, column: str, type: "pa.DataType") -> "pa.Array | pa.ChunkedArray":
        """Return the cells as an Arrow array. TableError for one that `type` cannot represent."""


class Table(ABC):
    """An opened file, which keeps no rows in memory.

    `columns` are None where only reading the rows finds them; only Parquet has a schema.
    """

    columns: tuple[str, ...] | None = None
    schema: "pa.Schema | None" = None

    def __init__(self, file: TableFile) -> None:
        self.file = file

    def rows(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None = None
    ) -> Iterator[TableChunk]:
        """Yield all rows in order, at most `max_rows` rows and `max_characters` characters at once.

        A row of more characters is a chunk of its own. Of Parquet files bytes are counted instead.
        Invariant: where chunks end depends on the rows and the two limits alone.
        `hasher` is given the file's bytes on disk, all of them by the end of the last row.
        TableError names the row that cannot be read; OptionError for a limit below one.
        """
        for name, limit in (("max_rows", max_rows), ("max_characters", max_characters)):
            if limit < 1:
                raise OptionError(f"{name} must be at least 1, got {limit}")
        return self._chunks(max_rows, max_characters, hasher)

    def check_text(self, column: str) -> None:  # noqa: B027 - cells of most formats are texts
        """Raise a TableError if no row can have a text in `column`, because of its type."""

    @abstractmethod
    def _chunks(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None
    ) -> Iterator[TableChunk]: ...


@dataclass(frozen=True, slots=True)
class LineChunk(Generic[T]):
    """Rows of a text file, each with the number of its first line."""

    name: str
    records: list[tuple[int, T]]

    def __len__(self) -> int:
        return len(self.records)

    def part(self, start: int, stop: int) -> Self:
        return replace(self, records=self.records[start:stop])

    def place(self, index: int) -> str:
        return f"{self.name}:{self.records[index][0]}"


class TableWriter(ABC):
    """Encodes rows with added values, chunk by chunk, and assembles the chunks into one file.

    Invariant: the same rows and values give the same bytes, and no chunk depends on another.
    """

    def __init__(
        self,
        columns: Sequence[str],
        fields: Sequence[AddedField],
        compression: Compression = "none",
    ) -> None:
        self._columns = tuple(columns)
        self._fields = tuple(fields)
        self._compression = compression

    def head(self) -> bytes:
        """Return what precedes all chunks: the header line of csv and tsv, if there is one."""
        return compress(b"", self._compression)

    def encode(self, rows: TableChunk, added: AddedValues) -> bytes:
        """Return one chunk. TableError names the row with a cell that the format cannot hold.

        OptionError unless `added` has a value for each row and field: no row may get lost.
        """
        sizes = [len(values) for values in added]
        if sizes != [len(rows)] * len(self._fields):
            raise OptionError(
                f"{len(self._fields)} added fields of {len(rows)} rows need as many values, "
                f"got {sizes}"
            )
        try:
            return self._encode(rows, added)
        except UnicodeEncodeError as error:
            raise self._not_unicode(rows, added, error) from error

    @abstractmethod
    def _encode(self, rows: TableChunk, added: AddedValues) -> bytes: ...

    def assemble(self, chunks: Iterable[Path], target: BinaryIO) -> None:
        """Write the whole file to `target`. TableError if a chunk or the target fails."""
        try:
            target.write(self.head())
            for chunk in chunks:
                with chunk.open("rb") as source:
                    shutil.copyfileobj(source, target)
        except OSError as error:
            raise assembly_failed(target, error) from error

    def _not_unicode(
        self, rows: TableChunk, added: AddedValues, error: UnicodeEncodeError
    ) -> TableError:
        """Search for the added text that is not Unicode, and name its row."""
        for field, values in zip(self._fields, added, strict=True):
            for index, value in enumerate(values):
                if isinstance(value, str) and has_surrogate(value):
                    return TableError(
                        f"{rows.place(index)}: the value of the added column {field.name!r} "
                        "contains half of a surrogate pair, which is not Unicode text; fix the "
                        "name that it comes from"
                    )
        return TableError(f"{rows.place(0)} or a row after it cannot be written as UTF-8: {error}")


def assembly_failed(target: BinaryIO, error: Exception) -> TableError:
    """Return the TableError for an output file that could not be assembled from its chunks."""
    place = getattr(error, "filename", None) or getattr(target, "name", "the output")
    reason = getattr(error, "strerror", None) or one_line(error)
    return TableError(
        f"{place}: cannot be written or read: {reason}; check that the disk has room and that the "
        "chunks still exist"
    )


def group_rows(
    sized: Iterable[tuple[T, int, int]], max_rows: int, max_size: int
) -> Iterator[list[T]]:
    """Group consecutive items, given with their numbers of rows and sizes, within both limits.

    An item beyond a limit is a group of its own.
    """
    group: list[T] = []
    rows = total = 0
    for item, count, size in sized:
        if group and (rows + count > max_rows or total + size > max_size):
            yield group
            group, rows, total = [], 0, 0
        group.append(item)
        rows, total = rows + count, total + size
    if group:
        yield group


def unknown_column(place: str, column: str, columns: Sequence[str]) -> OptionError:
    """Return the OptionError for a column that a table does not have."""
    return OptionError(f"{place}: no column {column!r}; the columns are: {', '.join(columns)}")


def one_line(error: Exception) -> str:
    """Return a library's error message, which may span several lines, as one line."""
    return " ".join(str(error).split())
