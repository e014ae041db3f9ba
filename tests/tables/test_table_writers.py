"""Writers: the exact bytes of each format, and what a format cannot hold."""

import gzip
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from isobatch.errors import OptionError, TableError
from isobatch.tables import (
    AddedField,
    Compression,
    CsvDialect,
    Format,
    TableChunk,
    TableFile,
    TableWriter,
    detect_format,
    make_writer,
    open_table,
    scan_tables,
)

FIELDS = [
    AddedField("label", "text"),
    AddedField("score", "number"),
    AddedField("cut", "flag"),
    AddedField("logits", "numbers"),
]
VALUES: list[list[Any]] = [
    ['say "ü"\n', None],
    [0.1, None],
    [True, None],
    [[1.5, -0.0, 1e-7], None],
]

PLAIN = CsvDialect()


def rows_of(folder: Path, data: bytes, name: str, dialect: CsvDialect = PLAIN) -> TableChunk:
    (folder / name).write_bytes(data)
    (rows,) = open_table(TableFile(folder / name, *detect_format(name), dialect)).rows(100, 1 << 20)
    return rows


def writer(
    format: Format,
    columns: Sequence[str],
    fields: Sequence[AddedField] = (),
    compression: Compression = "none",
    schema: object = None,
    **dialect: bool,
) -> TableWriter:
    return make_writer(format, compression, CsvDialect(**dialect), columns, fields, schema)


def test_csv(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b'a,b,c\n"1,1",2,"3\n3"\n4,,6\n', "t.csv")
    made = writer("csv", ["c", "a"], FIELDS)
    assert made.head() == b"c,a,label,score,cut,logits\n"
    assert made.encode(rows, VALUES) == (
        '"3\n3","1,1","say ""ü""\n",0.1,true,"[1.5,-0.0,1e-07]"\n6,4,,,,\n'.encode()
    )
    assert made.encode(rows.part(0, 0), [[], [], [], []]) == b""


def test_tsv_and_a_file_without_header(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"1\t2,2\n", "t.tsv", CsvDialect(header=False))
    made = writer("tsv", rows.columns, FIELDS[:1], header=False)
    assert made.head() == b""
    assert made.encode(rows, [["x"]]) == b"1\t2,2\tx\n"


def test_one_empty_cell_is_not_a_blank_line(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"a\n\nx\n", "t.csv")
    assert writer("csv", ["a"]).encode(rows, []) == b'""\nx\n'


def test_a_row_with_a_carriage_return_is_quoted_whatever_its_block(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b'a,b\n1,2\n"x\ry",2\n3,4\n', "t.csv")
    made = writer("csv", ["a", "b"])
    whole = made.encode(rows, [])
    assert whole == b'1,2\n"x\ry",2\n3,4\n'
    assert whole == b"".join(made.encode(rows.part(i, i + 1), []) for i in range(3))


def test_without_quotes_a_cell_must_not_contain_delimiters(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b'a,b\n1,"x"""\n1,"x\ty"\n', "t.csv")
    made = writer("tsv", ["a", "b"], quotes=False)
    assert made.encode(rows.part(0, 1), []) == b'1\tx"\n'
    with pytest.raises(TableError, match=r"t\.csv:3: the cell 'x\\ty' holds a delimiter or line"):
        made.encode(rows, [])
    for text in ("\n", "\r"):
        with pytest.raises(TableError, match=r"t\.csv:2: the cell .* use --output-format jsonl"):
            writer("csv", [], FIELDS[:1], quotes=False).encode(rows.part(0, 1), [[text]])
    with pytest.raises(TableError, match="the header: the cell 'a\\\\tb'"):
        writer("tsv", ["a\tb"], quotes=False).head()


def test_jsonl_from_csv(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 'a,ü\n"1\n",\n2,"""\u2028"\n'.encode(), "t.csv")
    made = writer("jsonl", ["ü", "a"], FIELDS)
    assert made.head() == b""
    assert made.encode(rows, VALUES).decode().split("\n") == [
        '{"ü":"","a":"1\\n","label":"say \\"ü\\"\\n","score":0.1,"cut":true,'
        '"logits":[1.5,-0.0,1e-07]}',
        '{"ü":"\\"\u2028","a":"2","label":null,"score":null,"cut":null,"logits":null}',
        "",
    ]


def test_json_has_no_nan(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"1\n2\n", "t.txt")
    values = [[float("nan"), float("-inf")], [[float("inf"), 1.0], []]]
    fields = [FIELDS[1], FIELDS[3]]
    assert writer("jsonl", [], fields).encode(rows, values) == (
        b'{"score":null,"logits":[null,1.0]}\n{"score":null,"logits":[]}\n'
    )
    assert writer("csv", [], fields).encode(rows, values) == b'nan,"[null,1.0]"\n-inf,[]\n'


def test_jsonl_from_jsonl_keeps_keys_order_and_spelling(tmp_path: Path) -> None:
    data = b'{"b": 1.0, "a":"\\u00fc"}\n{"c":[1, 2],"a":null}\n{}\n'
    rows = rows_of(tmp_path, data, "t.jsonl")
    added = [["x", "y", "z"]]
    assert writer("jsonl", ["a", "b", "c"], FIELDS[:1]).encode(rows, added) == (
        b'{"b":1.0,"a":"\\u00fc","label":"x"}\n{"c":[1, 2],"a":null,"label":"y"}\n{"label":"z"}\n'
    )
    assert writer("jsonl", ["b"]).encode(rows, []) == b'{"b":1.0}\n{}\n{}\n'


def test_csv_from_jsonl(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b'{"b": 1.0, "a":"\\u00fc"}\n{"b":[1, "x"],"a":null}\n{}\n', "t.jsonl")
    assert writer("csv", ["a", "b"]).encode(rows, []) == 'ü,1.0\n,"[1, ""x""]"\n,\n'.encode()


def test_floats_are_written_by_their_repr(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"1\n2\n3\n", "t.txt")
    import numpy as np

    values = [[1e16, np.float64(1e-5), 5e-324]]
    assert writer("csv", [], [FIELDS[1]]).encode(rows, values) == b"1e+16\n1e-05\n5e-324\n"


def test_parquet_from_text_and_json(tmp_path: Path) -> None:
    for data, name, values in (
        (b"a,b\n1,\n2,x\n", "t.csv", {"a": ["1", "2"], "b": ["", "x"]}),
        (b'{"a":1}\n{"a":2,"b":["x"]}\n', "t.jsonl", {"a": [1, 2], "b": [None, ["x"]]}),
        (b"1\n\n", "t.txt", {"text": ["1", ""]}),
    ):
        rows = rows_of(tmp_path, data, name)
        table = open_table(TableFile(tmp_path / name, *detect_format(name)))
        found = scan_tables([table], with_schema=True)
        made = writer("parquet", found.columns, FIELDS, schema=found.schema)
        (tmp_path / "chunk").write_bytes(made.encode(rows, VALUES))
        with (tmp_path / "out").open("wb") as target:
            made.assemble([tmp_path / "chunk"], target)
        after = pq.read_table(tmp_path / "out")
        assert after.drop_columns([field.name for field in FIELDS]).to_pydict() == values
        assert after["label"].to_pylist() == VALUES[0]
        assert after.schema.types[-4:] == [
            pa.string(),
            pa.float64(),
            pa.bool_(),
            pa.list_(pa.float32()),
        ]


def test_parquet_of_no_chunks() -> None:
    sink = io.BytesIO()
    writer("parquet", ["a"], schema=pa.schema([("a", pa.string())])).assemble([], sink)
    assert pq.read_table(io.BytesIO(sink.getvalue())).to_pydict() == {"a": []}


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize(
    ("compression", "decompress"), [("gzip", gzip.decompress), ("zstd", zstd.decompress)]
)
def test_compressed_chunks_make_one_compressed_file(
    tmp_path: Path, format: Format, compression: Compression, decompress: Any
) -> None:
    rows = rows_of(tmp_path, b"a,b\n1,2\n3,4\n", "t.csv")
    files = []
    for made in (writer(format, ["a"]), writer(format, ["a"], compression=compression)):
        chunks = [tmp_path / "0", tmp_path / "1"]
        for i, chunk in enumerate(chunks):
            chunk.write_bytes(made.encode(rows.part(i, i + 1), []))
            assert made.encode(rows.part(i, i + 1), []) == chunk.read_bytes()
        sink = io.BytesIO()
        made.assemble(chunks, sink)
        files.append(sink.getvalue())
    assert decompress(files[1]) == files[0]
    assert files[0] == writer(format, ["a"]).head() + writer(format, ["a"]).encode(rows, [])


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_file_of_no_rows_is_a_compressed_file(
    tmp_path: Path, compression: Compression
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(writer("jsonl", ["a"], compression=compression).head())
    assert scan_tables([open_table(TableFile(path, "jsonl", compression))]).num_rows == 0


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_an_added_text_that_is_not_unicode_names_its_row(tmp_path: Path, format: Format) -> None:
    rows = rows_of(tmp_path, b"1\n2\n", "t.txt")
    made = writer(format, [], FIELDS[:1], schema=pa.schema([]))
    with pytest.raises(TableError, match=r"t\.txt:2: the value .* 'label' contains half of a surr"):
        made.encode(rows, [["x", "\ud800"]])


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_added_values_that_are_too_few(tmp_path: Path, format: Format) -> None:
    rows = rows_of(tmp_path, b"1\n2\n", "t.txt")
    made = writer(format, ["text"], FIELDS[:1], schema=pa.schema([("text", pa.string())]))
    for added in ([["x"]], [["x"] * 3], []):
        with pytest.raises(OptionError, match="1 added fields of 2 rows need as many values, got"):
            made.encode(rows, added)


def test_text_that_does_not_fit_the_schema_of_a_parquet_file(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"a\n1\n", "t.csv")
    made = writer("parquet", ["a"], schema=pa.schema([("a", pa.int64())]))
    with pytest.raises(TableError, match=r"t\.csv: its column 'a' is text, but int64"):
        made.encode(rows, [])


@pytest.mark.parametrize(
    ("format", "compression", "columns", "message"),
    [
        ("lines", "none", ["a"], r"plain lines cannot hold .*\.jsonl, \.csv, \.tsv or \.parquet"),
        ("xml", "none", ["a"], "format must be one of"),
        ("csv", "none", ["a", "label"], "two columns of the name 'label'; name the added one"),
        ("csv", "none", ["a", "a"], "two columns of the name 'a'"),
        ("parquet", "none", ["a"], "scan them with_schema"),
        ("parquet", "gzip", ["a"], "compressed inside"),
    ],
)
def test_an_invalid_writer_is_rejected(
    format: Format, compression: Compression, columns: list[str], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        writer(format, columns, FIELDS, compression)


def test_a_schema_that_lacks_a_column_and_an_output_without_any() -> None:
    with pytest.raises(OptionError, match="the schema has no column 'b'"):
        writer("parquet", ["a", "b"], schema=pa.schema([("a", pa.string())]))
    with pytest.raises(OptionError, match="would have no columns"):
        writer("csv", [])


STANDARD_LIBRARY_ALONE = """
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys(["msgspec", "pyarrow", "backports"]))
from isobatch.tables import *
for name in ("t.csv.gz", "t.tsv", "t.txt"):
    table = open_table(TableFile(Path(name), *detect_format(name)))
    columns = scan_tables([table]).columns
    writer = make_writer("csv", "gzip", CsvDialect(), columns, [AddedField("n", "numbers")])
    for rows in table.rows(9, 99):
        assert writer.head() and writer.encode(rows, [[[1.0]] * len(rows)])
"""


def test_text_and_gzip_need_no_optional_library(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    for name in ("t.tsv", "t.txt"):
        (tmp_path / name).write_bytes(b"a\n1\n")
    command = [sys.executable, "-c", STANDARD_LIBRARY_ALONE]
    subprocess.run(command, cwd=tmp_path, check=True)


class FullDisk(io.BytesIO):
    name = "out.csv"

    def write(self, data: object) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_full_disk_and_a_lost_chunk(tmp_path: Path, format: Format) -> None:
    made = writer(format, ["a"], schema=pa.schema([("a", pa.string())]))
    with pytest.raises(TableError, match=r"out\.csv: cannot be written or read: .*No space left"):
        made.assemble([], FullDisk())
    with pytest.raises(TableError, match="lost: cannot be written or read: No such file"):
        made.assemble([tmp_path / "lost"], io.BytesIO())
