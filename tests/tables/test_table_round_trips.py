"""Round trips of any cells through every pair of formats, with chunks of any size.

Written files are read back by independent readers: csv, json and pyarrow.
"""

import csv
import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isobatch.tables import (
    AddedField,
    Compression,
    CsvDialect,
    Format,
    Table,
    TableFile,
    detect_format,
    make_writer,
    open_table,
    scan_tables,
)
from isobatch.tables.values import AddedKind

COLUMNS = ("a", 'some ü,"\t\n', "c")
KINDS: tuple[AddedKind, ...] = ("text", "number", "flag", "numbers")
FIELDS = [AddedField(f"added {kind}", kind) for kind in KINDS]

characters = st.characters(exclude_categories=["Cs"])
traps = st.sampled_from("a,\"\t\r\n\0ü \u2028\x85\ufeff\U0001f600\\'")
texts = st.text(traps | characters, max_size=8)
records = st.lists(st.tuples(texts, texts, texts), max_size=8)
singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
numbers = st.none() | st.lists(singles, max_size=3)
doubles = st.none() | st.floats(allow_nan=False, allow_infinity=False)
answers = st.tuples(st.none() | texts, doubles, st.none() | st.booleans(), numbers)
row_lists = st.lists(st.tuples(texts, texts, texts, answers), max_size=8)
limits = st.tuples(st.integers(1, 4), st.integers(1, 30))

Record = tuple[Any, ...]


def write_delimited(path: Path, rows: list[Record], delimiter: str) -> None:
    """With CRLF line ends, as the csv module has them; a cell keeps its own."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])


def write_json(path: Path, rows: list[Record]) -> None:
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8", newline="")


def write_parquet(path: Path, rows: list[Record]) -> None:
    arrays = [pa.array([row[i] for row in rows], pa.string()) for i in range(len(COLUMNS))]
    pq.write_table(pa.table(arrays, names=COLUMNS), path, row_group_size=3)


WRITE: dict[Format, Callable[[Path, list[Record]], None]] = {
    "csv": lambda path, rows: write_delimited(path, rows, ","),
    "tsv": lambda path, rows: write_delimited(path, rows, "\t"),
    "jsonl": write_json,
    "parquet": write_parquet,
}


def read_delimited(data: bytes, delimiter: str) -> list[Record]:
    text = io.StringIO(data.decode(), newline="")
    return [tuple(row) for row in csv.reader(text, delimiter=delimiter, strict=True)][1:]


def read_json(data: bytes) -> list[Record]:
    return [tuple(json.loads(line).values()) for line in data.decode().split("\n")[:-1]]


def read_parquet(data: bytes) -> list[Record]:
    return [tuple(row.values()) for row in pq.read_table(io.BytesIO(data)).to_pylist()]


READ: dict[Format, Callable[[bytes], list[Record]]] = {
    "csv": lambda data: read_delimited(data, ","),
    "tsv": lambda data: read_delimited(data, "\t"),
    "jsonl": read_json,
    "parquet": read_parquet,
}

FORMATS = tuple(WRITE)
assert {*FORMATS, "lines", "npy"} == {*get_args(Format)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def table_of(folder: Path, format: Format, rows: list[Record]) -> Table:
    path = folder / f"t.{format}"
    WRITE[format](path, rows)
    return open_table(TableFile(path, *detect_format(path.name)))


def read(table: Table, max_rows: int = 100, max_characters: int = 10_000) -> list[Record]:
    blocks = table.rows(max_rows, max_characters)
    return [row for rows in blocks for row in zip(*map(rows.cells, COLUMNS), strict=True)]


@pytest.mark.parametrize("format", FORMATS)
@given(rows=records, limit=limits)
def test_cells_are_read_as_they_were_written_in_blocks_of_any_size(
    folder: Path, format: Format, rows: list[Record], limit: tuple[int, int]
) -> None:
    table = table_of(folder, format, rows)
    assert read(table) == rows
    assert read(table, *limit) == rows
    assert all(0 < len(block) <= limit[0] for block in table.rows(*limit))
    found = scan_tables([table])
    assert found.num_rows == len(rows)
    assert found.columns == (COLUMNS if rows or format != "jsonl" else ())


def expected(format: Format, cell: object) -> object:
    """An added value as the text formats hold it."""
    if format in ("jsonl", "parquet"):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, list):
        return "[" + ",".join(map(repr, cell)) + "]"
    return repr(cell) if isinstance(cell, float) else cell


def assemble(
    table: Table, format: Format, compression: Compression, added: list[Record], max_rows: int
) -> bytes:
    found = scan_tables([table], with_schema=format == "parquet")
    schema = found.schema if found.columns else pa.schema([(name, pa.string()) for name in COLUMNS])
    writer = make_writer(format, compression, CsvDialect(), COLUMNS, FIELDS, schema)
    chunks: list[Path] = []
    start = 0
    for rows in table.rows(max_rows, 10_000):
        part = added[start : start + len(rows)]
        start += len(rows)
        chunks.append(table.file.path.with_name(f"chunk{len(chunks)}"))
        chunks[-1].write_bytes(writer.encode(rows, [[row[i] for row in part] for i in range(4)]))
    sink = io.BytesIO()
    writer.assemble(chunks, sink)
    return sink.getvalue()


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
@settings(max_examples=40)
@given(rows=row_lists, max_rows=st.integers(1, 4))
def test_independent_readers_find_the_same_cells_and_the_added_values(
    folder: Path, source: Format, target: Format, rows: list[Record], max_rows: int
) -> None:
    table = table_of(folder, source, [row[:3] for row in rows])
    added = [row[3] for row in rows]
    data = assemble(table, target, "none", added, max_rows)
    assert READ[target](data) == [
        (*cells, *(expected(target, value) for value in answer)) for *cells, answer in rows
    ]
    if target != "parquet":
        assert data == assemble(table, target, "none", added, 100)
        zipped = assemble(table, target, "gzip", added, max_rows)
        assert gzip.decompress(zipped) == data


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@pytest.mark.parametrize("target", FORMATS)
@given(value=st.floats(allow_nan=False, allow_infinity=False), single=singles)
def test_floats_keep_their_bits(folder: Path, target: Format, value: float, single: float) -> None:
    table = table_of(folder, "csv", [("x", "y", "z")])
    data = assemble(table, target, "none", [("", value, None, [single])], 1)
    *_, score, _, logits = READ[target](data)[0]
    assert bits(float(score)) == bits(value)
    (item,) = json.loads(logits) if isinstance(logits, str) else logits
    assert bits(item) == bits(single)


@pytest.mark.parametrize("compression", get_args(Compression))
@pytest.mark.parametrize("target", ["csv", "tsv", "jsonl"])
@settings(max_examples=30)
@given(rows=row_lists, max_rows=st.integers(1, 4))
def test_written_files_are_read_back(
    folder: Path, target: Format, compression: Compression, rows: list[Record], max_rows: int
) -> None:
    table = table_of(folder, "parquet", [row[:3] for row in rows])
    data = assemble(table, target, compression, [row[3] for row in rows], max_rows)
    path = folder / "again"
    path.write_bytes(data)
    again = open_table(TableFile(path, target, compression))
    assert read(again) == [row[:3] for row in rows]


bare_texts = st.text(characters.filter(lambda c: c not in "\t\n\r\ufeff"), max_size=8)
lines = st.lists(bare_texts, max_size=8)


@given(rows=lines, end=st.sampled_from(["\n", "\r\n"]), last=st.booleans(), limit=limits)
def test_plain_lines_are_read_as_they_were_written(
    folder: Path, rows: list[str], end: str, last: bool, limit: tuple[int, int]
) -> None:
    ended = last or not rows or not rows[-1]
    text = end.join(rows) + (end if ended and rows else "")
    path = folder / "t.txt"
    path.write_bytes(text.encode())
    table = open_table(TableFile(path, "lines", "none"))
    assert [text for block in table.rows(*limit) for text in block.texts("text")] == rows


@given(rows=st.lists(st.lists(bare_texts, min_size=2, max_size=2)), limit=limits)
def test_without_quotes_cells_are_the_text_between_delimiters(
    folder: Path, rows: list[list[str]], limit: tuple[int, int]
) -> None:
    path = folder / "bare.tsv"
    path.write_bytes("".join("\t".join(row) + "\n" for row in [["a", "b"], *rows]).encode())
    table = open_table(TableFile(path, "tsv", "none", CsvDialect(quotes=False)))
    writer = make_writer("tsv", "none", CsvDialect(quotes=False), ("a", "b"), [])
    chunks = [writer.encode(block, []) for block in table.rows(*limit)]
    assert writer.head() + b"".join(chunks) == path.read_bytes()


json_values = st.recursive(
    doubles | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.lists(st.dictionaries(texts, json_values, max_size=4), max_size=5)
spellings = st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "  : "), None])


@given(rows=objects, spelling=spellings, escaped=st.booleans(), limit=limits)
def test_json_of_any_shape_and_spelling_is_kept(
    folder: Path,
    rows: list[dict[str, Any]],
    spelling: tuple[str, str] | None,
    escaped: bool,
    limit: tuple[int, int],
) -> None:
    path = folder / "any.jsonl"
    text = [json.dumps(row, separators=spelling, ensure_ascii=escaped) + "\n" for row in rows]
    path.write_bytes("".join(text).encode())
    table = open_table(TableFile(path, "jsonl", "none"))
    columns = scan_tables([table]).columns
    assert {*columns} == {key for row in rows for key in row}
    writer = make_writer("jsonl", "none", CsvDialect(), columns, [AddedField("\0 added", "flag")])
    chunks = [writer.encode(block, [[True] * len(block)]) for block in table.rows(*limit)]
    after = [json.loads(line) for line in b"".join(chunks).split(b"\n")[:-1]]
    assert after == [row | {"\0 added": True} for row in rows]
    assert [list(row) for row in after] == [[*row, "\0 added"] for row in rows]


column_values = st.one_of(
    st.lists(st.none() | kind, max_size=6)
    for kind in (
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
        texts,
        st.lists(st.none() | st.integers(-9, 9), max_size=2),
        st.fixed_dictionaries({"x": st.none() | texts, "y": st.lists(st.booleans(), max_size=2)}),
    )
)


@given(values=column_values, max_rows=st.integers(1, 3))
def test_json_of_one_kind_reads_back_equal_from_parquet(
    folder: Path, values: list[Any], max_rows: int
) -> None:
    path = folder / "kinds.jsonl"
    path.write_text("".join(json.dumps({"a": value}) + "\n" for value in values))
    table = open_table(TableFile(path, "jsonl", "none"))
    schema = scan_tables([table], with_schema=True).schema
    if not values:
        return
    writer = make_writer("parquet", "none", CsvDialect(), ("a",), [], schema)
    (folder / "chunk").write_bytes(writer.encode(next(table.rows(100, 10_000)), []))
    sink = io.BytesIO()
    writer.assemble([folder / "chunk"], sink)
    assert pq.read_table(io.BytesIO(sink.getvalue()))["a"].to_pylist() == values
