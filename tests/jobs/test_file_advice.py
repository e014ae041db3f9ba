"""Files that are not what their name says: the message names a fix, and the fix works.

Each case runs the command, which fails before a row is computed, takes the fix out of its message,
applies it and runs again.
"""

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.feather as feather  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from backports import zstd
from cli.shell import run as run_command
from jobs.small_jobs import command, small_checkpoint

from isobatch.cli.input_files import InputOptions, input_tables
from isobatch.tables import open_table

TEXTS = ["a fine film", "its plot; not, so good"]
OPTION = r"--[\w-]+(?: '[^']*'| (?!--)[\w.+-]+| [,:])?"
OPTIONS = re.compile(rf"\b[Uu]se ({OPTION}(?: {OPTION})*)")
COMMAND = re.compile(
    r"(?:[:;] |, or )((?:jq|sed|tr|bzip2|xz|unzip|gzip|zstd|python -c) (?:'[^']*'|"
    r'"[^"]*"|'
    r"[^'\";])*?)(?=; |, which writes |\n|$)"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


class Case:
    """A command on a file, and what it says."""

    def __init__(self, folder: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.output = folder / "out.jsonl"
        self._checkpoint = checkpoint
        self._capfd = capfd

    def run(self, name: object, *options: str) -> tuple[int, str]:
        """Run the file into the output; the exit code, and what it says."""
        model = ("--model", self._checkpoint, "--threads", 1)
        self._capfd.readouterr()
        code = command("run", name, "-o", self.output, *options, *model)
        return code, self._capfd.readouterr().err

    def refused(self, name: object, *options: str, code: int = 6) -> str:
        found, message = self.run(name, *options)
        assert (found, message.count("\n")) == (code, 1), message
        assert not self.output.exists()
        return message

    def forget(self) -> None:
        self.output.unlink()
        shutil.rmtree(self.folder / ".isobatch")

    def rows(self, name: object, *options: str) -> list[dict[str, Any]]:
        code, said = self.run(name, *options)
        assert code == 0, said
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def texts(self, name: object, *options: str, column: str = "text") -> list[object]:
        return [row[column] for row in self.rows(name, *options)]

    def followed(self, name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Run the command of the message; the file that it makes."""
        (advice,) = COMMAND.findall(message)[:1]
        new = self.folder / ("NEW.parquet" if "NEW.parquet" in advice else "NEW" + _ending(name))
        advice = re.sub(r"> NEW(\.\w+)?", f"> {shlex.quote(str(new))}", advice.strip())
        advice = advice.replace("python -c", f"{shlex.quote(sys.executable)} -c")
        monkeypatch.chdir(self.folder)
        subprocess.run(advice, shell=True, check=True)
        return new


def _ending(name: str) -> str:
    return ".jsonl" if "json" in name else "." + name.partition(".")[2]


@pytest.fixture
def case(tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> Case:
    return Case(tmp_path, checkpoint, capfd)


def advised_options(message: str) -> list[str]:
    """The options that a message names first."""
    found = OPTIONS.search(message)
    assert found, message
    return shlex.split(found[1])


def delimited(delimiter: str, header: bool = True, line_end: str = "\n") -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=line_end)
    rows = [[str(index), text, "pos"] for index, text in enumerate(TEXTS)]
    writer.writerows([["id", "text", "stars"], *rows] if header else rows)
    return sink.getvalue()


def parquet(texts: object = None, write: Callable[..., None] = pq.write_table) -> bytes:
    sink = io.BytesIO()
    write(pa.table({"text": TEXTS if texts is None else texts}), sink)
    return sink.getvalue()


JSON_LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
MARK = "\ufeff"
QUOTED = '"id";"text";"stars"\n"0";"a fine film";"pos"\n"1";"its plot; not, so good";"pos"\n'

OPTION_CASES: dict[str, tuple[str, bytes]] = {
    "semicolons": ("a.csv", delimited(";").encode()),
    "semicolons with a mark": ("a.csv", (MARK + delimited(";")).encode()),
    "semicolons, quoted header": ("a.csv", QUOTED.encode()),
    "semicolons, trailing one": (
        "a.csv",
        b'id;text;\n0;a fine film;\n1;"its plot; not, so good";\n',
    ),
    "semicolons and carriage returns": ("a.csv", delimited(";", line_end="\r\n").encode()),
    "semicolons in gzip": ("a.csv.gz", gzip.compress(delimited(";").encode())),
    "tabs": ("a.csv", delimited("\t").encode()),
    "colons": ("a.csv", b'id:text\n0:a fine film\n1:"its plot; not, so good"\n'),
    "control characters": ("a.csv", delimited("\x01").encode()),
    "semicolons and commas": ("a.csv", b"id;text, short;stars\n0;a fine film;\n1;its;\n"),
    "bars": ("A.CSV", delimited("|").encode()),
    "commas in tsv": ("a.tsv", delimited(",").encode()),
    "semicolons in tsv": ("a.tab", delimited(";").encode()),
    "sep line": ("a.csv", ("sep=;\n" + delimited(";")).encode()),
    "sep line of Excel": ("a.csv", (MARK + "sep=;\r\n" + delimited(";", line_end="\r\n")).encode()),
    "sep line with a tab": ("a.csv", ("sep=\t\n" + delimited("\t")).encode()),
    "gzip": ("a.csv", gzip.compress(delimited(",").encode())),
    "gzip named jsonl": ("a.jsonl", gzip.compress(JSON_LINES.encode())),
    "gzip twice": ("a.csv.zst", gzip.compress(delimited(",").encode())),
    "zstd": ("a.csv", zstd.compress(delimited(",").encode())),
    "zstd named gz": ("a.csv.gz", zstd.compress(delimited(",").encode())),
    "plain named gz": ("a.csv.gz", delimited(",").encode()),
    "plain named zst": ("a.jsonl.zst", JSON_LINES.encode()),
    "parquet named csv": ("a.csv", parquet()),
    "parquet named jsonl": ("a.jsonl", parquet()),
    "parquet named txt": ("a.txt", parquet()),
    "json lines named csv": ("a.csv", JSON_LINES.encode()),
    "json lines with a mark named tsv": ("a.tsv", (MARK + JSON_LINES).encode()),
    "json lines named txt": ("a.txt", JSON_LINES.encode()),
    "json lines named parquet": ("a.parquet", JSON_LINES.encode()),
    "csv named parquet": ("a.parquet", b"text,stars\na fine film,pos\nits plot; not so good,neg\n"),
    "gzip of csv named parquet": (
        "a.parquet",
        gzip.compress(b"text,stars\na fine film,pos\nits plot; not so good,neg\n"),
    ),
    "zstd of json lines named parquet": ("a.parquet", zstd.compress(JSON_LINES.encode())),
    "csv named jsonl": ("a.jsonl", delimited(",").replace(", ", "; ").encode()),
    "tsv named jsonl": ("a.ndjson", delimited("\t").encode()),
    "tsv named txt": ("a.txt", delimited("\t").encode()),
    "csv named txt": ("a.txt", delimited(",").encode()),
    "csv with semicolons named txt": ("a.txt", delimited(";").encode()),
    "utf-16": ("a.csv", delimited(",").encode("utf-16")),
    "utf-16 big-endian": ("a.csv", (MARK + delimited(",")).encode("utf-16-be")),
    "utf-16 without a mark": ("a.csv", delimited(",").encode("utf-16-le")),
    "utf-16 without a mark, big-endian": ("a.csv", delimited(",").encode("utf-16-be")),
    "utf-32": ("a.csv", delimited(",").encode("utf-32")),
    "utf-32 without a mark": ("a.csv", delimited(",").encode("utf-32-le")),
    "utf-16 json lines": ("a.jsonl", JSON_LINES.encode("utf-16")),
    "utf-16 json lines without a mark": ("a.jsonl", JSON_LINES.encode("utf-16-be")),
}


@pytest.mark.parametrize("name", OPTION_CASES)
def test_the_option_that_a_message_names_reads_the_file(case: Case, name: str) -> None:
    file, content = OPTION_CASES[name]
    path = case.folder / file
    path.write_bytes(content)
    options = advised_options(case.refused(path))
    if name == "semicolons and commas":
        assert case.texts(path, *options, "--text-column", "text, short", column="text, short") == [
            "a fine film",
            "its",
        ]
        return
    found = [str(text).replace("; not so", "; not, so") for text in case.texts(path, *options)]
    assert [text.replace("; so", ", so") for text in found] == TEXTS


def test_the_reported_file_is_scored_after_the_advice_of_two_messages(case: Case) -> None:
    path = case.folder / "a.csv"
    path.write_text("id;text;label\n1;a fine film;pos\n")
    options = advised_options(case.refused(path))
    options += advised_options(case.refused(path, *options, code=2))
    assert case.rows(path, *options)[0].keys() >= {"label", "predicted_label"}


STREAMS = ["semicolons", "tabs", "gzip", "parquet named txt", "json lines named txt", "utf-16",
           "tsv named txt", "csv named txt"]  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_the_same_holds_for_stdin(checkpoint: Path, name: str) -> None:
    file, content = OPTION_CASES[name]
    options = [] if file.endswith("txt") else ["--format", "csv"]
    model = ("--model", str(checkpoint), "--threads", "1")
    refused = run_command("run", "-", "-o", "-", *options, *model, stdin=content)
    assert (refused.returncode, refused.stdout) == (6, b"")
    assert refused.stderr.startswith(b"isobatch: stdin:")
    advised = advised_options(refused.stderr.decode())
    if "--format" in advised:
        options = []
    more = ["--output-format", "jsonl"]
    done = run_command("run", "-", "-o", "-", *options, *advised, *more, *model, stdin=content)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == TEXTS


BACKSLASHES = 'text,stars\n"say \\"a fine\\" film",pos\n"its plot",neg\n'
COMMAND_CASES: dict[str, tuple[str, bytes, list[str]]] = {
    "backslashes": ("a.csv", BACKSLASHES.encode(), ['say "a fine" film', "its plot"]),
    "carriage returns": ("a.csv", b"text,stars\ra,1\rb,2\r", ["a", "b"]),
    "an array of objects": ("a.jsonl", json.dumps([{"text": t} for t in TEXTS]).encode(), TEXTS),
    "an array over lines": ("a.jsonl", json.dumps([{"text": t} for t in TEXTS], indent=1).encode(),
                            TEXTS),
    "an array named csv": ("a.csv", json.dumps([{"text": t} for t in TEXTS], indent=1).encode(),
                           TEXTS),
    "an array named txt": ("a.txt", json.dumps([{"text": t} for t in TEXTS]).encode(), TEXTS),
    "an object over lines": ("a.jsonl", json.dumps({"text": "good"}, indent=2).encode(), ["good"]),
    "numbers": ("a.jsonl", b'{"text": 5}\n{"text": null}\n{"text": 1.5}\n', ["5", "null", "1.5"]),
    "words": ("a.jsonl", b'{"text": ["a", "film"]}\n', ["a film"]),
    "mixed encodings": ("a.csv", "id,text\n0,Müller\n".encode() + "1,ça va\n".encode("latin-1"),
                        ["Müller", "ça va"]),
    "lines that are quoted": ("a.csv", b'"id,text"\n"0,good"\n"1,""a, b"""\n', ["good", "a, b"]),
    "gzip in gzip": ("a.csv.gz", gzip.compress(gzip.compress(delimited(",").encode())), TEXTS),
    "bzip2": ("a.csv", bz2.compress(delimited(",").encode()), TEXTS),
    "xz": ("a.csv", lzma.compress(delimited(",").encode()), TEXTS),
    "gzip of parquet named parquet": ("a.parquet", gzip.compress(parquet()), TEXTS),
    "zstd of parquet named parquet": ("a.parquet", zstd.compress(parquet()), TEXTS),
    "feather named csv": ("a.csv", parquet(write=feather.write_feather), TEXTS),
    "feather named parquet": ("a.parquet", parquet(write=feather.write_feather), TEXTS),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMAND_CASES)
def test_the_command_that_a_message_names_converts_the_file(
    case: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, content, expected = COMMAND_CASES[name]
    path = case.folder / "a b" / file
    path.parent.mkdir()
    path.write_bytes(content)
    message = case.refused(path)
    ending = "a.jsonl" if "jq" in message else file
    assert case.texts(case.followed(ending, message, monkeypatch)) == expected


@pytest.mark.parametrize("name", ["a.parquet.gz", "a.parquet"])
@pytest.mark.parametrize("is_compressed", [True, False])
def test_compressed_parquet_is_decompressed_by_the_command(
    case: Case, name: str, is_compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = case.folder / name
    path.write_bytes(gzip.compress(parquet()) if is_compressed else parquet())
    options = [] if name.endswith(".gz") else ["--compression", "gzip"]
    message = case.refused(path, *options, code=2)
    if is_compressed:
        monkeypatch.setattr(sys, "executable", "unused")
        found = case.texts(case.followed("a.parquet", message, monkeypatch))
    else:
        found = case.texts(path, *advised_options(message))
    assert found == TEXTS


FILTER = re.compile(r"\.\.\. \| (.+) \| isobatch (?:(?:run|evaluate) - )?\.\.\.")


def filtered(message: str, content: bytes) -> bytes:
    """Run the filter that a message names over stdin; its output."""
    (advice,) = FILTER.findall(message)
    advice = advice.replace("python -c", f"{shlex.quote(sys.executable)} -c")
    return subprocess.run(
        f"cat | {advice}", shell=True, check=True, input=content, capture_output=True
    ).stdout


def type_in(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize(
    "name",
    [name for name in COMMAND_CASES if "feather" not in name and " of parquet" not in name],
)
def test_commands_for_stdin_are_filters(
    case: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, content, expected = COMMAND_CASES[name]
    is_gzip = ["--compression", "gzip"] if file.endswith(".gz") else []
    options = ["--format", {"csv": "csv", "jsonl": "jsonl", "txt": "lines"}[file.split(".")[1]]]
    if "txt" in file:
        options = []
    type_in(monkeypatch, content)
    message = case.refused("-", *options, *is_gzip)
    assert message.startswith("isobatch: stdin")
    assert "/stdin" not in message.replace("/dev/", "")
    new = filtered(message, content)
    options = ["--format", "jsonl"] if "jq" in message else options
    type_in(monkeypatch, new)
    assert case.texts("-", *options, *is_gzip) == expected


def test_a_command_that_cannot_read_a_pipe_reads_a_file(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, parquet(write=feather.write_feather))
    message = case.refused("-", "--format", "csv")
    assert "' FILE NEW.parquet, with stdin saved before: ... > FILE" in message


def test_commands_without_the_options_are_advised_a_filter_only(
    case: Case, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = "\n".join(TEXTS).encode() + b"\n"
    for words in (["classify"], ["precisions"], ["audit", "--quick", "--texts", "-"]):
        for compress, mixed in ((gzip.compress, False), (zstd.compress, False), (bytes, True)):
            content = plain + ("ü\n".encode() + "ü\n".encode("latin-1") if mixed else b"")
            capfd.readouterr()
            type_in(monkeypatch, compress(content))
            assert command(*words) in (2, 3, 6)
            message = capfd.readouterr().err
            assert "--compression" not in message, message
            assert filtered(message, compress(content)).startswith(plain)
    path = case.folder / "texts.txt"
    for name in ("texts.txt", "texts.txt.gz"):
        path = case.folder / name
        path.write_bytes(zstd.compress(plain))
        assert command("audit", "--quick", "--texts", path) in (2, 3, 6)
        message = capfd.readouterr().err
        assert "--compression" not in message, message
        assert case.followed("a.txt", message, monkeypatch).read_bytes() == plain


WORDS = ["good film", "nice"]
CAST_CASES: dict[str, pa.Array] = {
    "bytes": pa.array([b"good film", b"nice"]),
    "fixed bytes": pa.array([b"good", b"nice"]),
    "large bytes": pa.array([b"good film", b"nice"], pa.large_binary()),
    "words": pa.array([["good", "film"], ["nice"]]),
    "large list": pa.array([["good", "film"], ["nice"]], pa.large_list(pa.string())),
    "pairs": pa.array([["good", "film"], ["a", "b"]], pa.list_(pa.string(), 2)),
    "ids": pa.array([[1, 2], [3]]),
    "struct": pa.array([{"n": 1, "text": "good film"}, {"n": 2, "text": "nice"}]),
    "integers": pa.array([5, None]),
    "floats": pa.array([1.5, 2.0]),
    "flags": pa.array([True, False]),
    "dates": pa.array([datetime.date(2026, 1, 2)]),
    "times": pa.array([datetime.datetime(2026, 1, 2)]),
    "dictionary of bytes": pa.array([b"good film", b"nice"]).dictionary_encode(),
}


@pytest.mark.parametrize("name", CAST_CASES)
def test_a_parquet_column_of_another_type_is_cast_by_the_command_in_the_message(
    case: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = case.folder / "a.parquet"
    pq.write_table(pa.table({"id": range(len(CAST_CASES[name])), "text": CAST_CASES[name]}), path)
    message = case.refused(path)
    assert str(pq.read_schema(path).field("text").type) in message
    rows = case.rows(case.followed("a.parquet", message, monkeypatch))
    assert [row["id"] for row in rows] == list(range(len(rows)))
    assert all(row["text"] is None or row["label"] for row in rows)
    if name in ("bytes", "words", "struct", "dictionary of bytes"):
        assert [row["text"] for row in rows] == WORDS


@pytest.mark.parametrize(
    "column",
    [
        pa.array(WORDS).dictionary_encode(),
        pa.array(WORDS, pa.large_string()),
        pa.array([None, None], pa.null()),
        pa.array([None, None], pa.string()),
    ],
    ids=lambda column: str(column.type)[:10],
)
def test_parquet_columns_of_texts_pass(case: Case, column: pa.Array) -> None:
    pq.write_table(pa.table({"text": column}), case.folder / "a.parquet")
    rows = case.rows(case.folder / "a.parquet")
    assert [row["text"] for row in rows] == column.to_pylist()
    assert all((row["label"] is None) == (row["text"] is None) for row in rows)


def test_json_rows_of_another_type_are_errors_next_to_texts(case: Case) -> None:
    path = case.folder / "a.jsonl"
    path.write_text('{"text": 5}\n{"id": 1}\n{"text": "nice"}\n{"text": ["a"]}\n')
    rows = case.rows(path)
    assert [row["error"] is None for row in rows] == [False, False, True, False]


PROSE = ["I liked it; really", "it is slow; dull", "good; bad", "no; yes", "a; b", "c; d"]
GOOD_FILES: dict[str, tuple[str, str, list[str], list[str]]] = {
    "one column of semicolons": ("a.csv", "text\n" + "\n".join(PROSE) + "\n", [], PROSE),
    "one tight column": ("a.csv", "text\na;b\nc;d\n", [], ["a;b", "c;d"]),
    "one column of bars in tsv": ("a.tsv", "text\na|b\nc|d\n", [], ["a|b", "c|d"]),
    "one column of commas in tsv": ("a.tsv", "text\nyes, no\na, b, c\n", [],
                                    ["yes, no", "a, b, c"]),
    "a header with a remark": ("a.csv", "Review (good;bad)\nfine\ndull\n", [], ["fine", "dull"]),
    "prose without header": ("a.csv", "I liked it; really\nfine\n", ["--no-header"],
                             ["I liked it; really", "fine"]),
    "prose without header or one": ("a.csv", "I liked; it\nit is; slow\n", ["--no-header"],
                                    ["I liked; it", "it is; slow"]),
    "a comma file with semicolons": ("a.csv", "text,stars\na;b;c,1\nd;e;f,2\n", [],
                                     ["a;b;c", "d;e;f"]),
    "the sep line of the name": ("a.csv", "sep=,\ntext,stars\ngood,1\n", [], ["good"]),
    "lines of prose": ("a.txt", "Yes, no\nWell, good\n", [], ["Yes, no", "Well, good"]),
    "one line of words": ("a.txt", "yes,no\n", [], ["yes,no"]),
    "lines with one tab": ("a.txt", "a\tb\nc\n", [], ["a\tb", "c"]),
    "lines of JSON on purpose": ("a.txt", '{"a": 1}\n{"b": 2}\n', ["--format", "lines"],
                                 ['{"a": 1}', '{"b": 2}']),
    "semicolons on purpose": ("a.csv", "a;b\nc;d\n", ["--delimiter", ","], ["c;d"]),
    "markup in the rows": ("a.csv", "text,stars\n<html>x</html>,1\n", [], ["<html>x</html>"]),
    "a text that begins like a signature": ("a.txt", "PAR1 is a word\nBZh too\n", [],
                                            ["PAR1 is a word", "BZh too"]),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_FILES)
def test_a_file_that_is_what_its_name_says_passes(case: Case, name: str) -> None:
    file, content, options, expected = GOOD_FILES[name]
    (case.folder / file).write_text(content)
    rows = case.rows(case.folder / file, *options)
    assert [next(iter(row.values())) for row in rows] == expected


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("a.csv", b"", "is empty: needs a header line"),
        ("a.csv", b"\xef\xbb\xbf", "is empty: needs a header line"),
        ("a.csv.gz", b"", "is empty, which a gzip file never is"),
        ("a.parquet", b"", "it is empty"),
        ("a.csv", b"<!DOCTYPE html>\n<html>login</html>\n", "is an HTML or XML page"),
        ("a.txt", b"<html><body>login</body></html>\n", "--format lines"),
        ("a.csv", b"%PDF-1.7\n\xe2\xe3\n", "is a PDF file"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "save it as CSV UTF-8"),
        ("a.parquet", parquet()[:-9], "truncated"),
    ],
)
def test_files_that_are_no_rows_at_all(case: Case, file: str, content: bytes, words: str) -> None:
    (case.folder / file).write_bytes(content)
    assert words in case.refused(case.folder / file)


def test_a_zip_archive_is_unpacked_by_the_command(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = case.folder / "a.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.csv", delimited(","))
    message = case.refused(path)
    case.followed("a.csv", message.replace("; or, ", "; "), monkeypatch)
    assert case.texts(case.folder / "inner.csv") == TEXTS


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252",
             "latin-1", "shift_jis", "gb18030", "iso2022_jp", "mac-roman", "cp437"]  # fmt: skip
LANGUAGES = {"shift_jis": ["良い映画", "だめ"], "iso2022_jp": ["良い映画", "だめ"],
             "gb18030": ["好电影", "坏"]}  # fmt: skip


@pytest.mark.parametrize("file", ["a.csv", "a.jsonl", "a.txt.gz", "a.tsv.zst"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_texts_are_decoded_by_the_encoding(tmp_path: Path, file: str, encoding: str) -> None:
    is_unicode = encoding.startswith("utf")
    texts = LANGUAGES.get(encoding, ["Müller naïf", "déjà"])
    texts = [*texts, "਀ ਊ ĊĀ"] if is_unicode else texts  # bytes 0x0a within characters
    if ".jsonl" in file:
        content = "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts)
    elif ".txt" in file:
        content = "".join(f"{text}\r\n" for text in texts)
    else:
        delimiter = "\t" if "tsv" in file else ","
        content = "".join(f"{line}{delimiter}x\n" for line in ["text", *texts]).removesuffix("\n")
    compress = {".gz": gzip.compress, ".zst": zstd.compress}.get(Path(file).suffix, bytes)
    has_mark = encoding in ("utf-8-sig", "utf-16", "utf-32") or not is_unicode
    path = tmp_path / file
    for mark in ("",) if has_mark else ("", MARK):
        path.write_bytes(compress((mark + content).encode(encoding)))
        with input_tables([str(path)], InputOptions(encoding=encoding)) as (file_of_rows,):
            chunks = open_table(file_of_rows).rows(9, 999)
            found = [text for rows in chunks for text in rows.texts("text")]
        assert found == texts


def test_a_wrong_encoding_names_the_line_and_an_encoding_that_reads_it(case: Case) -> None:
    path = case.folder / "a.csv"
    path.write_bytes("text,n\ngood,1\nMüller,2\n".encode("cp1252"))
    message = case.refused(path)
    assert "a.csv:3: byte 2 of this line (0xfc)" in message
    assert case.texts(path, *advised_options(message)) == ["good", "Müller"]
    case.forget()
    assert "a.csv:3: byte 0xfc in this line is not shift_jis" in case.refused(
        path, "--encoding", "shift_jis"
    )
    path.write_bytes((MARK + "text,n\ngood,1\n").encode())
    for other in ("cp1252", "utf-16"):
        assert "leave out --encoding" in case.refused(path, "--encoding", other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--encoding", "utf-9"], "unknown encoding 'utf-9'"),
        (["--encoding", "base64"], "unknown encoding 'base64'"),
        (["--encoding", "unicode_escape"], "unknown encoding"),
        (["--encoding", ""], "unknown encoding ''"),
        (["--delimiter", ""], "must be one character"),
        (["--delimiter", '"'], "must be one character"),
        (["--delimiter", "\n"], "must be one character"),
        (["--delimiter", ";;"], "must be one character"),
        (["--format", "jsonl", "--delimiter", ";"], "--delimiter is for CSV and TSV"),
        (["--format", "lines", "--no-header"], "--no-header is for CSV and TSV"),
        (["--format", "parquet", "--encoding", "cp1252"], "--encoding is for text"),
        (["--text-column", "Text"], "Did you mean text?"),
    ],
)
def test_options_that_make_no_sense_are_refused(case: Case, options: list[str], words: str) -> None:
    (case.folder / "a.csv").write_text("id,text\n1,good\n")
    assert words in case.refused(case.folder / "a.csv", *options, code=2)


@pytest.mark.parametrize("delimiter", ["\\t", "tab", "\t"])
def test_a_tab_has_three_spellings(case: Case, delimiter: str) -> None:
    (case.folder / "a.csv").write_text("id\ttext\n1\tgood\n")
    assert case.texts(case.folder / "a.csv", "--delimiter", delimiter) == ["good"]


def test_a_line_without_header_is_hinted_at(case: Case) -> None:
    path = case.folder / "a.tsv"
    path.write_text("1\tUnions representing workers say talks failed\tpos\n2\tnice\tneg\n")
    message = case.refused(path, code=2)
    assert "Unions representing" in message
    options = advised_options(message)
    assert options == ["--no-header", "--text-column", "column_2"]
    assert case.texts(path, *options, column="column_2")[1] == "nice"


@pytest.mark.parametrize(
    ("header", "given", "meant"),
    [(" Text ,n", "text", " Text "), ("TEXT,n", "text", "TEXT"), ("text,n", "textt", "text"),
     ('"\ufefftext",n', "text", "\ufefftext")],
)  # fmt: skip
def test_a_similar_column_is_suggested(case: Case, header: str, given: str, meant: str) -> None:
    path = case.folder / "a.csv"
    path.write_text(f"id,{header}\n1,good,2\n", encoding="utf-8")
    message = case.refused(path, "--text-column", given, code=2)
    (suggested,) = shlex.split(message.partition("Did you mean ")[2].removesuffix("?\n"))
    assert suggested == meant
    assert case.texts(path, "--text-column", suggested, column=meant) == ["good"]


@pytest.mark.parametrize("name", ["foo.xyz", "foo.json", "foo"])
def test_an_output_of_an_unknown_ending_names_its_own_option(case: Case, name: str) -> None:
    (case.folder / "a.csv").write_text("text\ngood\n")
    case.output = case.folder / name
    message = case.refused(case.folder / "a.csv", code=2)
    (option,) = re.findall(r"use (--output-format \w+)", message)
    assert case.run(case.folder / "a.csv", *option.split())[0] == 0
    assert case.output.exists()


@pytest.mark.skipif(not all(map(shutil.which, ("jq", "xz", "bzip2"))), reason="needs the tools")
@pytest.mark.parametrize("ending", [".bz2", ".xz"])
def test_an_ending_that_is_not_read_names_the_command(
    case: Case, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress = bz2.compress if ending == ".bz2" else lzma.compress
    path = case.folder / f"a.csv{ending}"
    path.write_bytes(compress(delimited(",").encode()))
    message = case.refused(path, code=2)
    monkeypatch.chdir(case.folder)
    new = case.followed("a.csv", message.replace("> NEW", "> NEW.csv"), monkeypatch)
    assert case.texts(new) == TEXTS
