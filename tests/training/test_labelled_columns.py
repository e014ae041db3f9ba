"""Labelled texts from files and from Python: every row is read, left out as asked, or an error."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isobatch.errors import InputError, IsobatchError, OptionError, TableError
from isobatch.tables import CsvDialect, TableFile, detect_format
from isobatch.training.data.dataset import (
    LabelledColumns,
    LabelledTexts,
    labelled_texts,
    read_labelled,
)

CSV = "text,label\ngood,pos\nbad,neg\n"


def table(path: Path, content: str | bytes, **dialect: bool) -> TableFile:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return TableFile(path, *detect_format(path.name), CsvDialect(**dialect))


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(path: Path, **columns: Any) -> TableFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return TableFile(path, *detect_format(path.name))


def read(*files: TableFile, **columns: Any) -> LabelledTexts:
    return read_labelled(files, LabelledColumns(**columns))


def zstd(data: bytes) -> bytes:
    from isobatch.tables.text_files import compress

    return compress(data, "zstd")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("a.tsv", CSV.replace(",", "\t").encode()),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.csv.zst", zstd(CSV.encode())),
        (
            "a.jsonl",
            b'{"text": "good", "label": "pos"}\n{"label": "neg", "text": "bad", "more": 1}\n',
        ),
    ],
    ids=["csv", "tsv", "gzip", "zstd", "jsonl"],
)
def test_text_files_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    found = read(table(tmp_path / name, content))
    assert (found.texts, found.values) == (["good", "bad"], ["pos", "neg"])
    first = 1 if "jsonl" in name else 2
    assert found.places == [f"{name}:{first}", f"{name}:{first + 1}"]
    assert found.label_columns == ("label",)
    digest = hashlib.sha256(content).hexdigest()
    fact = {"name": name, "path": str(tmp_path / name), "rows": 2, "sha256": digest}
    assert found.files == (fact | {"bytes": len(content)},)


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", text=["a", "b"], label=[["x", "y"], []])
    found = read(file)
    assert (found.values, found.places) == (
        [["x", "y"], []],
        ["a.parquet, row 1", "a.parquet, row 2"],
    )
    content = (tmp_path / "a.parquet").read_bytes()
    assert found.files[0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert read(parquet(tmp_path / "b.parquet", text=["a"], label=[1])).values == [1]


def test_files_of_several_formats_are_one_set(tmp_path: Path) -> None:
    found = read(
        table(tmp_path / "a.csv", "label,other,review\npos,1,good\n"),
        table(tmp_path / "empty.jsonl", ""),
        table(tmp_path / "b.jsonl", lines({"review": "bad", "label": "neg"})),
        parquet(tmp_path / "c.parquet", review=["fine"], label=["pos"]),
    )
    assert found.texts == ["good", "bad", "fine"]
    assert found.values == ["pos", "neg", "pos"]
    assert [file["rows"] for file in found.files] == [1, 0, 1, 1]


def test_pairs_weights_and_ids(tmp_path: Path) -> None:
    content = "premise,hypothesis,label,w,key\na,b,1,0.5,k1\nc,d,0,2,k2\n"
    found = read(
        table(tmp_path / "a.csv", content), text="premise", pair="hypothesis", weight="w", id="key"
    )
    assert found.texts == [("a", "b"), ("c", "d")]
    assert found.weights == [0.5, 2.0]
    assert found.places == ["a.csv:2 (key k1)", "a.csv:3 (key k2)"]


@pytest.mark.parametrize(
    ("content", "columns", "values"),
    [
        ('text,label\na,"[""x"", ""y""]"\nb,[]\n', {}, [["x", "y"], []]),
        ("text,label\na,x; y\nb,\nc,z;\n", {"separator": ";"}, [["x", "y"], [], ["z"]]),
        (
            "text,label\na,x; y\nb, \nc,z;\n",
            {"separator": ";", "skip_unlabelled": True},
            [["x", "y"], ["z"]],
        ),
        ("text,x,y\na,1,0\nb,0,1\n", {"labels": ("x", "y")}, [("1", "0"), ("0", "1")]),
        ("text,label\na, x \nb,[PAD]\n", {}, ["x", "[PAD]"]),
        ("text,class\na,x\nb,y\n", {}, ["x", "y"]),
        ("text,Label,class\na,x,1\n", {}, ["x"]),
        ("text,label,other\na,x,1\n", {"labels": ("other",)}, ["1"]),
        ("text,label\na,x\nb,y\n", {"labels": ()}, [None, None]),
    ],
)
def test_forms_of_labels(
    tmp_path: Path, content: str, columns: dict[str, Any], values: list[object]
) -> None:
    if columns.get("labels") == ():
        columns = {**columns, "text": "text"}
    assert read(table(tmp_path / "a.csv", content), **columns).values == values


def test_json_labels_keep_their_types(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": each} for each in (1, 1.0, True, "1", ["1", 2])]
    values = read(table(tmp_path / "a.jsonl", lines(*rows))).values
    assert [(type(each), each) for each in values] == [
        (int, 1), (float, 1.0), (bool, True), (str, "1"), (list, ["1", 2]),
    ]  # fmt: skip


def test_incomplete_rows_are_left_out_and_counted_only_if_asked(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", "text,label\na,x\n ,y\nb,\nc,y\n")
    with pytest.raises(InputError, match=r"^a\.csv:3: the text is empty or white space\. .*--skip"):
        read(file)
    with pytest.raises(InputError, match=r"^a\.csv:4: the label is missing in the column 'label'"):
        read(file, skip_empty=True)
    found = read(file, skip_empty=True, skip_unlabelled=True)
    assert (found.texts, found.values) == (["a", "c"], ["x", "y"])
    assert (found.num_empty, found.num_unlabelled, found.files[0]["rows"]) == (1, 1, 4)
    with pytest.raises(InputError, match=r"all rows were left out"):
        read(table(tmp_path / "b.csv", "text,label\na,\n"), skip_unlabelled=True, skip_empty=True)


BAD_FILES = [
    ("text,label\n", {}, InputError, "a.csv: no rows"),
    ("", {}, TableError, "a.csv: is empty"),
    ("text,stars,rating\na,1,1\n", {}, OptionError, "cannot find the label column: it could be"),
    ("text,other\na,1\n", {}, OptionError, "cannot find the label column: none has a common"),
    (CSV, {"labels": ("lable",)}, OptionError, "a.csv: the input has no column 'lable'; it has"),
    (CSV, {"labels": ("Label",)}, OptionError, "Did you mean label?"),
    (CSV, {"weight": "w"}, OptionError, "a.csv: the input has no column 'w'"),
    (CSV, {"pair": "w"}, OptionError, "the input has no column 'w'"),
    (CSV, {"text": "w"}, OptionError, "a.csv: the input has no column 'w'; it has text, label"),
    ("x,y,label\na,b,1\n", {}, OptionError, "a.csv: cannot find the text column"),
    ("label\nx\n", {}, OptionError, "a.csv: there is no column of texts, only label"),
    ("text,label\na\n", {}, TableError, "a.csv:2: has 1 field"),
    ("text,label,w\na,x,-1\n", {"weight": "w"}, InputError, "a.csv:2: the weight '-1' is not"),
    ("text,label,w\na,x,nan\n", {"weight": "w"}, InputError, "a.csv:2: the weight 'nan' is not"),
    ("text,label,w\na,x,\n", {"weight": "w"}, InputError, "a.csv:2: the weight '' is not"),
    ("text,label,w\na,x,1e999\n", {"weight": "w"}, InputError, "a.csv:2: the weight '1e999'"),
    ("text,x,y\na,1,\n", {"labels": ("x", "y")}, InputError, "missing in the column 'y'"),
]


@pytest.mark.parametrize(("content", "columns", "error", "said"), BAD_FILES)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, content: str, columns: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as raised:
        read(table(tmp_path / "a.csv", content), **columns)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": None, "label": "x"}, "a.jsonl:2: text is null"),
        ({"label": "x"}, "a.jsonl:2: has no text"),
        ({"text": 1, "label": "x"}, "a.jsonl:2: text must be a string, got int"),
        ({"text": "b"}, "a.jsonl:2: the label is missing"),
        ({"text": "b", "label": {"x": 1}}, "a.jsonl:2: a label is a text, a number or a boolean"),
        ({"text": "b", "label": "\ud800"}, "a.jsonl:2: the label cannot be read"),
    ],
)
def test_a_bad_row_of_json_is_named(tmp_path: Path, row: dict[str, object], said: str) -> None:
    file = table(tmp_path / "a.jsonl", lines({"text": "a", "label": "x"}, row))
    with pytest.raises(InputError) as raised:
        read(file)
    assert said in str(raised.value)


def test_objects_without_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none has a common name \(it has no columns\)"):
        read(table(tmp_path / "a.jsonl", "{}\n"))
    with pytest.raises(OptionError, match=r"no column 'y'; it has no columns"):
        read(table(tmp_path / "a.jsonl", "{}\n"), labels=("y",))


def test_a_later_file_without_the_columns_is_named(tmp_path: Path) -> None:
    first = table(tmp_path / "a.csv", CSV)
    with pytest.raises(OptionError, match=r"b\.csv: the input has no column 'label'"):
        read(first, table(tmp_path / "b.csv", "text,class\na,x\n"))
    with pytest.raises(OptionError, match=r"c\.csv: the input has no column 'text'"):
        read(first, table(tmp_path / "c.csv", "sentence,label\na,x\n"))


def test_a_column_has_one_role() -> None:
    with pytest.raises(OptionError, match="the column 'a' is named twice"):
        LabelledColumns(text="a", labels=("b", "a"))
    with pytest.raises(OptionError, match="the column 'a' is named twice"):
        LabelledColumns(labels=("a", "a"))
    with pytest.raises(OptionError, match="separator of labels is empty"):
        LabelledColumns(separator="")


# ------------------------------------------------------------------------------- from Python


def test_python_s_lists() -> None:
    found = labelled_texts(["a", ("b", "c")], [1, "x"], [0, np.float32(2)])
    assert found == LabelledTexts(["a", ("b", "c")], [1, "x"], [0.0, 2.0], ["text 0", "text 1"])


@pytest.mark.parametrize(
    ("labels", "values", "columns"),
    [
        (np.array([1, 0]), [1, 0], ()),
        (np.array(["x", "y"]), ["x", "y"], ()),
        (np.array([True, False]), [True, False], ()),
        (np.array([0.5, 1.0], np.float32), [0.5, 1.0], ()),
        (np.array([[1, 0], [0, 1]]), [(1, 0), (0, 1)], ("0", "1")),
        (np.array([[1], [0]]), [1, 0], ("0",)),
        ([["x", "y"], ()], [["x", "y"], []], ()),
        ([{"y", "x"}, np.array(["z"])], [["x", "y"], ["z"]], ()),
        ((each for each in "xy"), ["x", "y"], ()),
    ],
)
def test_labels_from_python(labels: Any, values: list[object], columns: tuple[str, ...]) -> None:
    found = labelled_texts(np.array(["a", "b"]), labels)
    assert (found.values, found.label_columns) == (values, columns)
    assert [type(each) for each in found.values] == [type(each) for each in values]
    assert type(found.texts[0]) is str


class Frame:
    """As much of a data frame as is used."""

    def __init__(self, **columns: list[object]) -> None:
        self.columns = list(columns)
        self._cells = columns

    def to_numpy(self) -> np.ndarray:
        return np.array(list(self._cells.values()), object).T


def test_a_frame_names_its_labels() -> None:
    found = labelled_texts(["a", "b"], Frame(x=[1, 0], y=[0, 1]))
    assert (found.values, found.label_columns) == ([(1, 0), (0, 1)], ("x", "y"))
    assert labelled_texts(["a", "b"], Frame(x=["p", "n"])).values == ["p", "n"]


def test_data_frames_are_taken_by_their_columns() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"t": ["a", "b"], "x": [1, 0], "y": [0, 1]})
    found = labelled_texts(frame["t"], frame[["x", "y"]])
    assert (found.values, found.label_columns) == ([(1, 0), (0, 1)], ("x", "y"))
    assert labelled_texts(frame["t"], frame["x"]).values == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a", ["x"]), "must be lists, got a string"),
        ((["a", "b"], ["x"]), "2 texts, but 1 label"),
        ((["a"], ["x"], [1, 2]), "1 text, but 2 weights"),
        ((["a", " "], ["x", "y"]), "text 1: is empty or white space"),
        ((["a", ("b", "")], ["x", "y"]), "text 1: is empty or white space"),
        ((["a", 3], ["x", "y"]), "text 1: expected a string"),
        ((["a", "b"], ["x", None]), "text 1: the label is missing"),
        ((["a", "b"], [1.0, float("nan")]), "text 1: the label is missing"),
        ((["a", "b"], np.array([[1, 0], [0, np.nan]])), "text 1: the label is missing"),
        ((["a", "b"], ["x", object()]), "text 1: a label is a text, a number or a boolean"),
        ((["a"], ["x"], [-1]), "text 0: the weight '-1'"),
        ((["a"], ["x"], [None]), "text 0: the weight is missing"),
        ((["a"], ["x"], [float("nan")]), "text 0: the weight 'nan'"),
        ((["a"], ["x"], [True]), "text 0: the weight 'True'"),
    ],
)
def test_python_s_mistakes_are_named_by_index(arguments: Any, said: str) -> None:
    with pytest.raises(IsobatchError) as raised:
        labelled_texts(*arguments)
    assert isinstance(raised.value, InputError)
    assert said in str(raised.value)
