"""Empty texts and white space: marked and counted, and errors on request."""

import json
from pathlib import Path

import pytest
from jobs.small_jobs import command, read_rows, small_checkpoint

from isobatch.errors import InputError, OptionError
from isobatch.jobs import ScoringOptions
from isobatch.scoring import InputColumns
from isobatch.scoring.predictions import read_inputs
from isobatch.tables import TableChunk
from isobatch.types import TextInput

CELLS = ["nice", "", "   ", None, "\t\u3000", "nice"]
EMPTY = [False, True, True, None, True, False]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": cell}) + "\n" for cell in CELLS))
    return path


def test_empty_texts_are_scored_marked_and_counted(
    rows: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, report = rows.with_name("out.jsonl"), rows.with_name("report.json")
    arguments = ("run", rows, "-o", output, "--model", checkpoint, "--report", report)
    assert command(*arguments) == 0
    found = read_rows(output)
    assert [row["empty"] for row in found] == EMPTY
    assert [row["label"] is None for row in found] == [cell is None for cell in CELLS]
    assert "1 with an error, 3 empty or white space," in capfd.readouterr().err
    assert json.loads(report.read_bytes())["empty"] == 3


def test_empty_texts_are_errors_on_request(
    rows: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = rows.with_name("out.jsonl")
    arguments = ("run", rows, "-o", output, "--model", checkpoint, "--on-empty", "error")
    assert command(*arguments) == 0
    found = read_rows(output)
    assert [row["error"] for row in found] == [
        None,
        "text is empty or white space",
        "text is empty or white space",
        "text is null",
        "text is empty or white space",
        None,
    ]
    assert found[0]["score"] == found[-1]["score"] is not None
    said = capfd.readouterr().err
    assert "4 with an error, 3 empty or white space," in said
    assert command(*arguments, "--restart", "--on-error", "stop") == 3
    assert "rows.jsonl:2: text is empty or white space" in capfd.readouterr().err


def test_either_text_of_a_pair_may_be_empty(tmp_path: Path, checkpoint: Path) -> None:
    rows, output = tmp_path / "rows.csv", tmp_path / "out.jsonl"
    rows.write_text("text,other\nnice,good\n,good\nnice, \n,\n")
    arguments = ("run", rows, "-o", output, "--model", checkpoint, "--pair-column", "other")
    assert command(*arguments) == 0
    assert [row["empty"] for row in read_rows(output)] == [False, True, True, True]
    assert command(*arguments, "--on-empty", "error", "--restart") == 0
    errors = [row["error"] for row in read_rows(output)]
    assert errors == [
        None,
        *(f"{name} is empty or white space" for name in ("text", "other", "text")),
    ]


def test_a_job_is_not_resumed_with_the_other_choice(
    rows: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("run", rows, "-o", rows.with_name("out.jsonl"), "--model", checkpoint)
    assert command(*arguments) == 0
    capfd.readouterr()
    assert command(*arguments, "--on-empty", "error") == 7
    said = capfd.readouterr().err
    assert '--on-empty changed (on_empty: was "score", is "error")' in said


def test_the_texts_of_a_chunk_are_read_once_to_score_and_mark_them(
    rows: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counting(chunk: TableChunk, columns: InputColumns) -> list[TextInput | InputError]:
        read.append(len(chunk))
        return read_inputs(chunk, columns)

    monkeypatch.setattr("isobatch.scoring.predictions.read_inputs", counting)
    output = rows.with_name("out.jsonl")
    assert command("run", rows, "-o", output, "--model", checkpoint) == 0
    assert read == [len(CELLS)]
    assert [row["empty"] for row in read_rows(output)] == EMPTY


def test_another_choice_is_an_error() -> None:
    with pytest.raises(OptionError, match="on_empty must be 'score' or 'error', got 'skip'"):
        ScoringOptions(on_empty="skip")  # type: ignore[arg-type]
