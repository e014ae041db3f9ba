"""A byte order mark means the same to every command that reads text."""

import json
from pathlib import Path

import pytest
from cli.shell import run
from jobs.small_jobs import small_checkpoint

from isobatch.cli.audit import _read_texts
from isobatch.errors import TableError

TEXTS = "good film\nnice Müller\n"
TABLE = "text,label\ngood film,LABEL_0\nnice Müller,LABEL_1\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_checkpoint(tmp_path_factory.mktemp("small")))


@pytest.mark.parametrize(
    ("command", "content", "wrong"),
    [
        (["classify"], TEXTS, 3),
        (["run", "-", "-o", "-"], TEXTS, 6),
        (["run", "-", "-o", "-", "--format", "csv", "--columns", "text"], TABLE, 6),
        (["evaluate", "-", "--format", "csv", "--label-column", "label", "--json"], TABLE, 6),
        (["precisions"], TEXTS, 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_marks_are_the_same_to_all_commands(
    command: list[str], content: str, wrong: int, checkpoint: str
) -> None:
    model = (checkpoint,) if command == ["precisions"] else ("--model", checkpoint)

    def output(data: bytes, *options: str) -> bytes:
        done = run(*command, *options, *model, stdin=data)
        assert done.returncode == 0, done.stderr
        # speed differs from run to run
        return b"" if command == ["precisions"] else done.stdout

    expected = output(content.encode())
    assert output(content.encode("utf-8-sig")) == expected
    assert output(content.encode("utf-8-sig"), "--encoding", "utf-8") == expected
    assert output(content.encode("cp1252"), "--encoding", "windows-1252") == expected
    for codec in ("utf-16-le", "utf-16-be"):
        data = ("\ufeff" + content).encode(codec)
        refused = run(*command, *model, stdin=data)
        assert (refused.returncode, refused.stdout) == (wrong, b"")
        assert b"is UTF-16 by its byte order mark" in refused.stderr
        assert b"use --encoding utf-16\n" in refused.stderr
        assert output(data, "--encoding", "utf-16") == expected


@pytest.mark.parametrize("command", ["classify", "precisions"])
def test_an_encoding_is_checked_before_the_model_is_loaded(command: str) -> None:
    model = ["--model", "/nowhere"] if command == "classify" else ["/nowhere"]
    refused = run(command, *model, "--encoding", "bogus", stdin=b"good")
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"isobatch: unknown encoding 'bogus'; usual names are utf-8")


def test_an_encoding_is_not_for_texts_of_arguments(checkpoint: str) -> None:
    arguments = ["classify", "good", "--model", checkpoint]
    refused = run(*arguments, "--encoding", "cp1252")
    assert refused.returncode == 2
    assert refused.stderr == (
        b"isobatch: --encoding is for lines on stdin, not for arguments. Leave it out\n"
    )
    assert run(*arguments).returncode == 0


def test_the_texts_of_an_audit(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    for codec in ("utf-8", "utf-8-sig"):
        path.write_bytes(TEXTS.encode(codec))
        assert _read_texts(str(path), None) == ["good film", "nice Müller"]
    path.write_bytes(TEXTS.encode("utf-16"))
    with pytest.raises(TableError, match="use --encoding utf-16"):
        _read_texts(str(path), None)
    assert _read_texts(str(path), "utf-16") == ["good film", "nice Müller"]


def test_an_unknown_encoding_is_an_invalid_option_of_all_commands(checkpoint: str) -> None:
    for command in (["classify"], ["run", "-", "-o", "-"]):
        done = run(*command, "--encoding", "utf-9", "--model", checkpoint, stdin=b"good\n")
        assert done.returncode == 2
        assert b"unknown encoding 'utf-9'" in done.stderr


@pytest.mark.parametrize("data", [b"\x1f\x8b\x08\0\0", b"PAR1\x15\0\x15"])
def test_classify_refuses_what_is_not_text(data: bytes, checkpoint: str) -> None:
    done = run("classify", "--model", checkpoint, stdin=data)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"stdin: is " in done.stderr


def test_empty_lines_are_texts(checkpoint: str) -> None:
    done = run("classify", "--model", checkpoint, stdin=b"\n \n")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["", " "]
