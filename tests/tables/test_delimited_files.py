"""csv, tsv and lines: the right rows, or an error that names the line and the fix."""

import csv
import gzip
import re
import zlib
from pathlib import Path

import pytest
from backports import zstd

from isobatch.errors import OptionError, TableError
from isobatch.tables import CsvDialect, Table, TableFile, detect_format, open_table, scan_tables

PLAIN = CsvDialect()


def opened(folder: Path, data: bytes, name: str = "t.csv", dialect: CsvDialect = PLAIN) -> Table:
    path = folder / name
    path.write_bytes(data)
    return open_table(TableFile(path, *detect_format(name), dialect))


def read(table: Table, max_rows: int = 3) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for block in table.rows(max_rows, 100):
        rows += zip(*(block.cells(column) for column in block.columns), strict=True)
    return rows


def places(table: Table) -> list[str]:
    return [block.place(i) for block in table.rows(2, 100) for i in range(len(block))]


def read_all(folder: Path, data: bytes, name: str = "t.csv", **dialect: bool) -> object:
    return read(opened(folder, data, name, CsvDialect(**dialect)))


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b\n1,2\n", [("1", "2")]),
        (b"a,b\n1,2", [("1", "2")]),
        (b"\xef\xbb\xbfa,b\n1,2\n", [("1", "2")]),
        (b"a,b\r\n1,2\r\n", [("1", "2")]),
        (b'a,b\n"1\n1\r\n1",2\n', [("1\n1\r\n1", "2")]),
        (b'a,b\n"say ""hi""",x"y\n', [('say "hi"', 'x"y')]),
        (b"\n\na,b\n\n1,2\n\r\n3,4\n\n", [("1", "2"), ("3", "4")]),
        (b'a\n1\n\n""\n2\n', [("1",), ("",), ("",), ("2",)]),
        (b"a,b\n", []),
        (b"a,b", []),
        (b"a,b\n,\n", [("", "")]),
        (b"a,b\n1\x002,3\n", [("1\x002", "3")]),
        ("a,b\nü\u2028x\x85y,\x0b\n".encode(), [("ü\u2028x\x85y", "\x0b")]),
        (b"a,b\n NA , 007 \n", [(" NA ", " 007 ")]),
    ],
)
def test_the_rows_of_a_csv_file(tmp_path: Path, data: bytes, rows: object) -> None:
    table = opened(tmp_path, data)
    assert read(table) == rows
    assert table.columns == (("a", "b") if b"b" in data else ("a",))
    for compressed, name in ((gzip.compress(data), "t.csv.gz"), (zstd.compress(data), "t.csv.zst")):
        assert read_all(tmp_path, compressed, name) == rows


def test_a_tsv_file(tmp_path: Path) -> None:
    assert read_all(tmp_path, b'a\tb\n"1\t1"\t2,3\n', "t.tsv") == [("1\t1", "2,3")]


def test_without_quotes_a_quote_mark_is_a_character(tmp_path: Path) -> None:
    data = b'a\tb\n"1\t2"\n""\t"\n'
    assert read_all(tmp_path, data, "t.tab", quotes=False) == [('"1', '2"'), ('""', '"')]


def test_without_a_header_the_first_line_is_a_row(tmp_path: Path) -> None:
    table = opened(tmp_path, b"1,2\n3,4\n", dialect=CsvDialect(header=False))
    assert table.columns == ("column_1", "column_2")
    assert read(table) == [("1", "2"), ("3", "4")]


def test_without_a_header_blank_lines_of_one_column_are_rows_too(tmp_path: Path) -> None:
    assert read_all(tmp_path, b"\n1\n\n", header=False) == [("",), ("1",), ("",)]


def test_places_are_the_lines_where_records_begin(tmp_path: Path) -> None:
    table = opened(tmp_path, b'a,b\n"1\n\n",2\n\n3,4\n"\r\n",6\n7,8\n')
    assert places(table) == ["t.csv:2", "t.csv:6", "t.csv:7", "t.csv:9"]


def test_a_part_keeps_its_places(tmp_path: Path) -> None:
    (rows,) = opened(tmp_path, b"a,b\n1,2\n3,4\n5,6\n").rows(10, 100)
    part = rows.part(1, 3)
    assert (len(part), part.place(0), part.cells("b")) == (2, "t.csv:3", ["4", "6"])


def test_a_cell_of_ten_megabytes(tmp_path: Path) -> None:
    long = "x" * 10_000_000
    table = opened(tmp_path, f'a,b\n1,2\n"{long}",4\n5,6\n'.encode())
    blocks = list(table.rows(10, 1000))
    assert [len(block) for block in blocks] == [1, 1, 1]
    assert blocks[1].cells("a") == [long]


def test_blocks_end_at_both_limits_and_are_always_the_same(tmp_path: Path) -> None:
    table = opened(tmp_path, b"a\n" + b"12345\n" * 10)
    assert [len(block) for block in table.rows(4, 1000)] == [4, 4, 2]
    assert [len(block) for block in table.rows(4, 14)] == [2] * 5
    assert [len(block) for block in table.rows(4, 14)] == [2] * 5
    assert [len(block) for block in table.rows(4, 15)] == [3, 3, 3, 1]


@pytest.mark.parametrize("limits", [(0, 1), (1, 0)])
def test_a_limit_below_one_is_refused(tmp_path: Path, limits: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match="must be at least 1, got 0"):
        next(iter(opened(tmp_path, b"a\n1\n").rows(*limits)))


def test_a_missing_column(tmp_path: Path) -> None:
    (rows,) = opened(tmp_path, b"a,b\n1,2\n").rows(1, 1)
    with pytest.raises(OptionError, match="no column 'text'; the columns are: a, b"):
        rows.cells("text")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"t\.csv: is empty: needs a header line"),
        (b"\n\n", r"t\.csv: is empty: needs a header line"),
        (b"\xef\xbb\xbf", r"t\.csv: is empty: needs a header line"),
        (b"\xff\xfea\0,\0b\0\n\0", r"t\.csv:1: is UTF-16 .*--encoding utf-16"),
        (b"\xfe\xff\0a\0,\0b\0\n", r"t\.csv:1: is UTF-16 .*--encoding utf-16"),
        (b"a\0,\0b\0\n\0", r"t\.csv:1: contains NUL characters.*--encoding utf-16-le"),
        (b"a,b,a\n", r"t\.csv:1: the header names the column 'a' twice"),
        (b"a,b\n1,2\n\n3\n", r"t\.csv:4: has 1 field where the header has 2"),
        (b'a,b\n"1\n",2\n3,4,5\n', r"t\.csv:4: has 3 fields where the header has 2; .*comma"),
        (b'a,b\n"x"y,2\n', r"t\.csv:2: the quotes .* malformed.*--no-quotes"),
        (b'a,b\n1,2\n"3,4\n5,6\n', r"t\.csv:3: a quote that opens .* never closed.*--no-quotes"),
        (b"a,b\r1,2\r3,4\r", r"t\.csv:1: a carriage return without .*tr '\\r' '\\n'"),
        (
            b"a,b\n1,2\nM\xfcller,4\n",
            r"t\.csv:3: byte 2 of this line \(0xfc\) is not UTF-8.*--encoding cp1252",
        ),
        (b'a,b\n1,"2\n\n\xfc"\n', r"t\.csv:4: byte 1 of this line \(0xfc\)"),
        (b"a,b\n" + b"1,2\n" * 200_000 + b"\xff,3\n", r"t\.csv:200002: byte 1 of this line"),
    ],
)
def test_a_bad_csv_file_names_its_line_and_a_fix(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        scan_tables([opened(tmp_path, data)])


def test_a_file_without_header_that_is_empty_or_ragged(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is empty, so its columns cannot be counted"):
        read_all(tmp_path, b"", header=False)
    with pytest.raises(TableError, match=r"t\.csv:2: has 1 field where the first row has 2"):
        read_all(tmp_path, b"1,2\n3\n", header=False)


def test_an_open_quote_is_not_followed_through_all_of_a_huge_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = opened(tmp_path, b'a,b\n1,2\n"3,4\n' + b"5,6\n" * 1000)
    before = csv.field_size_limit(1000)
    monkeypatch.setattr("isobatch.tables.delimited.MAX_CELL_CHARACTERS", 1000)
    try:
        with pytest.raises(TableError, match=r"t\.csv:3: a quote that opens"):
            read(table)
    finally:
        csv.field_size_limit(before)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isobatch.tables.text_files.MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(TableError, match=r"t\.txt:2: this line has more than 1 MiB"):
        read_all(tmp_path, b"a\n" + b"\0" * (1 << 21), "t.txt")


NUMBERED = b"a,b\n" + b"".join(b"%d,%d\n" % (i, zlib.crc32(b"%d" % i)) for i in range(200_000))


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".zst", zstd.compress)])
def test_truncated_compressed_data(tmp_path: Path, ending: str, compress: object) -> None:
    data = compress(NUMBERED)  # type: ignore[operator]
    table = opened(tmp_path, data[: len(data) // 2], f"t.csv{ending}")
    with pytest.raises(TableError, match=r"breaks off after line \d{4,}: .*recreate") as caught:
        scan_tables([table])
    last = int(re.findall(r"after line (\d+)", str(caught.value))[0])
    assert 10_000 < last < 200_000


@pytest.mark.parametrize("ending", [".gz", ".zst", ".zstd"])
def test_invalid_or_empty_compressed_data(tmp_path: Path, ending: str) -> None:
    with pytest.raises(TableError, match=r"cannot be decompressed as \w+: .*(again|recreate)"):
        opened(tmp_path, NUMBERED[:100], f"t.csv{ending}")
    with pytest.raises(TableError, match="is empty, which a"):
        opened(tmp_path, b"", f"t.csv{ending}")


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".zst", zstd.compress)])
def test_several_members_are_one_file_and_trailing_bytes_are_an_error(
    tmp_path: Path, ending: str, compress: object
) -> None:
    data = compress(b"a,b\n1,2\n") + compress(b"3,4\n")  # type: ignore[operator]
    assert read_all(tmp_path, data, f"t.csv{ending}") == [("1", "2"), ("3", "4")]
    with pytest.raises(TableError, match="breaks off after line 3"):
        read_all(tmp_path, data + b"and more", f"t.csv{ending}")


def test_a_wrong_checksum(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(NUMBERED))
    data[-6] ^= 1
    with pytest.raises(TableError, match=r"breaks off after line .*CRC"):
        scan_tables([opened(tmp_path, bytes(data), "t.csv.gz")])


ODD = "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\rh"
"""str.splitlines would make eight lines of it."""


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"", []),
        (b"a\n\nb\r\n\r\nc", ["a", "", "b", "", "c"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (f"{ODD}\n".encode(), [ODD]),
        (b'"a,\tb\n', ['"a,\tb']),
        (b"a\r\r\nb\r", ["a\r", "b\r"]),
        (b"\0\n", ["\0"]),
    ],
)
def test_the_rows_of_plain_lines(tmp_path: Path, data: bytes, texts: list[str]) -> None:
    table = opened(tmp_path, data, "t.txt")
    assert table.columns == ("text",)
    assert read(table) == [(text,) for text in texts]
    assert places(table) == [f"t.txt:{number}" for number in range(1, len(texts) + 1)]


def test_lines_that_are_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t\.txt:2: byte 1 of this line \(0x80\) is not UTF-8"):
        scan_tables([opened(tmp_path, b"a\n\x80\n", "t.txt")])


def test_a_scan_counts_rows_and_finds_columns(tmp_path: Path) -> None:
    found = scan_tables([opened(tmp_path, b"a,b\n1,2\n3,4\n")])
    assert (found.num_rows, found.columns, found.schema) == (2, ("a", "b"), None)
    schema = scan_tables([opened(tmp_path, b"a,b\n1,2\n3,4\n")], with_schema=True).schema
    assert [str(field) for field in schema] == [
        "pyarrow.Field<a: string>",
        "pyarrow.Field<b: string>",
    ]


def test_a_file_that_was_deleted_or_replaced_by_a_folder(tmp_path: Path) -> None:
    table = opened(tmp_path, b"a\n1\n")
    table.file.path.unlink()
    with pytest.raises(TableError, match=r"t\.csv: no such file"):
        scan_tables([table])
    table.file.path.mkdir()
    with pytest.raises(TableError, match=r"t\.csv: is a folder, where a file is expected"):
        scan_tables([table])
