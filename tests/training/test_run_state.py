"""The saved state of a run: two generations, of which a damaged one costs no more than itself."""

import errno
import json
from pathlib import Path

import pytest
import torch

from isobatch.errors import JobError
from isobatch.training.steps import state as state_module
from isobatch.training.steps.state import RunState, StateFolder

NEWER = "state-1.safetensors"


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"weight.a": torch.full((3, 4), float(step)), "mean.a": torch.ones(5) * step}


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """With the generations of steps 1 and 2, and the best weights of step 1."""
    folder = StateFolder(tmp_path / "state")
    assert folder.load() is None
    folder.save_best(1, tensors(1))
    for step in (1, 2):
        folder.save(RunState(step=step, best_step=1, events=[{"step": step}]), tensors(step))
    return folder


def loaded_step(folder: StateFolder) -> int:
    loaded = folder.load()
    assert loaded is not None
    state, found = loaded
    assert found.keys() == tensors(0).keys()
    assert all(torch.equal(each, tensors(state.step)[name]) for name, each in found.items())
    assert state.events == [{"step": state.step}]
    return state.step


def test_the_newest_generation_is_loaded(folder: StateFolder) -> None:
    assert loaded_step(folder) == 2
    folder.save(RunState(step=3, best_step=1, events=[{"step": 3}]), tensors(3))
    assert loaded_step(folder) == 3
    assert torch.equal(folder.load_best(RunState(best_step=1))["mean.a"], torch.ones(5))
    assert not list(folder.folder.glob("*.partial"))


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    changed = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "zeros": bytes(len(content)),
        "a bit": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    }
    path.write_bytes(changed[kind])


@pytest.mark.parametrize("kind", ["cut", "empty", "zeros", "a bit"])
def test_a_damaged_generation_is_not_loaded_and_is_the_next_to_be_written(
    folder: StateFolder, kind: str
) -> None:
    damage(folder.folder / NEWER, kind)
    assert loaded_step(folder) == 1
    if kind == "a bit":
        return  # found by its digest alone, when it is loaded
    folder.save(RunState(step=5, best_step=1, events=[{"step": 5}]), tensors(5))
    assert loaded_step(folder) == 5
    damage(folder.folder / NEWER, kind)
    assert loaded_step(folder) == 1, "the intact one was kept"


def test_two_damaged_generations_are_an_error_and_not_a_new_beginning(folder: StateFolder) -> None:
    for path in folder.folder.glob("state-*"):
        damage(path, "cut")
    with pytest.raises(JobError, match=r"the saved state is damaged\..* --restart"):
        folder.load()


def test_a_full_disk_leaves_the_last_generation(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object, path: Path, __: object) -> None:
        path.write_bytes(b"half")
        raise state_module.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(state_module, "save_file", fail)
    with pytest.raises(JobError, match=r"No space left on device\. Free some space") as raised:
        folder.save(RunState(step=3), tensors(3))
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOSPC
    assert loaded_step(folder) == 2
    assert not list(folder.folder.glob("*.partial"))


def test_best_weights_stay_as_long_as_a_generation_names_them(folder: StateFolder) -> None:
    folder.save_best(3, tensors(3))
    folder.save(RunState(step=3, best_step=3, events=[]), tensors(3))
    assert {path.name for path in folder.folder.glob("best-*")} == {
        "best-1.safetensors",
        "best-3.safetensors",
    }
    folder.save(RunState(step=4, best_step=3, events=[]), tensors(4))
    assert {path.name for path in folder.folder.glob("best-*")} == {"best-3.safetensors"}
    with pytest.raises(JobError, match=r"best-1\.safetensors: cannot be read"):
        folder.load_best(RunState(best_step=1))


def test_as_many_events_as_a_header_could_not_hold(folder: StateFolder) -> None:
    events = [{"event": "step", "filler": "x" * 1000}] * 110_000
    folder.save(RunState(step=9, best_step=1, events=events), tensors(9))
    loaded = folder.load()
    assert loaded is not None
    assert len(json.dumps(loaded[0].events)) > 100_000_000
