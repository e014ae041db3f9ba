"""Outputs that cannot be written are found before anything is computed, or even loaded."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from jobs.small_jobs import command, small_checkpoint

MISSING = "no/such/checkpoint"
"""A checkpoint that cannot be loaded: a check before that has another exit code."""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("id,text\n1,nice\n")
    return path


def refused(capfd: pytest.CaptureFixture[str], *arguments: object, code: int = 7) -> str:
    capfd.readouterr()
    found, message = command(*arguments, "--model", MISSING), capfd.readouterr().err
    assert (found, message.count("\n")) == (code, 1), message
    return message


@pytest.mark.parametrize("option", ["--report", "-o"])
def test_a_missing_folder_is_made_by_the_command_in_the_message(
    rows: Path, option: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    there, report = tmp_path / "out.csv", tmp_path / "a b" / "report.json"
    paths: tuple[object, ...] = ("-o", there, "--report", report)
    if option == "-o":
        paths = ("-o", tmp_path / "a b" / "out.csv")
    message = refused(capfd, "run", rows, *paths)
    (advice,) = re.findall(r"Create it first: (mkdir .*)", message)
    subprocess.run(shlex.split(advice), check=True)
    checkpoint = small_checkpoint(tmp_path / "model")
    assert command("run", rows, *paths, "--model", checkpoint) == 0


def test_reports_that_cannot_be_written(
    rows: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    for report, words in (
        (tmp_path, "is a folder. Use the path of a file"),
        (rows, "is an input or an output as well"),
        (output, "is an input or an output as well"),
        ("-", "the report is written to a file"),
    ):
        assert words in refused(capfd, "run", rows, "-o", output, "--report", report)
    assert rows.read_text() == "id,text\n1,nice\n"


def test_a_report_replaces_no_file_of_a_pattern_or_a_folder(
    rows: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, link, hard = tmp_path / "out", tmp_path / "link.json", tmp_path / "hard.json"
    out.mkdir()
    link.symlink_to(rows)
    hard.hardlink_to(rows)
    for report in (rows, link, hard, out / "rows.csv"):
        message = refused(capfd, "run", f"{tmp_path}/*.csv", "-o", f"{out}/", "--report", report)
        assert f"{report}: is an input or an output as well" in message
    refused(capfd, "run", f"{tmp_path}/*.csv", "-o", "-", "--report", rows)
    assert rows.read_text() == "id,text\n1,nice\n"


def test_an_input_may_have_the_name_of_a_stream(
    rows: Path,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    rows.rename("stdout")
    report, checkpoint = tmp_path / "report.json", small_checkpoint(tmp_path / "model")
    options = ("--format", "csv", "--report", report, "--model", checkpoint)
    assert command("run", "stdout", "-o", "-", *options) == 0
    assert capfd.readouterr().out.startswith("id,text,label,score")
    assert report.exists()


def test_outputs_that_cannot_be_written(
    rows: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pipe, file = tmp_path / "pipe.csv", tmp_path / "file"
    os.mkfifo(pipe)
    file.touch()
    link = tmp_path / "link.csv"
    link.symlink_to(pipe)
    as_csv = ("--output-format", "csv")
    for output, words in (
        (pipe, "is not a regular file"),
        (link, "is not a regular file"),
        ("/dev/null", "-o - > /dev/null"),
        (f"{file}/", "is a file, not a folder"),
        (file / "out.csv", "there is no folder"),
    ):
        assert words in refused(capfd, "run", rows, "-o", output, *as_csv, "--restart")
    assert pipe.is_fifo()
    assert Path("/dev/null").is_char_device()


def test_an_input_is_not_overwritten_by_any_name(
    rows: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(rows)
    for output in (rows, link):
        message = refused(capfd, "run", rows, "-o", output, "--restart", code=2)
        assert "is an input and would be overwritten" in message
    message = refused(capfd, "run", rows, "-o", f"{tmp_path}/", "--restart", code=2)
    assert "is an input and would be overwritten" in message


def test_a_link_is_kept_and_its_target_is_written(rows: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "scored.csv", tmp_path / "link.csv"
    target.parent.mkdir()
    link.symlink_to(target)
    checkpoint = small_checkpoint(tmp_path / "model")
    assert command("run", rows, "-o", link, "--model", checkpoint) == 0
    assert link.is_symlink()
    assert target.read_text().startswith("id,text,label,score")
    assert command("run", rows, "-o", link, "--model", checkpoint) == 0


def test_a_link_in_a_folder_of_outputs_is_kept_too(rows: Path, tmp_path: Path) -> None:
    target, folder = tmp_path / "elsewhere.csv", tmp_path / "scored"
    folder.mkdir()
    (folder / "rows.csv").symlink_to(target)
    checkpoint = small_checkpoint(tmp_path / "model")
    assert command("run", rows, "-o", f"{folder}/", "--model", checkpoint) == 0
    assert (folder / "rows.csv").is_symlink()
    assert target.read_text().startswith("id,text,label,score")


def test_a_pattern_leaves_out_the_folder_of_its_outputs(rows: Path, tmp_path: Path) -> None:
    scored = tmp_path / "scored"
    checkpoint = small_checkpoint(tmp_path / "model")
    arguments = ("run", f"{tmp_path}/**/*.csv", "-o", f"{scored}/", "--model", checkpoint)
    assert command(*arguments) == 0
    assert command(*arguments) == 0, "the same command, as a resume needs it"
    assert [path.name for path in scored.glob("*.csv")] == ["rows.csv"]
