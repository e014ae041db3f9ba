"""The output folder of a training: whose saved work it is, and what its record says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isobatch.checkpoint import locate_checkpoint, read_config, require_free
from isobatch.errors import JobError, NotVerifiableError, OptionError
from isobatch.training import train_record
from isobatch.training.data.dataset import LabelledTexts
from isobatch.training.fine_tuning import TrainingRequest
from isobatch.training.recipe import Recipe, RecipeOptions, complete_recipe
from isobatch.training.recipe_text import GROUPS
from isobatch.training.run_folder import RunFolder
from isobatch.training.train_record import make_record, read_options, read_record

TEXTS = LabelledTexts(["a film", "a play"], ["pos", "neg"], None, ["r.csv:2", "r.csv:3"])
BUNDLED = locate_checkpoint(None)


def recipe(**options: Any) -> Recipe:
    config = read_config(BUNDLED)
    return complete_recipe(RecipeOptions(**options), "single", config, len(TEXTS))


def record_of(request: TrainingRequest, **options: Any) -> dict[str, Any]:
    return make_record(request, recipe(**options), ["neg", "pos"])


@pytest.fixture
def request_for(tmp_path: Path) -> TrainingRequest:
    return TrainingRequest(None, tmp_path / "out", TEXTS)


def test_work_is_resumed_by_an_equal_run(request_for: TrainingRequest) -> None:
    folder, same = RunFolder(request_for.out), record_of(request_for)
    with folder.locked():
        assert folder.open(same) == "new"
        assert folder.open(record_of(request_for, seed=1)) == "new", "there is no work yet"
        assert folder.open(same) == "new"
        folder.state.mkdir()
        assert folder.open(record_of(request_for)) == "interrupted"
        elsewhere = replace(TEXTS, places=["s.csv:9", "s.csv:8"])
        assert folder.open(record_of(replace(request_for, texts=elsewhere))) == "interrupted"
        assert folder.open(record_of(replace(request_for, threads=7))) == "interrupted"
    assert not request_for.out.exists()


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (replace(TEXTS, texts=["a film", "a poem"]), "texts.training.sha256: was"),
        (replace(TEXTS, values=["pos", "pos"]), "texts.training.sha256: was"),
        (replace(TEXTS, weights=[1.0, 2.0]), "texts.training.sha256: was"),
    ],
)
def test_other_texts_are_another_run(
    texts: LabelledTexts, words: str, request_for: TrainingRequest
) -> None:
    folder = RunFolder(request_for.out)
    with folder.locked():
        folder.open(record_of(request_for))
        (folder.state / "x").parent.mkdir()
        with pytest.raises(JobError, match=words):
            folder.open(record_of(replace(request_for, texts=texts)))
        assert folder.state.exists()
        assert folder.open(record_of(replace(request_for, texts=texts)), restart=True) == "new"
        assert not folder.state.exists()


def test_other_options_weights_and_shares_are_another_run(request_for: TrainingRequest) -> None:
    folder = RunFolder(request_for.out)
    changed = [
        (record_of(request_for, seed=1), "options.seed: was 0, is 1"),
        (
            record_of(replace(request_for, validation_share=0.2)),
            "options.validation_share: was 0.1, is 0.2",
        ),
        (record_of(replace(request_for, class_weights="balanced")), "class_weights"),
        (record_of(replace(request_for, validation=TEXTS)), "validation"),
        (record_of(request_for) | {"environment": {"torch": "0.1"}}, "environment.torch"),
    ]
    with folder.locked():
        folder.open(record_of(request_for))
        folder.state.mkdir()
        for other, words in changed:
            with pytest.raises(JobError, match=words):
                folder.open(other)


def test_two_runs_do_not_share_a_folder(request_for: TrainingRequest) -> None:
    with (
        RunFolder(request_for.out).locked(),
        pytest.raises(JobError, match="another training is writing it"),
        RunFolder(request_for.out).locked(),
    ):
        pass
    with RunFolder(request_for.out).locked():
        pass


def test_files_of_others_are_never_replaced(request_for: TrainingRequest) -> None:
    request_for.out.mkdir()
    RunFolder(request_for.out).check()  # an empty folder is a place to write to
    (request_for.out / "thesis.md").write_text("years of work")
    with pytest.raises(JobError, match="not of a training"):
        RunFolder(request_for.out).open(record_of(request_for), restart=True)
    for content, words in (("[1]", "not of a training"), ('{"base": "x"}', "of another run")):
        (request_for.out / "train.json").write_text(content)
        with pytest.raises(JobError, match=words):
            RunFolder(request_for.out).open(record_of(request_for))


# ------------------------------------------------------------------------------ train.json


def write_record(request: TrainingRequest, **more: object) -> None:
    request.out.mkdir(exist_ok=True)
    record = record_of(request, epochs=4) | {"model_sha256": "0"} | more
    (request.out / "train.json").write_text(json.dumps(record))


def test_a_record_is_complete_and_read_back(request_for: TrainingRequest) -> None:
    write_record(request_for)
    record = read_record(request_for.out)
    assert (record.base, record.model_sha256, record.files) == (None, "0", ())
    again = complete_recipe(record.recipe_options, "single", read_config(BUNDLED), 10**6)
    assert again == recipe(epochs=4)


@pytest.mark.parametrize("base", ["folder", "hub/name", None])
def test_a_base_is_found_again_from_the_record(
    base: str | None, request_for: TrainingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = request_for.out.parent / "base"
    if base == "folder":
        place.symlink_to(BUNDLED)
        base = str(place)
    else:
        monkeypatch.setattr(train_record, "locate_checkpoint", lambda base, _revision: BUNDLED)
    write_record(replace(request_for, base=base))
    assert str(request_for.out.parent) not in (request_for.out / "train.json").read_text()
    found = read_options(request_for.out / "train.json").get("base")
    assert found == (str(BUNDLED.resolve()) if base == str(place) else base)


def test_an_incomplete_record_says_what_is_missing(request_for: TrainingRequest) -> None:
    write_record(request_for)
    path = request_for.out / "train.json"
    content = json.loads(path.read_text())
    for name in ("base", "options", "files", "environment", "model_sha256"):
        path.write_text(json.dumps({n: each for n, each in content.items() if n != name}))
        with pytest.raises(NotVerifiableError, match=f"'{name}' is missing"):
            read_record(request_for.out)
    path.write_text(json.dumps(content | {"record": 1, "manifest": {"labels": []}}))
    assert read_record(request_for.out).model_sha256 == "0"
    path.write_text(json.dumps(content | {"record": 99}))
    with pytest.raises(NotVerifiableError, match="another version"):
        read_record(request_for.out)
    path.write_text(json.dumps({"record": 1}))
    with pytest.raises(OptionError, match="is missing"):
        read_options(path)


def test_every_value_of_a_recipe_is_in_a_line() -> None:
    named = [name for names in GROUPS.values() for name in names]
    assert sorted(["task", *named]) == sorted(recipe().as_dict())


def test_an_output_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match=r"model: the folder .*file is not writable"):
        RunFolder(tmp_path / "file/model").check()
    RunFolder(tmp_path / "new/folder").check()
    monkeypatch.setattr("os.access", lambda *_: False)  # as it is for everyone but root
    with pytest.raises(JobError, match=r"new: the folder .* is not writable"):
        RunFolder(tmp_path / "new").check()


def test_a_restart_does_not_delete_files_of_others(request_for: TrainingRequest) -> None:
    out, folder = request_for.out, RunFolder(request_for.out)
    out.mkdir()
    (out / "train.json").write_text(json.dumps({"written": ["train.json", "config.json"]}))
    (out / "config.json").write_text("{}")
    with folder.locked():
        assert folder.open(record_of(request_for), restart=True) == "new"
        (out / "notes.txt").write_text("mine")
        with pytest.raises(JobError, match=r"holds notes\.txt, .* --restart would delete"):
            folder.open(record_of(request_for), restart=True)
    assert (out / "notes.txt").exists()


def test_an_output_in_that_of_a_training_is_refused(tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "train.json").write_text("{}")
    RunFolder(trained / "sub").check()  # a file of texts may have the name
    (trained / "model.safetensors").touch()
    with pytest.raises(JobError, match=r"is in .*trained, the output of another training"):
        RunFolder(trained / "deep" / "sub").check()
    RunFolder(trained).check()
    with pytest.raises(OptionError, match=r"is in .*trained, the output of a training"):
        require_free(trained / "sub", BUNDLED)


def test_a_folder_without_a_record_has_one_fix(tmp_path: Path) -> None:
    with pytest.raises(NotVerifiableError, match=r"cannot be read: [^.]*\. Specify the output"):
        read_record(tmp_path)
