"""Parquet: types and values are kept, and an invalid file is named."""

import decimal
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isobatch.errors import OptionError, TableError
from isobatch.tables import (
    AddedField,
    CsvDialect,
    Table,
    TableChunk,
    TableFile,
    make_writer,
    open_table,
    scan_tables,
)


def opened(folder: Path, table: pa.Table, **options: object) -> Table:
    pq.write_table(table, folder / "t.parquet", **options)
    return open_table(TableFile(folder / "t.parquet", "parquet", "none"))


def only_block(folder: Path, **columns: pa.Array) -> TableChunk:
    (rows,) = opened(folder, pa.table(columns)).rows(1000, 1 << 20)
    return rows


TEN = pa.table({"a": [f"text {i}" for i in range(10)], "b": [None, *range(9)]})


def test_blocks_places_and_parts(tmp_path: Path) -> None:
    table = opened(tmp_path, TEN, row_group_size=4)
    blocks = list(table.rows(3, 1 << 20))
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    assert [block.place(0) for block in blocks] == [
        f"t.parquet, row {row}" for row in (1, 4, 7, 10)
    ]
    assert [value for block in blocks for value in block.cells("b")] == [None, *range(9)]
    part = blocks[1].part(1, 99)
    assert (len(part), part.place(1)) == (2, "t.parquet, row 6")
    assert part.cells("a") == ["text 4", "text 5"]
    assert len(blocks[1].part(2, 1)) == 0


def test_row_groups_of_one_row_are_gathered(tmp_path: Path) -> None:
    assert [len(b) for b in opened(tmp_path, TEN, row_group_size=1).rows(6, 1 << 20)] == [6, 4]


def test_blocks_are_limited_in_bytes_even_around_huge_cells(tmp_path: Path) -> None:
    texts = ["x"] * 500 + ["y" * 10_000_000] + ["z"] * 500
    blocks = list(opened(tmp_path, pa.table({"a": texts})).rows(1000, 10_000))
    assert [cell for block in blocks for cell in block.cells("a")] == texts
    assert all(len(b) == 1 or sum(map(len, b.texts("a"))) <= 10_000 for b in blocks)
    assert [len(block) for block in blocks if len(block) > 100]


def test_a_dictionary_does_not_count_for_every_row(tmp_path: Path) -> None:
    column = pa.array(["x" * 1000, "y"] * 100).dictionary_encode()
    table = opened(tmp_path, pa.table({"a": column}))
    assert [len(block) for block in table.rows(1000, 1000)] == [200]


def test_no_rows(tmp_path: Path) -> None:
    found = scan_tables([opened(tmp_path, TEN.slice(0, 0))])
    assert (found.num_rows, found.columns) == (0, ("a", "b"))
    assert found.schema == TEN.schema


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"t\.parquet: not a Parquet file.*recreate"),
        (b"a,b\n1,2\n", r"t\.parquet: not a Parquet file"),
        (b"PAR1" + b"\0" * 100 + b"PAR1", r"t\.parquet: not a Parquet file"),
    ],
)
def test_a_file_that_is_not_parquet(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(data)
    with pytest.raises(TableError, match=message):
        open_table(TableFile(path, "parquet", "none"))


def test_a_truncated_file_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    file = TableFile(path, "parquet", "none")
    opened(tmp_path, TEN)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(TableError, match="not a Parquet file, or truncated"):
        open_table(file)
    path.unlink()
    with pytest.raises(TableError, match="no such file"):
        open_table(file)
    path.mkdir()
    with pytest.raises(TableError, match="is a folder, where a file is expected"):
        open_table(file)


def test_damage_within_a_row_group_is_found_by_the_scan(tmp_path: Path) -> None:
    table = opened(tmp_path, TEN, row_group_size=5, compression="zstd", write_page_checksum=True)
    path = tmp_path / "t.parquet"
    data = bytearray(path.read_bytes())
    data[pq.read_metadata(path).row_group(1).column(0).data_page_offset + 40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(TableError, match=r"t\.parquet, row group 1: .*recreate"):
        scan_tables([table])


def test_text_that_is_not_utf8_is_found_by_the_scan(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    )
    with pytest.raises(TableError, match=r"t\.parquet, row group 0: .*UTF8"):
        scan_tables([opened(tmp_path, pa.table({"a": broken}))])


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"two columns of the name 'a'; rename"):
        opened(tmp_path, pa.table([[1], [2]], names=["a", "a"]))


def test_compressed_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="compressed inside, never as a whole"):
        open_table(TableFile(tmp_path / "t.parquet.gz", "parquet", "gzip"))


def test_a_column_that_is_missing_or_of_another_type(tmp_path: Path) -> None:
    rows = only_block(tmp_path, a=pa.array([1]))
    with pytest.raises(OptionError, match="no column 'text'; the columns are: a"):
        rows.cells("text")
    with pytest.raises(TableError, match="its column 'a' is int64, but string in the files"):
        rows.arrow("a", pa.string())


TIMES = {
    "ns": pa.array([10**18 + 1, None], pa.timestamp("ns")),
    "zone": pa.array([10**15, None], pa.timestamp("us", "Europe/Berlin")),
    "utc": pa.array([10**12, None], pa.timestamp("ms", "UTC")),
    "date": pa.array([19_000, None], pa.date32()),
    "time": pa.array([3_600_000_000_001, None], pa.time64("ns")),
    "duration": pa.array([5, None], pa.duration("ns")),
    "decimal": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(9, 2)),
    "binary": pa.array([b"a\xff", None], pa.binary()),
    "half": pa.array([0.5, None], pa.float16()),
    "single": pa.array([0.1, None], pa.float32()),
    "nan": pa.array([float("nan"), float("inf")]),
    "dictionary": pa.array(["x", None]).dictionary_encode(),
    "large": pa.array(["x", None], pa.large_string()),
    "list": pa.array([[10**18 + 1, None], None], pa.list_(pa.timestamp("ns"))),
    "struct": pa.array(
        [{"d": 0, "b": b"x"}, None], pa.struct([("d", pa.date32()), ("b", pa.binary())])
    ),
    "view": pa.array([b"a" * 20, None], pa.binary_view()),
    "views": pa.array([[1], None], pa.list_view(pa.timestamp("ns"))),
    "map": pa.array([[("k", 0)], None], pa.map_(pa.string(), pa.timestamp("s"))),
    "words": pa.array([["x", "y"], None], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "fixed": pa.array([[1, 2], None], pa.list_(pa.int64(), 2)),
}  # fmt: skip

SPELLED = {
    "ns": ('"2001-09-09T01:46:40.000000001"', "2001-09-09T01:46:40.000000001"),
    "zone": ('"2001-09-09T03:46:40.000000+02:00"', "2001-09-09T03:46:40.000000+02:00"),
    "utc": ('"2001-09-09T01:46:40.000Z"', "2001-09-09T01:46:40.000Z"),
    "date": ('"2022-01-08"', "2022-01-08"),
    "time": ('"01:00:00.000000001"', "01:00:00.000000001"),
    "duration": ("5", "5"),
    "decimal": ('"1.10"', "1.10"),
    "binary": ('"Yf8="', "Yf8="),
    "half": ("0.5", "0.5"),
    "single": ("0.10000000149011612", "0.10000000149011612"),
    "nan": ("null", "nan"),
    "dictionary": ('"x"', "x"),
    "large": ('"x"', "x"),
    "list": ('["2001-09-09T01:46:40.000000001",null]',) * 2,
    "struct": ('{"d":"1970-01-01","b":"eA=="}',) * 2,
    "view": ('"YWFhYWFhYWFhYWFhYWFhYWFhYWE="', "YWFhYWFhYWFhYWFhYWFhYWFhYWE="),
    "views": ('["1970-01-01T00:00:00.000000001"]',) * 2,
    "map": ('[["k","1970-01-01T00:00:00.000"]]',) * 2,
    "words": ('["x","y"]',) * 2,
    "fixed": ("[1,2]", "[1,2]"),
}


@pytest.mark.parametrize("name", TIMES)
def test_each_type_in_json_and_csv(tmp_path: Path, name: str) -> None:
    rows = only_block(tmp_path, a=TIMES[name])
    as_json, as_csv = SPELLED[name]
    assert rows.members(["a"]) == [f'"a":{as_json}'.encode(), b'"a":null']
    assert rows.texts("a") == [as_csv, "inf" if name == "nan" else ""]
    first, second = rows.cells("a")
    assert first is not None
    assert second is None or name == "nan"


@pytest.mark.parametrize("name", TIMES)
def test_each_type_is_kept_in_parquet(tmp_path: Path, name: str) -> None:
    table = opened(tmp_path, pa.table({"a": TIMES[name]}))
    before = pq.read_table(tmp_path / "t.parquet")
    after = written(table, tmp_path, max_rows=1)
    assert after.schema.field("a").type == before.schema.field("a").type
    assert after.select(["a"]).combine_chunks().cast(before.schema) == before or name == "nan"


def written(table: Table, folder: Path, max_rows: int) -> pa.Table:
    found = scan_tables([table])
    fields = [AddedField("row", "number")]
    writer = make_writer("parquet", "none", CsvDialect(), found.columns, fields, found.schema)
    chunks = []
    for number, rows in enumerate(table.rows(max_rows, 1 << 20)):
        chunks.append(folder / f"{number}")
        chunks[-1].write_bytes(writer.encode(rows, [[float(number)] * len(rows)]))
    sink = io.BytesIO()
    writer.assemble(chunks, sink)
    return pq.read_table(io.BytesIO(sink.getvalue()))


def test_a_dictionary_that_differs_from_group_to_group(tmp_path: Path) -> None:
    texts = ["a", "b", "c", "b", None, "d"]
    table = pa.table({"a": pa.array(texts).dictionary_encode()})
    after = written(opened(tmp_path, table, row_group_size=2), tmp_path, max_rows=5)
    assert pa.types.is_dictionary(after.schema.field("a").type)
    assert after["a"].to_pylist() == texts


def test_metadata_is_kept_and_fields_come_last(tmp_path: Path) -> None:
    field = pa.field("a", pa.string(), nullable=False, metadata={"k": "v"})
    table = pa.table([["x"]], schema=pa.schema([field], {"about": "this"}))
    schema = written(opened(tmp_path, table), tmp_path, max_rows=5).schema
    assert schema.names == ["a", "row"]
    assert schema.metadata[b"about"] == b"this"
    assert not schema.field("a").nullable
    assert schema.field("a").metadata[b"k"] == b"v"


def test_row_groups_do_not_follow_chunks(tmp_path: Path) -> None:
    table = opened(tmp_path, pa.table({"a": range(5000)}), row_group_size=100)
    assert written(table, tmp_path, max_rows=7)["a"].to_pylist() == [*range(5000)]
    found = scan_tables([table])
    writer = make_writer("parquet", "none", CsvDialect(), ["a"], [], found.schema)
    (tmp_path / "c").write_bytes(writer.encode(next(table.rows(50, 1 << 20)), []))
    with (tmp_path / "out.parquet").open("wb") as target:
        writer.assemble([tmp_path / "c"] * 4000, target)
        assert not target.closed
    groups = pq.read_metadata(tmp_path / "out.parquet")
    sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
    assert sizes == [100_000, 100_000]


def test_a_corrupt_chunk_is_named(tmp_path: Path) -> None:
    writer = make_writer("parquet", "none", CsvDialect(), ["a"], [], pa.schema([("a", pa.int64())]))
    (tmp_path / "chunk").write_bytes(b"no stream of Arrow")
    with pytest.raises(TableError, match="chunk: this chunk is corrupt"):
        writer.assemble([tmp_path / "chunk"], io.BytesIO())


def test_a_type_that_parquet_lacks_is_refused_at_once() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.struct([]))])
    with pytest.raises(TableError, match=r"the column 'b' .* cannot be written to a Parquet file"):
        make_writer("parquet", "none", CsvDialect(), ["a", "b"], [], schema)
