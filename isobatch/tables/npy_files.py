"""NumPy's .npy: the vectors of all rows as one float32 array [rows, size], and nothing else.

Chunks are the bytes of their rows, so that the array can be written by parts. Invariant: row n of
the array is row n of the input; a row without a vector is NaN in each number, which no vector is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isobatch.errors import OptionError, TableError
from isobatch.tables.file_names import TableFile
from isobatch.tables.table import AddedValues, Table, TableChunk, TableWriter, assembly_failed
from isobatch.tables.text_files import FileHasher
from isobatch.tables.values import AddedField, key_prefix

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class NpyChunk:
    """Rows of an array, of which the first is number `first` of the file, from zero.

    The array has one column, by whichever name it is asked for.
    """

    name: str
    first: int
    vectors: NDArray[np.float32]

    @property
    def columns(self) -> tuple[str, ...]:
        return ()

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, start: int, stop: int) -> "NpyChunk":
        return NpyChunk(self.name, self.first + start, self.vectors[start:stop])

    def place(self, index: int) -> str:
        return f"{self.name}, row {self.first + index + 1}"

    def cells(self, column: str) -> list[object]:
        """Return each vector as a list; None for NaN."""
        del column
        return [None if np.isnan(row).all() else row.tolist() for row in self.vectors]

    def texts(self, column: str) -> list[str]:
        return AddedField(column, "numbers").texts(self.cells(column))

    def members(self, columns: Sequence[str]) -> list[bytes]:
        fields = [AddedField(name, "numbers") for name in columns]
        values = [field.json(self.cells(field.name)) for field in fields]
        keys = [key_prefix(name) for name in columns]
        return [
            b",".join(key + value for key, value in zip(keys, row, strict=True))
            for row in zip(*values, strict=True)
        ]

    def arrow(self, column: str, type: "pa.DataType") -> "pa.Array":
        import pyarrow as pa

        return pa.array(self.cells(column), type)


class NpyTable(Table):
    """An array that was written by NpyWriter. TableError for any other file."""

    def __init__(self, file: TableFile) -> None:
        super().__init__(file)
        try:
            self._vectors: NDArray[np.float32] = np.load(file.path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise TableError(
                f"{file.path}: not a NumPy array, or truncated: {error}; recreate the file"
            ) from error
        if self._vectors.ndim != 2 or self._vectors.dtype != FLOAT32:
            raise TableError(
                f"{file.path}: has {self._vectors.dtype} {list(self._vectors.shape)}, not float32 "
                "[rows, size]; recreate the file"
            )

    def _chunks(
        self, max_rows: int, max_characters: int, hasher: FileHasher | None
    ) -> Iterator[TableChunk]:
        assert hasher is None, "arrays are outputs, whose digest is that of the file"
        size = max(1, min(max_rows, max_characters // max(1, 4 * self._vectors.shape[1])))
        for first in range(0, len(self._vectors), size):
            yield NpyChunk(self.file.path.name, first, self._vectors[first : first + size])


class NpyWriter(TableWriter):
    """Writes the one added field, of vectors. OptionError for other columns."""

    def __init__(self, columns: Sequence[str], fields: Sequence[AddedField]) -> None:
        super().__init__(columns, fields)
        if columns or [field.kind for field in fields] != ["vector"]:
            raise OptionError("a .npy file has vectors and no other columns; write .parquet")
        self._size = fields[0].size or 0

    def _encode(self, rows: TableChunk, added: AddedValues) -> bytes:
        vectors = np.full((len(rows), self._size), np.nan, FLOAT32)
        for index, vector in enumerate(added[0]):
            if vector is not None:
                vectors[index] = vector
        return vectors.tobytes()

    def assemble(self, chunks: Iterable[Path], target: BinaryIO) -> None:
        """Write the header, then the rows of all chunks. TableError if one of them fails."""
        paths = list(chunks)
        try:
            num_rows = sum(path.stat().st_size for path in paths) // (4 * self._size)
            described = {"descr": "<f4", "fortran_order": False, "shape": (num_rows, self._size)}
            np.lib.format.write_array_header_1_0(target, described)
        except OSError as error:
            raise assembly_failed(target, error) from error
        super().assemble(paths, target)
