"""`isobatch evaluate` as a shell sees it."""

import json
import shlex
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


def test_a_scored_file_is_evaluated_without_a_model(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = tmp_path / "scored.csv"
    assert run("run", str(labelled), "-o", str(scored), "--prefix", "p_", "-q").returncode == 0
    monkeypatch.setattr("isobatch.Classifier.from_pretrained", None)
    arguments = ["evaluate", "--scores-from", str(scored), "--label-column", "label"]
    mapped = ["--label-map", "1=POSITIVE", "--label-map", "0=NEGATIVE"]
    page = tmp_path / "page.html"
    ran = run(*arguments, *mapped, "--by", "label", "--html", str(page))
    assert (ran.returncode, ran.stderr) == (0, b"")
    evaluation = json.loads(ran.stdout)
    assert (evaluation["num_texts"], evaluation["num_correct"]) == (3, 2)
    assert [each["num_texts"] for each in evaluation["slices"]] == [1, 2]
    assert "Matthews correlation" in page.read_text(encoding="utf-8")
    both = run("evaluate", str(labelled), *arguments[1:], *mapped)
    assert json.loads(both.stdout)["num_correct"] == 2
    for option, value in (("--threads", "2"), ("--on-empty", "error"), ("--revision", "v9")):
        refused = run(*arguments, option, value)
        assert (refused.returncode, option.encode() in refused.stderr) == (2, True)


def test_the_label_map_of_the_message_fixes_it(tmp_path: Path) -> None:
    """The advice of the message is followed, word by word."""
    file = tmp_path / "d.csv"
    file.write_text("text,label\na fine film,pos\na dull film,neg\n")
    arguments = ["evaluate", str(file), "--label-column", "label"]
    message = run(*arguments).stderr.decode()
    assert "'pos' (d.csv:2)" in message
    fixed = run(*arguments, *shlex.split(message[message.index("--label-map") :]))
    assert (fixed.returncode, json.loads(fixed.stdout)["num_correct"]) == (0, 2)


def test_rows_that_are_not_counted_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text("text,label\na fine film,1.0\na dull film,\nno,7\n")
    arguments = ["evaluate", str(file), "--label-column", "label"]
    message = run(*arguments).stderr.decode()
    assert "d.csv:3" in message
    message = run(*arguments, "--skip-unlabelled").stderr.decode()
    assert "'7' (d.csv:4)" in message
    ran = run(*arguments, "--skip-unlabelled", "--on-bad-label", "row")
    assert ran.returncode == 0
    for part in ("1 row without a label", "1 row not evaluated", "d.csv:4", "1.0 as the index 1"):
        assert part in ran.stderr.decode()
    shown = run_on_terminal(*arguments, "--skip-unlabelled", "--on-bad-label", "row", "--quiet")
    for part in ("0 truncated, 1 error, 1 without a label", "ROC AUC – (undefined: only one label"):
        assert part in shown


@pytest.mark.parametrize("place", ["/nowhere/x.html", "/", "{file}"])
def test_the_page_is_checked_before_anything_is_computed(
    place: str, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobatch.Classifier.from_pretrained", None)
    page = place.format(file=labelled)
    ran = run("evaluate", str(labelled), "--label-column", "label", "--html", page)
    assert ran.returncode == (2 if place == "{file}" else 6)
    assert page in ran.stderr.decode()
    assert labelled.read_text() == ROWS
