"""Streams that are closed, full or in another encoding: one line and an exit code."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from isobatch.cli import standard_streams

ISOBATCH = f"{shlex.quote(sys.executable)} -m isobatch"

pytestmark = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs a shell and /dev/full"
)


def shell(
    command: str, folder: Path, stdin: bytes | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of bash, in which `isobatch` is the command under test."""
    script = command.replace("isobatch", ISOBATCH, 1)
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        cwd=folder,
        input=stdin or b"",
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("options", ["--json", "-q"])
def test_a_reader_that_has_left_hides_no_verdict_and_no_file(tmp_path: Path, options: str) -> None:
    (tmp_path / "faulty.py").write_text(
        "def predict(texts):\n    return [[float(len(texts)), 0.0] for _ in texts]\n"
    )
    files = "--html page.html --junit report.xml --save answers.json"
    command = f"isobatch audit python:faulty:predict --quick {files} {options}"
    # The reader leaves before anything is printed, without a race: it has closed the pipe.
    ran = shell(
        f"{command} > >(exec <&-; sleep 9)", tmp_path, PYTHONPATH=f"{Path.cwd()}:{tmp_path}"
    )
    assert ran.returncode == 1, ran.stderr.decode()
    assert {each.name for each in tmp_path.iterdir()} >= {"page.html", "report.xml", "answers.json"}


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("isobatch --help > /dev/full", 6, "stdout: cannot be written: No space left on device"),
        ("isobatch --help >&-", 6, "stdout: cannot be written: it is closed. Redirect it"),
        ("isobatch classify <&-", 2, "stdin is closed. Specify files or texts"),
        ("isobatch precisions <&-", 2, "stdin is closed. Specify files or texts"),
        (
            "isobatch evaluate - --label-column label <&-",
            2,
            "stdin is closed. Specify files or texts",
        ),
        ("isobatch nonsense 2>&-", 2, ""),
        ("isobatch nonsense 2> /dev/full", 2, ""),
        ("isobatch nonsense <&- >&- 2>&-", 2, ""),
        ("isobatch classify good > /dev/full", 6, "stdout: cannot be written: No space left"),
        ("isobatch run in.csv -o - > /dev/full", 6, "stdout: cannot be written: No space left"),
    ],
)
def test_a_closed_or_full_stream_is_one_line(
    command: str, code: int, words: str, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("text\na fine film\n")
    ran = shell(command, tmp_path)
    shown = ran.stderr.decode()
    assert ran.returncode == code, shown
    assert "Traceback" not in shown
    assert "Exception ignored" not in shown
    lines = [line for line in shown.splitlines() if line.startswith("isobatch: ")]
    assert len(lines) == bool(words)
    assert words in shown


def test_a_current_folder_that_was_deleted(tmp_path: Path) -> None:
    command = "mkdir gone && cd gone && rmdir ../gone && {} isobatch classify good"
    ran = shell(command.format(""), tmp_path)
    assert (ran.returncode, ran.stdout) == (2, b"")
    line, fix = ran.stderr.decode().split("Run: ")
    assert line == "isobatch: the current folder no longer exists. "
    assert shell(command.format(f"{fix.strip()} &&"), tmp_path).returncode == 0


def test_the_fix_that_a_closed_stdout_names(tmp_path: Path) -> None:
    ran = shell("isobatch --help > FILE", tmp_path)
    assert ran.returncode == 0
    assert "Usage" in (tmp_path / "FILE").read_text()


def test_a_reader_that_ends_early_is_a_success_for_files_too(tmp_path: Path) -> None:
    rows = b"a fine film\n" * 9_000
    script = "isobatch run - -o - -q | head -1 > /dev/null; echo ${PIPESTATUS[0]}"
    ran = shell(script, tmp_path, rows)
    assert ran.stdout == b"0\n"
    assert ran.stderr == b""


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_json_is_json_in_every_encoding(environment: dict[str, str], tmp_path: Path) -> None:
    text = "bad é 😀 \N{MATHEMATICAL BOLD CAPITAL A}"
    ran = shell(f"isobatch classify '{text}'", tmp_path, **environment)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["text"] == text
    assert ran.stdout.isascii()


def test_a_stream_that_the_caller_has_set_stays(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with standard_streams.checked_streams():
        assert sys.stdout is before


def test_a_process_without_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pythonw on Windows: the streams are None, whether or not the descriptors are open."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with standard_streams.checked_streams():
        assert not sys.stdin.isatty()
        sys.stdout.flush()
        sys.stderr.write("dropped")
        with pytest.raises(standard_streams.TableError):
            sys.stdout.write("lost")
        with pytest.raises(standard_streams.OptionError):
            sys.stdin.read()
    assert sys.stdout is None
