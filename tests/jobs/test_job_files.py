"""Several inputs and outputs, folders, stdin and stdout: the same rows by every way."""

import io
import os
import sys
from pathlib import Path

import pytest
from jobs.small_jobs import TEXTS, command, read_rows, small_checkpoint, write_rows


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture
def model(checkpoint: Path) -> tuple[object, ...]:
    return ("--model", checkpoint, "--threads", 1)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "in").mkdir()
    return [
        write_rows(tmp_path / "in" / f"{name}.jsonl", [f"{text} {name}" for text in TEXTS])
        for name in "abc"
    ]


def test_several_files_in_one_are_their_rows_in_order(
    tmp_path: Path, files: list[Path], model: tuple[object, ...]
) -> None:
    assert command("run", *files, "-o", tmp_path / "all.jsonl", *model) == 0
    assert command("run", *files, "-o", f"{tmp_path}/each/", *model) == 0
    parts = [(tmp_path / "each" / file.name).read_bytes() for file in files]
    assert (tmp_path / "all.jsonl").read_bytes() == b"".join(parts)
    assert [row["text"] for row in read_rows(tmp_path / "all.jsonl")] == [
        row["text"] for file in files for row in read_rows(file)
    ]


def test_a_folder_of_files_goes_on_with_what_is_missing(
    tmp_path: Path,
    files: list[Path],
    model: tuple[object, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ("run", tmp_path / "in", "-o", f"{tmp_path}/out/", *model)
    assert command(*arguments) == 0
    lost = tmp_path / "out" / "b.jsonl"
    content = lost.read_bytes()
    lost.unlink()
    capfd.readouterr()
    assert command(*arguments) == 0
    assert lost.read_bytes() == content
    assert "12 of them from earlier runs" in capfd.readouterr().err


@pytest.mark.parametrize("format", ["csv", "jsonl", "tsv"])
def test_a_stream_has_the_bytes_of_a_file(
    tmp_path: Path,
    files: list[Path],
    model: tuple[object, ...],
    format: str,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    output = tmp_path / f"out.{format}"
    assert command("run", files[0], "-o", output, *model) == 0
    capfdbinary.readouterr()
    piped = io.BytesIO((tmp_path / "in" / "a.jsonl").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
    options = ("--format", "jsonl", "--output-format", format)
    assert command("run", "-", "-o", "-", *options, *model) == 0
    written, said = capfdbinary.readouterr()
    assert written == output.read_bytes()
    assert b"6 rows in" in said


def test_lines_of_stdin_may_go_into_a_file(
    tmp_path: Path, model: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And resume from there: the content counts, which has another name each time."""
    for _ in range(2):
        piped = io.BytesIO("\n".join(TEXTS).encode())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
        assert command("run", "-", "-o", tmp_path / "out.jsonl", *model) == 0
    assert [row["text"] for row in read_rows(tmp_path / "out.jsonl")] == TEXTS


def test_one_output_of_two_inputs_is_refused(
    tmp_path: Path,
    files: list[Path],
    model: tuple[object, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "more").mkdir()
    same_name = write_rows(tmp_path / "more" / "a.jsonl", ["other"])
    assert command("run", files[0], same_name, "-o", f"{tmp_path}/out/", *model) == 2
    said = capfd.readouterr().err
    assert str(files[0]) in said
    assert str(same_name) in said
    lines = tmp_path / "more" / "b.txt"
    lines.write_text("nice\n")
    assert command("run", files[1], lines, "-o", f"{tmp_path}/out/", *model) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spelling", ["in/a.jsonl", "in/../in/a.jsonl", "link.jsonl", "in/"])
def test_an_output_that_is_an_input_is_refused(
    tmp_path: Path,
    files: list[Path],
    model: tuple[object, ...],
    spelling: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "link.jsonl").symlink_to(files[0])
    before = files[0].read_bytes()
    output = f"{tmp_path}/{spelling}"
    for more in ((), ("--restart",)):
        assert command("run", files[0], "-o", output, *more, *model) == 2
    assert "is an input" in capfd.readouterr().err
    assert files[0].read_bytes() == before


def test_an_output_elsewhere_than_in_a_folder_is_a_job_error(
    tmp_path: Path,
    files: list[Path],
    model: tuple[object, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    for output in ("missing/out.csv", "missing/out/", "in/a.jsonl/out.csv"):
        assert command("run", files[0], "-o", f"{tmp_path}/{output}", *model) == 7
        assert "there is no folder" in capfd.readouterr().err
    assert not (tmp_path / "missing").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_job_error(
    tmp_path: Path,
    files: list[Path],
    model: tuple[object, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "in").chmod(0o500)
    assert command("run", files[0], "-o", tmp_path / "in" / "out.csv", *model) == 7
    (tmp_path / "in").chmod(0o700)
    assert "Choose an output in you may write" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("names", "output", "words"),
    [
        (["a.jsonl", "d.csv"], "out.csv", "inputs of one format"),
        (["a.jsonl"], "out.txt", "plain lines"),
        (["a.jsonl"], "-", "stdout"),
    ],
)
def test_what_cannot_be_joined_or_written_is_refused(
    tmp_path: Path,
    files: list[Path],
    model: tuple[object, ...],
    names: list[str],
    output: str,
    words: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_rows(tmp_path / "in" / "d.csv", ["nice"])
    given = [tmp_path / "in" / name for name in names]
    target = output if output == "-" else tmp_path / output
    format = ["--output-format", "parquet"] if output == "-" else []
    assert command("run", *given, "-o", target, *format, *model) == 2
    assert words in capfd.readouterr().err
