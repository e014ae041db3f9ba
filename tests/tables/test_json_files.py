"""JSON Lines: values keep their bytes, and every bad line is named."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from isobatch.errors import OptionError, TableError
from isobatch.tables import MISSING, Table, TableFile, Unreadable, open_table, scan_tables


def opened(folder: Path, data: bytes) -> Table:
    path = folder / "t.jsonl"
    path.write_bytes(data)
    return open_table(TableFile(path, "jsonl", "none"))


def cells(table: Table, column: str, max_rows: int = 2) -> list[object]:
    return [value for rows in table.rows(max_rows, 1000) for value in rows.cells(column)]


def members(table: Table) -> list[bytes]:
    columns = scan_tables([table]).columns
    return [row for rows in table.rows(2, 1000) for row in rows.members(columns)]


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"", []),
        (b"\n \n\r\n", []),
        (b'{"a":"x"}\n{"a":null}\n{"b":1}\n{}\n', ["x", None, MISSING, MISSING]),
        (b'\xef\xbb\xbf{"a":"x"}\r\n\r\n{"a":"y"}', ["x", "y"]),
        (b'{"a":[1,{"b":2}]}\n{"a":1.5}\n{"a":true}\n', [[1, {"b": 2}], 1.5, True]),
        (b'{"a":"\\ud83d\\ude00\\n\\u0000"}\n', ["\U0001f600\n\0"]),
        (b' { "a" : "x" , "b" : 1 } \n', ["x"]),
        ('{"a":"\u2028\x85"}\n{"\\u0061":"y"}\n'.encode(), ["\u2028\x85", "y"]),
        (b'{"a":123456789012345678901234567890}\n', [123456789012345678901234567890]),
    ],
)
def test_the_values_of_a_column(tmp_path: Path, data: bytes, values: object) -> None:
    assert cells(opened(tmp_path, data), "a") == values


def test_columns_are_the_union_in_order_of_appearance(tmp_path: Path) -> None:
    found = scan_tables([opened(tmp_path, b'{"b":1}\n{"a":1,"b":2}\n{"c":0,"a":1}\n')])
    assert (found.num_rows, found.columns, found.schema) == (3, ("b", "a", "c"), None)


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":1.0,"b":1e5,"c":-0,"d":100000000000000000000001}',
        b'{"b":"\\u00fc\\/","a":[1, 2 ,{"x":  null}]}',
        '{"ü":"ü\u2028"}'.encode(),
        b'{"a":"\\ud800","b":"\\udc00 x"}',
        b'{"a":{"x":1,"x":2}}',
        b'{"a":1e999}',
    ],
)
def test_values_keep_every_byte(tmp_path: Path, line: bytes) -> None:
    assert members(opened(tmp_path, line + b"\n")) == [line[1:-1]]


def test_only_the_space_between_members_is_normalized(tmp_path: Path) -> None:
    table = opened(tmp_path, b'{ "a" : [1, 2],\t"b":3 }\n{"\\u0061": "x", "b": 1.0}\n')
    assert members(table) == [b'"a":[1, 2],"b":3', b'"a":"x","b":1.0']


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'"x \\ud800 y, and more"', "half of a surrogate pair"),
        (b'["\\udc00"]', "half of a surrogate pair"),
        (b"1e999", "out of range"),
    ],
)
def test_a_value_that_python_lacks_is_unreadable(tmp_path: Path, value: bytes, reason: str) -> None:
    table = opened(tmp_path, b'{"b":1}\n{"a":%b,"b":2}\n' % value)
    missing, unreadable = cells(table, "a")
    assert missing is MISSING
    assert isinstance(unreadable, Unreadable)
    assert reason in unreadable.reason
    with pytest.raises(TableError, match=rf"t\.jsonl:2: the column 'a' .*{reason}.*JSON Lines"):
        scan_tables([table], with_schema=True)


def test_a_text_that_cannot_be_decoded_has_no_csv_cell(tmp_path: Path) -> None:
    (rows,) = opened(tmp_path, b'{"a":"x"}\n{"a":"\\ud800"}\n').rows(10, 1000)
    with pytest.raises(TableError, match=r"t\.jsonl:2: the value of 'a' cannot be decoded"):
        rows.texts("a")


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":1}\n{"a":}\n', r"t\.jsonl:2: column 6: malformed JSON: .*remove it"),
        (b'{"a":1}\n\n{"a":1 "b":2}\n', r"t\.jsonl:3: column 8: .*Expected ',' or '}'"),
        (b'{"a":1,}\n', r"t\.jsonl:1: column 8: .*a key in double quotes"),
        (b'{"a" 1}\n', r"t\.jsonl:1: column 6: .*Expected ':'"),
        (b'{"a":01}\n', r"t\.jsonl:1: column 7: "),
        (b'{"a":1} {"a":2}\n', r"t\.jsonl:1: column 9: .*Expected the end of the line"),
        (b'{"a":"x\ty"}\n', r"t\.jsonl:1: column 8: .*control character"),
        (b'{"a":"\\q"}\n', r"t\.jsonl:1: column 7: .*escape"),
        (b'{"a":"x\0"}\n', r"t\.jsonl:1: column 8: "),
        (b"{'a':1}\n", r"t\.jsonl:1: column 2: .*a key in double quotes"),
        (b'{"a":NaN}\n', r"t\.jsonl:1: NaN is not JSON; write null"),
        (b'{"a":[-Infinity]}\n', r"t\.jsonl:1: -Infinity is not JSON"),
        (b'{"a":1}\n{"a":2,"b', r"t\.jsonl:2: .*may be truncated"),
        (b'{"a":1}\n{"a":2', r"t\.jsonl:2: .*may be truncated"),
        (b'[{"a":1},\n{"a":2}]\n', r"t\.jsonl:1: is a JSON array.*jq -c"),
        (b'{"a":1}\nhello\n', r"t\.jsonl:2: each line must .*'hello'.*--format lines"),
        (b'"x"\n', r"t\.jsonl:1: each line must be one JSON object"),
        (b"null\n", r"t\.jsonl:1: each line must be one JSON object"),
        (b'{"a":1,"b":2,"a":3}\n', r"t\.jsonl:1: the key 'a' appears twice"),
        (b'{"a": 1, "b": 2, "a": 1}\n', r"t\.jsonl:1: the key 'a' appears twice"),
        (b'{"":1,"":1,"b":2,"c":3}\n', r"t\.jsonl:1: the key '' appears twice"),
        (b'{"a":1,"\\u0061":3}\n', r"t\.jsonl:1: the key 'a' appears twice"),
        (b'{"\\ud800":1}\n', r"t\.jsonl:1: the key .* half of a surrogate pair"),
        (b'{"a":"\xff"}\n', r"t\.jsonl:1: byte 7 of this line \(0xff\) is not .*--encoding cp1252"),
        (b'{"a":1}\n{"\xfc":"x"}\n', r"t\.jsonl:2: byte 3 of this line"),
        (b'{"a":1}\n' * 99_999 + b'{"a":"\xe4"}\n', r"t\.jsonl:100000: byte 7 of this line"),
        (b"\xff\xfe{\0}\0\n\0", r"t\.jsonl:1: is UTF-16"),
        (b'{"a":1}\n' + DEEP, r"t\.jsonl:2: this object is nested too deeply"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_a_fix(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        scan_tables([opened(tmp_path, data)])


def test_nested_a_hundred_deep(tmp_path: Path) -> None:
    value = b"[" * 100 + b"]" * 100
    assert members(opened(tmp_path, b'{"a":%b}\n' % value)) == [b'"a":' + value]


def test_blocks_places_and_parts(tmp_path: Path) -> None:
    table = opened(tmp_path, b'{"a":1}\n\n' * 7)
    blocks = list(table.rows(3, 1000))
    assert [len(block) for block in blocks] == [3, 3, 1]
    assert [block.place(0) for block in blocks] == ["t.jsonl:1", "t.jsonl:7", "t.jsonl:13"]
    assert [len(block) for block in table.rows(3, 17)] == [2, 2, 2, 1]
    part = blocks[1].part(1, 3)
    assert (len(part), part.place(1), part.cells("a")) == (2, "t.jsonl:11", [1, 1])


def test_a_value_of_ten_megabytes_is_a_chunk_of_its_own(tmp_path: Path) -> None:
    data = b'{"a":1}\n{"a":"' + b"x" * 10_000_000 + b'"}\n{"a":1}\n'
    assert [len(block) for block in opened(tmp_path, data).rows(10, 1000)] == [1, 1, 1]


def test_cells_of_a_csv_file(tmp_path: Path) -> None:
    lines = (b'{"a":"x\\ny"}', b'{"a":null}', b"{}", b'{"a":1.50}', b'{"a":[1, 2]}', b'{"a":true}')
    (rows,) = opened(tmp_path, b"\n".join(lines)).rows(10, 1000)
    assert rows.texts("a") == ["x\ny", "", "", "1.50", "[1, 2]", "true"]


@pytest.mark.parametrize(
    ("values", "type"),
    [
        (("1", "null"), pa.int64()),
        (("1", "2.5"), pa.float64()),
        (("2.5", "1"), pa.float64()),
        (("9007199254740993", "1"), pa.int64()),
        (('"x"', "null"), pa.string()),
        (('"2024-01-01"',), pa.string()),
        (("true", "false"), pa.bool_()),
        (("null",), pa.null()),
        (("[]", "[1]", "[null, 2.5]"), pa.list_(pa.float64())),
        (('{"x":1}', '{"y":["z"]}'), pa.struct([("x", pa.int64()), ("y", pa.list_(pa.string()))])),
        (("{}", '{"x":null}', '{"x":1}'), pa.struct([("x", pa.int64())])),
    ],
)
def test_the_arrow_type_of_a_column(
    tmp_path: Path, values: tuple[str, ...], type: pa.DataType
) -> None:
    table = opened(tmp_path, "".join(f'{{"a":{value}}}\n' for value in values).encode())
    found = scan_tables([table], with_schema=True)
    assert found.schema == pa.schema([("a", type)])
    (rows,) = table.rows(10, 1000)
    assert len(rows.arrow("a", type)) == len(values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (("1", '"x"'), "both integer and text values"),
        (("1.5", "true"), "both float and flag values"),
        (("1", "[1]"), "both integer and array values"),
        (("[1]", '[{"x":1}]'), "both integer and object values"),
        (('{"x":1}', '{"x":"y"}'), "both integer and text values"),
        (("9007199254740993", "1.5"), "both long integer and float values"),
        (("1", "9223372036854775808"), "has more than 64 bits"),
    ],
)
def test_a_column_of_mixed_kinds_has_no_arrow_type(
    tmp_path: Path, values: tuple[str, str], reason: str
) -> None:
    table = opened(tmp_path, "".join(f'{{"a":{value}}}\n' for value in values).encode())
    with pytest.raises(TableError, match=rf"t\.jsonl:2: the column 'a' .*{reason}.*leave"):
        scan_tables([table], with_schema=True)
    assert scan_tables([table]).num_rows == 2


def test_objects_without_any_key_have_no_arrow_type(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"the column 'a' .*objects without any key"):
        scan_tables([opened(tmp_path, b'{"a":{}}\n')], with_schema=True)


def test_values_that_do_not_fit_the_schema_of_another_file(tmp_path: Path) -> None:
    (rows,) = opened(tmp_path, b'{"a":"x"}\n{"a":"y"}\n').rows(10, 1000)
    with pytest.raises(TableError, match=r"t\.jsonl:1 and the 1 row after it: .*'a' do not fit"):
        rows.arrow("a", pa.int64())


WITHOUT = """
import sys
from pathlib import Path
sys.modules[sys.argv[1]] = None
from isobatch.errors import OptionError
from isobatch.tables import CsvDialect, TableFile, make_writer, open_table
path, format = Path(sys.argv[2]), sys.argv[2].rpartition(".")[2]
for use in (
    lambda: open_table(TableFile(path, format, "none")),
    lambda: make_writer(format, "none", CsvDialect(), ["a"], [], "schema"),
):
    try:
        use()
    except OptionError as error:
        print(error)
"""


@pytest.mark.parametrize(("library", "name"), [("msgspec", "t.jsonl"), ("pyarrow", "t.parquet")])
def test_a_library_that_is_not_installed_is_named(library: str, name: str) -> None:
    command = [sys.executable, "-c", WITHOUT, library, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count(f"'{library}' is not installed") == 2
    assert done.stdout.count('pip install "isobatch[files]"') == 2


def test_a_library_that_is_needed_for_values_or_zstd_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from isobatch.tables.text_files import zstd_module
    from isobatch.tables.values import json_encoder

    monkeypatch.setitem(sys.modules, "msgspec.json", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    for use in (json_encoder.__wrapped__, zstd_module):
        with pytest.raises(OptionError, match=r'pip install "isobatch\[files\]"'):
            use()
