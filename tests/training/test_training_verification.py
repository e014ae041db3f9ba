"""Verification of a training: reproduced, not reproduced, or not verifiable."""

import json
from pathlib import Path

import pytest
from training.stand_in_training import StandIn

from isobatch.errors import NotVerifiableError, OptionError
from isobatch.tables import CsvDialect, TableFile
from isobatch.training import training_verification
from isobatch.training.data.dataset import LabelledColumns
from isobatch.training.data.labelled_source import LabelledSource, find_sources
from isobatch.training.fine_tuning import TrainingRequest
from isobatch.training.training_verification import verify_training


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that was trained from a file in a dialect, with a validation file."""
    stand_in = StandIn()
    monkeypatch.setattr(training_verification, "train", stand_in.train)
    (tmp_path / "rows.txt").write_text("a film;pos;2\na play;neg;1\n", encoding="utf-16")
    (tmp_path / "held_out.csv").write_text("column_1,column_2\nmore,pos\n")
    dialect = CsvDialect(header=False, delimiter=";")
    table = TableFile(tmp_path / "rows.txt", "csv", "none", dialect, "utf-16")
    columns = LabelledColumns("column_1", labels=("column_2",), weight="column_3")
    rows = LabelledSource("training", (table,), columns)
    held_out = TableFile(tmp_path / "held_out.csv", "csv", "none")
    more = LabelledSource("validation", (held_out,), LabelledColumns(labels=("column_2",)))
    texts, validation, out = rows.read(), more.read(), tmp_path / "out"
    files = [*rows.describe(texts, out), *more.describe(validation, out)]
    stand_in.train(TrainingRequest(None, out, texts, validation, files=tuple(files)))
    return out


def edit(folder: Path, **changes: object) -> None:
    path = folder / "train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_texts_of_a_record_are_those_of_the_training(trained: Path) -> None:
    found = verify_training(trained)
    assert (found.is_reproduced, found.problems, found.notes) == (True, (), ())


def test_other_weights_are_not_reproduced(trained: Path) -> None:
    record = json.loads((trained / "train.json").read_text())
    edit(trained, options=record["options"] | {"seed": 1})
    found = verify_training(trained)
    assert not found.is_reproduced
    assert found.computed != found.recorded
    assert "trained again, SHA-256 is" in found.problems[0]


def test_other_weights_in_another_environment_say_nothing(trained: Path) -> None:
    record = json.loads((trained / "train.json").read_text())
    edit(trained, environment=record["environment"] | {"torch": "0.1", "processor": "another"})
    found = verify_training(trained)
    assert (found.is_reproduced, len(found.notes)) == (True, 1)
    assert "torch was 0.1" in found.notes[0]
    edit(trained, options=record["options"] | {"seed": 1})
    with pytest.raises(NotVerifiableError, match=r"the environment differs: torch was 0\.1"):
        verify_training(trained)


def test_a_changed_base_cannot_be_verified(trained: Path) -> None:
    with pytest.raises(NotVerifiableError, match="specify it with --base"):
        verify_training(trained, base="./nowhere")
    edit(trained, base={"source": None, "sha256": "0"})
    with pytest.raises(NotVerifiableError, match=r"its base .* has changed"):
        verify_training(trained)


def test_texts_from_python_and_from_stdin_cannot_be_read_again(trained: Path) -> None:
    files = json.loads((trained / "train.json").read_text())["files"]
    edit(trained, files=[files[0] | {"path": None}, files[1]])
    with pytest.raises(NotVerifiableError, match="stdin, which is not kept"):
        verify_training(trained)
    names = ["rows.txt", "held_out.csv"]
    moved = [trained.parent / name for name in names]
    assert verify_training(trained, moved=moved).is_reproduced
    with pytest.raises(OptionError, match="2 files, got 1"):
        find_sources(files, trained, moved[:1])
    with pytest.raises(NotVerifiableError, match="has changed"):
        find_sources(files, trained, moved[::-1])
    edit(trained, files=[])
    with pytest.raises(NotVerifiableError, match="from Python"):
        verify_training(trained)
