"""Formats that names imply, and files that they match."""

import os
from pathlib import Path

import pytest

from isobatch.errors import OptionError, TableError
from isobatch.tables import Compression, Format, detect_format, expand_inputs


@pytest.mark.parametrize(
    ("name", "format", "compression"),
    [
        ("a.csv", "csv", "none"),
        ("dir.jsonl/a.TSV", "tsv", "none"),
        ("a.tab.gz", "tsv", "gzip"),
        ("a.b.jsonl.zst", "jsonl", "zstd"),
        ("a.ndjson.zstd", "jsonl", "zstd"),
        ("a.parquet", "parquet", "none"),
        ("a.pq", "parquet", "none"),
        ("a.txt", "lines", "none"),
        ("a.lines.GZ", "lines", "gzip"),
    ],
)
def test_a_format_is_detected_by_name(name: str, format: Format, compression: Compression) -> None:
    assert detect_format(name) == (format, compression)


def test_a_format_that_is_given_overrides_the_ending() -> None:
    assert detect_format("a.json", "jsonl") == ("jsonl", "none")
    assert detect_format("a.txt.gz", "csv") == ("csv", "gzip")
    assert detect_format("data", "lines") == ("lines", "none")


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        (
            "a.xlsx",
            None,
            r"a\.xlsx: .xlsx files are not read; convert it first: .*save it as CSV UTF-8",
        ),
        ("a", None, r"a: unknown file ending '';"),
        ("a.gz", None, r"a\.gz: unknown file ending '';"),
        ("a.json", None, r"a\.json: JSON arrays are not supported.*jq -c '\.\[\]'.*--format jsonl"),
        ("a.json.gz", None, "JSON arrays are not supported"),
        ("a.parquet.gz", None, "compressed inside, never as a whole"),
        ("a.zst", "parquet", "compressed inside, never as a whole"),
        ("a.csv", "xml", "format must be one of csv, tsv, jsonl, parquet, lines, got 'xml'"),
    ],
)
def test_an_unknown_or_unsupported_format(name: str, format: Format | None, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        detect_format(name, format)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.csv", "a.jsonl.gz", "c.md", ".d.csv", "part[1].csv", "z.txt"):
        (tmp_path / name).touch()
    (tmp_path / "inner.csv").mkdir()
    (tmp_path / "inner.csv" / "e.csv").touch()
    return tmp_path


def names(*inputs: str) -> list[str]:
    return [str(path) for path in expand_inputs(inputs)]


@pytest.mark.usefixtures("folder")
def test_the_order_is_the_callers_and_sorted_within_patterns_and_folders() -> None:
    assert names() == []
    assert names("z.txt", "b.csv", "c.md") == ["z.txt", "b.csv", "c.md"]
    assert names("z.txt", "*.csv") == ["z.txt", "b.csv", "part[1].csv"]
    assert names(".") == ["a.jsonl.gz", "b.csv", "part[1].csv", "z.txt"]
    assert names("**/e.csv") == ["inner.csv/e.csv"]


@pytest.mark.usefixtures("folder")
def test_a_literal_name_is_not_a_pattern() -> None:
    assert names("part[1].csv") == ["part[1].csv"]
    with pytest.raises(TableError, match=r"part\[2\]\.csv: no file matches this pattern"):
        names("part[2].csv")


def test_a_name_without_a_match_and_an_unreadable_file(folder: Path) -> None:
    with pytest.raises(TableError, match=r"x\.csv: no such file; check"):
        names("x.csv")
    with pytest.raises(TableError, match=r"\*\.xml: no file matches this pattern"):
        names("*.xml")
    (folder / "empty").mkdir()
    with pytest.raises(TableError, match="empty: this folder has no file with a known ending"):
        names("empty")
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(TableError, match=r"pipe\.csv: not a regular file"):
        names("pipe.csv")


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TableError, match=r"b\.csv: permission denied; .*chmod"):
        names("b.csv")


def test_a_file_that_is_named_twice(folder: Path) -> None:
    (folder / "link.csv").symlink_to("b.csv")
    for inputs in (("b.csv", "b.csv"), ("*.jsonl.gz", "b.csv", "."), ("b.csv", "link.csv")):
        with pytest.raises(OptionError, match=r"named twice, by .* leave one of them out"):
            names(*inputs)


def test_the_output_of_an_earlier_run_is_not_an_input(tmp_path: Path) -> None:
    for name in ("a.csv", "out.csv"):
        (tmp_path / name).write_text("text\n")
    out = tmp_path / "out.csv"
    for name in (str(tmp_path), str(tmp_path / "*.csv")):
        assert expand_inputs([name], leave_out=out) == [tmp_path / "a.csv"]
        assert out in expand_inputs([name])
    assert expand_inputs([str(out)], leave_out=out) == [out]


def test_a_dangling_link_of_a_folder_is_an_error(folder: Path) -> None:
    """Its rows would be missing."""
    (folder / "linked.csv").symlink_to(folder / "gone.csv")
    with pytest.raises(TableError, match=r"linked\.csv: no such file"):
        names(".")


def test_patterns_leave_out_the_files_of_an_earlier_run(folder: Path) -> None:
    """And no other file of the folder, whose rows would be missing."""
    (folder / "inner.csv" / ".isobatch" / "e.csv").mkdir(parents=True)
    (folder / "inner.csv" / "f.csv").touch()
    found = expand_inputs(["**/*.csv"], leave_out=folder / "inner.csv")
    assert [path.name for path in found] == ["b.csv", "f.csv", "part[1].csv"]
    (folder / "inner.csv" / "f.csv").unlink()
    only = expand_inputs(["inner.csv/*.csv"], leave_out=folder / "inner.csv")
    assert [path.name for path in only] == ["e.csv"], "which the job refuses to overwrite"
