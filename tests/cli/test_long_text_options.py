"""--truncation window, --stride and --window-pooling, in every command that has them."""

import json
from pathlib import Path

import pytest
from shell import run
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

from isobatch import Classifier, TextWindows

LONG = "Today is a nice day but what about tomorrow " * 12
WINDOWS = ("--truncation", "window", "--stride", "5", "--window-pooling", "max")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long") / "tiny"
    return write_wordpiece_folder(
        write_checkpoint(folder, Tiny("bert")), options={"model_max_length": 24}
    )


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    path.write_text(f"text,gold\na nice day,0\n{LONG},1\n")
    return path


def test_classify_says_in_how_many_windows_a_text_was_read(checkpoint: Path) -> None:
    ran = run("classify", "--model", str(checkpoint), *WINDOWS, "a nice day", LONG)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    expected = Classifier.from_pretrained(checkpoint, truncation=TextWindows(5, "max"))
    assert [answer.pop("text") for answer in answers] == ["a nice day", LONG]
    assert answers == [each.to_dict() for each in expected(["a nice day", LONG])]
    assert answers[0]["num_windows"] == 1 < answers[1]["num_windows"]
    assert ran.stderr == b""


def test_the_first_window_is_reported_as_a_cut(checkpoint: Path) -> None:
    options = ("--truncation", "window", "--window-pooling", "first")
    ran = run("classify", "--model", str(checkpoint), *options, LONG)
    assert ran.stderr.decode() == "1 of 1 text was truncated to 24 tokens\n"


def test_options_are_environment_variables_too(checkpoint: Path) -> None:
    variables = {"TRUNCATION": "window", "STRIDE": "5", "WINDOW_POOLING": "max"}
    named = {f"ISOBATCH_{name}": value for name, value in variables.items()}
    given = run("classify", "--model", str(checkpoint), *WINDOWS, LONG)
    assert run("classify", "--model", str(checkpoint), LONG, **named).stdout == given.stdout


def test_evaluate_reads_all_of_a_text(checkpoint: Path, labelled: Path) -> None:
    command = ("evaluate", str(labelled), "--label-column", "gold", "--model", str(checkpoint))
    cut, whole = (json.loads(run(*command, *given).stdout) for given in ((), WINDOWS))
    assert (cut["num_truncated"], whole["num_truncated"]) == (1, 0)
    assert cut["mean_confidence"] != whole["mean_confidence"]
    said = cut["facts"]["long texts"], whole["facts"]["long texts"]
    assert said == (
        "cut to 24 tokens",
        "read in windows of 24 tokens, which share 5; pooling: max",
    )


def test_run_writes_the_number_of_windows_and_resumes_only_with_the_same_options(
    checkpoint: Path, labelled: Path, tmp_path: Path
) -> None:
    command = ("run", str(labelled), "-o", str(tmp_path / "out.jsonl"), "--model", str(checkpoint))
    assert run(*command, *WINDOWS).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = Classifier.from_pretrained(checkpoint)(
        [row["text"] for row in rows], truncation=TextWindows(5, "max")
    )
    assert [row["num_windows"] for row in rows] == [each.num_windows for each in expected]
    assert [row["score"] for row in rows] == [each.score for each in expected]
    ran = run(*command, *WINDOWS[:3], "6", *WINDOWS[4:])
    assert ran.returncode != 0
    assert "--stride changed (truncation.stride: was 5, is 6)" in ran.stderr.decode()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--stride", "5"), "--stride is for windows. Add --truncation window"),
        (("--truncation", "cut", "--window-pooling", "max"), "--window-pooling is for windows."),
        (("--truncation", "window", "--stride", "22"), "stride must be less than 22"),
        (("--truncation", "window", "--stride", "-1"), "--stride"),
        (("--truncation", "window", "--window-pooling", "median"), "--window-pooling"),
    ],
)
@pytest.mark.parametrize("command", ["classify", "evaluate", "run", "serve"])
def test_options_without_an_effect_and_invalid_ones_are_errors(
    command: str, options: tuple[str, ...], words: str, checkpoint: Path, labelled: Path
) -> None:
    names = {
        "classify": ["text"],
        "evaluate": [str(labelled), "--label-column", "gold"],
        "run": [str(labelled), "-o", str(labelled.with_name("out.csv"))],
        "serve": ["--port", "0", str(checkpoint)],
    }
    model = () if command == "serve" else ("--model", str(checkpoint))
    ran = run(command, *names[command], *model, *options)
    assert ran.returncode == 2
    assert words in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
