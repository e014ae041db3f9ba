"""Arrays of vectors: their bits, rows without a vector, and files that are none."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from isobatch.errors import OptionError, TableError
from isobatch.tables import (
    AddedField,
    CsvDialect,
    TableFile,
    TableWriter,
    detect_format,
    make_writer,
    open_output,
    open_table,
)
from isobatch.tables.npy_files import NpyChunk

SIZE = 3
VECTORS = np.array([[0.1, -0.0, 3e-39], [1, 2, 3], [5, 6, 7]], np.float32)
ROWS = NpyChunk("rows", 0, VECTORS)  # only the number of its rows counts


def writer(columns: tuple[str, ...] = (), kind: str = "vector") -> TableWriter:
    field = AddedField("embedding", kind, SIZE)  # type: ignore[arg-type]
    return make_writer("npy", "none", CsvDialect(), columns, [field])


def write(folder: Path, *parts: list[object]) -> TableFile:
    """Write each part as a chunk, and assemble them."""
    made = writer()
    chunks = []
    for index, values in enumerate(parts):
        chunks.append(folder / f"{index}")
        chunks[-1].write_bytes(made.encode(ROWS.part(0, len(values)), [values]))
    path = folder / "out.npy"
    with path.open("wb") as file:
        made.assemble(chunks, file)
    return TableFile(path, "npy", "none")


def test_an_array_has_the_bits_of_its_vectors_however_it_is_cut(tmp_path: Path) -> None:
    rows: list[object] = list(VECTORS)
    file = write(tmp_path, rows[:1], [], rows[1:])
    found = np.load(file.path)
    assert (found.dtype, found.shape) == (np.float32, (3, SIZE))
    assert found.tobytes() == VECTORS.tobytes()
    saved = tmp_path / "saved.npy"
    np.save(saved, VECTORS)
    assert file.path.read_bytes() == saved.read_bytes()


def test_an_array_without_rows_keeps_its_size(tmp_path: Path) -> None:
    assert np.load(write(tmp_path).path).shape == (0, SIZE)


def test_a_row_without_a_vector_is_nan_and_reads_back_as_none(tmp_path: Path) -> None:
    file = write(tmp_path, [VECTORS[0], None], [VECTORS[1]])
    assert np.isnan(np.load(file.path)).all(axis=1).tolist() == [False, True, False]
    chunks = list(open_output(file).rows(2, 1 << 20))
    assert [len(chunk) for chunk in chunks] == [2, 1]
    assert chunks[0].cells("any name") == [VECTORS[0].tolist(), None]
    assert chunks[1].place(0) == "out.npy, row 3"


def test_cells_are_spelled_as_in_other_formats() -> None:
    field = AddedField("v", "vector", SIZE)
    values = list(VECTORS)
    assert ROWS.texts("v") == field.texts(values)
    assert ROWS.members(["v"]) == [b'"v":' + each for each in field.json(values)]
    assert ROWS.columns == ()
    assert ROWS.arrow("v", pa.list_(pa.float32(), SIZE)).to_pylist() == VECTORS.tolist()


@pytest.mark.parametrize(("columns", "kind"), [(("text",), "vector"), ((), "text")])
def test_other_columns_are_an_error(columns: tuple[str, ...], kind: str) -> None:
    with pytest.raises(OptionError, match="has vectors and no other columns"):
        writer(columns, kind)


class Call:
    """Its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.path),)


@pytest.mark.parametrize("fault", ["text", "cut", "shape", "type", "pickle"])
def test_a_file_of_another_kind_is_an_error(tmp_path: Path, fault: str) -> None:
    file = write(tmp_path, list(VECTORS))
    content = file.path.read_bytes()
    if fault == "text":
        file.path.write_text("label,score\n")
    if fault == "cut":
        file.path.write_bytes(content[:-1])
    if fault == "shape":
        np.save(file.path, VECTORS[0])
    if fault == "type":
        np.save(file.path, VECTORS.astype(np.float64))
    if fault == "pickle":
        file.path.write_bytes(pickle.dumps(Call(tmp_path / "called")))
    with pytest.raises(TableError, match=r"out.npy: .*; recreate the file"):
        open_output(file)
    assert not (tmp_path / "called").exists()


def test_arrays_are_not_read_as_inputs() -> None:
    with pytest.raises(OptionError, match="an array of vectors is written, not read"):
        detect_format("a.npy")
    with pytest.raises(OptionError, match="format must be one of"):
        open_table(TableFile(Path("a.npy"), "npy", "none"))
    assert detect_format("a.npy", option="--output-format") == ("npy", "none")
    with pytest.raises(OptionError, match="leave out the second ending"):
        detect_format("a.npy.gz", option="--output-format")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    made = writer()
    chunk = tmp_path / "0"
    chunk.write_bytes(made.encode(ROWS, [list(VECTORS)]))
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(TableError, match="cannot be written"),
    ):
        made.assemble([chunk], full)
