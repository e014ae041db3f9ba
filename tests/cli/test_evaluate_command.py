"""`isobatch evaluate` as a shell sees it."""

import json
from pathlib import Path

import pytest
from shell import run, run_on_terminal

ROWS = "text,label\na fine film,1\na dull film,0\nwhat a mess,1\n"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "dev.csv"
    path.write_text(ROWS)
    return path


def test_json_and_a_page(labelled: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ran = run("evaluate", str(labelled), "--label-column", "label", "--html", str(page))
    assert (ran.returncode, ran.stderr) == (0, b"")
    evaluation = json.loads(ran.stdout)
    assert (evaluation["num_texts"], evaluation["num_correct"]) == (3, 2)
    assert evaluation["mistakes"][0]["text"] == "what a mess"
    assert evaluation["facts"]["precision"] == "fp32 (the default)"
    assert "what a mess" in page.read_text(encoding="utf-8")


def test_people_get_tables(labelled: Path) -> None:
    shown = run_on_terminal("evaluate", str(labelled), "--label-column", "label")
    for words in ("accuracy 66.67%", "2 of 3", "macro F1", "NEGATIVE", "│", "what a mess"):
        assert words in shown


def test_rows_come_from_stdin_too(labelled: Path) -> None:
    arguments = ["evaluate", "-", "--format", "csv", "--label-column", "label"]
    ran = run(*arguments, stdin=ROWS.encode())
    assert json.loads(ran.stdout)["mistakes"][0]["place"] == "stdin:4"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["evaluate", "{file}"], 2, "label-column"),
        (["evaluate", "{file}", "--label-column", "gold"], 2, "gold"),
        (["evaluate", "{file}", "--label-column", "text"], 3, "a fine film"),
        (["evaluate", "{file}.gone", "--label-column", "label"], 6, "gone"),
        (["evaluate", "{file}", "--label-column", "label", "--html", "/proc/no/x"], 6, "/proc/no"),
    ],
)
def test_errors_have_their_exit_code(
    arguments: list[str], code: int, words: str, labelled: Path
) -> None:
    ran = run(*(argument.format(file=labelled) for argument in arguments))
    assert ran.returncode == code, ran.stderr.decode()
    assert words in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
