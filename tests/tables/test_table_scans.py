"""Several files as one: the same columns, or an error that names the file which differs."""

import gzip
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from isobatch.errors import TableError
from isobatch.tables import (
    FileDigest,
    Table,
    TableFile,
    detect_format,
    open_table,
    scan_tables,
    stem,
)


def opened(folder: Path, **contents: str) -> list[Table]:
    tables = []
    for name, content in contents.items():
        path = folder / name.replace("_", ".")
        path.write_text(content, encoding="utf-8")
        tables.append(open_table(TableFile(path, *detect_format(path.name))))
    return tables


def test_rows_are_counted_over_all_files(tmp_path: Path) -> None:
    found = scan_tables(opened(tmp_path, a_csv="x,y\n1,2\n", b_csv="x,y\n3,4\n5,6\n"))
    assert (found.num_rows, found.columns) == (3, ("x", "y"))


JSON = b'{"x": 1}\n' * 100_000
PADDED = gzip.compress(b"x\n1\n", mtime=0) + gzip.compress(b"2\n", mtime=0) + b"\0" * 100


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"\xef\xbb\xbfx\r\n\r\n1"),
        ("a.csv.gz", PADDED),
        ("a.jsonl", JSON + b"\n \n"),
        ("a.jsonl.gz", gzip.compress(JSON, mtime=0)),
        ("a.jsonl.zst", zstd.compress(JSON) + zstd.compress(JSON)),
        ("a.txt", b""),
        ("a.txt", b"a\n\nb"),
    ],
)
def test_a_scan_computes_the_digest_of_each_file(tmp_path: Path, name: str, data: bytes) -> None:
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": range(100_000)}), parquet)
    (tmp_path / name).write_bytes(data)
    for path in (tmp_path / name, parquet):
        table = open_table(TableFile(path, *detect_format(path.name)))
        content = path.read_bytes()
        expected = FileDigest(len(content), hashlib.sha256(content).hexdigest())
        assert scan_tables([table, table]).digests == (expected, expected)


@pytest.mark.parametrize("other", ["x,z\n1,2\n", "y,x\n1,2\n", "x\n1\n"])
def test_other_columns_name_both_files(other: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"b\.csv: its columns are .* but those of .*a\.csv"):
        scan_tables(opened(tmp_path, a_csv="x,y\n1,2\n", b_csv=other))


def test_json_objects_may_differ_and_their_types_are_merged(tmp_path: Path) -> None:
    tables = opened(tmp_path, a_jsonl='{"x": 1}\n', b_jsonl='{"y": "t", "x": 2.5}\n')
    found = scan_tables(tables, with_schema=True)
    assert found.columns == ("x", "y")
    assert found.schema.field("x").type == pa.float64()
    clash = opened(tmp_path, c_jsonl='{"x": 1}\n', d_jsonl='{"x": "one"}\n')
    with pytest.raises(TableError, match=r"d\.jsonl:1.*'x'"):
        scan_tables(clash, with_schema=True)


def test_parquet_files_of_other_types_are_refused(tmp_path: Path) -> None:
    for name, values in (("a.parquet", [1]), ("b.parquet", ["1"])):
        pq.write_table(pa.table({"x": values}), tmp_path / name)
    tables = [
        open_table(TableFile(tmp_path / name, "parquet", "none"))
        for name in ("a.parquet", "b.parquet")
    ]
    with pytest.raises(TableError, match=r"b\.parquet: its columns do not have the same types"):
        scan_tables(tables)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("a.csv", "a"),
        ("a.b.jsonl.gz", "a.b"),
        ("a.CSV.zst", "a"),
        ("a.dat", "a.dat"),
        ("csv", "csv"),
    ],
)
def test_a_stem_is_a_name_without_known_endings(name: str, bare: str) -> None:
    assert stem(name) == bare
