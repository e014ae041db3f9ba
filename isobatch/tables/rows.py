"""What all files of rows look like once opened: tables, and neighbouring rows of one.

It knows no format. Invariant: where blocks end depends on the rows and the two limits alone.
"""

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from isobatch.errors import OptionError
from isobatch.tables.compression import FileHasher
from isobatch.tables.formats import TableFile

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

T = TypeVar("T")


class Missing(enum.Enum):
    """The type of MISSING."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Stands where a JSON object lacks the key that was asked for; None stands for its null."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a JSON value that no Python value can hold, such as half a surrogate pair."""

    reason: str


class TableChunk(Protocol):
    """Neighbouring rows of one file, in the file's own representation."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of these rows; of JSON objects the keys that one of them has, in order."""

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> "TableChunk":
        """TableChunk `start` to `stop`, the latter not included."""

    def place(self, index: int) -> str:
        """Where row `index` stands: "reviews.csv:17", or "reviews.parquet, row 17"."""

    def cells(self, column: str) -> list[object]:
        """The Python value of each row: str for text, None for null, MISSING, Unreadable, or other.

        OptionError if there is no such column; a JSON object may lack any.
        """

    def texts(self, column: str) -> list[str]:
        """Each row's cell as a CSV file holds it. TableError for one that is no Unicode text."""

    def members(self, columns: Sequence[str]) -> list[bytes]:
        """Each row as members of a JSON object, without the braces."""

    def arrow(self, column: str, type: "pa.DataType") -> "pa.Array | pa.ChunkedArray":
        """The cells as an Arrow array of `type`. TableError for one that does not fit."""


class Table(Protocol):
    """An opened view on one file; it keeps no rows. Columns are None where only a scan tells."""

    @property
    def file(self) -> TableFile: ...

    @property
    def columns(self) -> tuple[str, ...] | None: ...

    def rows(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None = None
    ) -> Iterator[TableChunk]:
        """All rows in order, in blocks of at most `max_rows` rows and `max_characters` characters.

        A row of more characters is a block of its own. Of Parquet files bytes are counted instead.
        `hasher` gets the file's bytes on the disk; it has them all behind the last row.
        TableError names the row that cannot be read; OptionError for a limit below one.
        """


def blocks(sized: Iterable[tuple[T, int]], max_rows: int, max_characters: int) -> Iterator[list[T]]:
    """Gather rows, each given with its size, within the limits that `Table.rows` states."""
    block: list[T] = []
    characters = 0
    for row, size in sized:
        if block and (len(block) == max_rows or characters + size > max_characters):
            yield block
            block, characters = [], 0
        block.append(row)
        characters += size
    if block:
        yield block


def check_limits(max_rows: int, max_characters: int) -> None:
    """OptionError unless both limits are at least one."""
    for name, limit in (("max_rows", max_rows), ("max_characters", max_characters)):
        if limit < 1:
            raise OptionError(f"{name} must be at least 1, got {limit}")


def no_column(place: str, column: str, columns: Sequence[str]) -> OptionError:
    """The OptionError for a column that a table does not have."""
    return OptionError(
        f"{place}: there is no column {column!r}; the columns are: {', '.join(columns)}"
    )
