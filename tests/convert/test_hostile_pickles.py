"""A file that would run code, fill the memory or that has no state_dict is rejected by its name.

Nothing of it is executed: a file that acts would create a mark, and does so under the control.
"""

import json
import pickle
import shutil
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hostile_pickles import ACTING, CRAFTED, ODD
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import Tiny, TinyFolder
from torch.serialization import get_safe_globals, safe_globals

from isobatch.convert import convert_checkpoint
from isobatch.convert.restricted_pickle import read_pickle
from isobatch.errors import CheckpointError

BIN = "pytorch_model.bin"


@pytest.fixture
def folder(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A checkpoint without weights, in a folder of its own."""
    config = tiny_folder(Tiny("bert", num_layers=1)) / "config.json"
    (tmp_path / "place" / "model").mkdir(parents=True)
    return Path(shutil.copy(config, tmp_path / "place" / "model")).parent


def refusal(folder: Path) -> str:
    """Convert the folder: an error, and no other file next to it."""
    with pytest.raises(CheckpointError) as caught:
        convert_checkpoint(folder, folder.parent / "out")
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    return str(caught.value)


@pytest.mark.parametrize("name", [*ACTING, *CRAFTED])
@pytest.mark.parametrize("file", [BIN, "last.ckpt"])
def test_a_file_that_would_run_code_is_rejected_and_runs_none(
    name: str, file: str, folder: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "it ran"
    (ACTING | CRAFTED)[name](folder / file, mark)
    message = refusal(folder)
    assert message.startswith(f"{folder / file}: ")
    assert not mark.exists()
    assert "weights_only" not in message
    assert "add_safe_globals" not in message


@pytest.mark.parametrize("name", ACTING)
def test_the_control_each_file_does_act_when_it_is_unpickled(name: str, tmp_path: Path) -> None:
    ACTING[name](tmp_path / "file", tmp_path / "mark")
    if "pickle" in name:
        pickle.loads((tmp_path / "file").read_bytes())
    else:
        torch.load(tmp_path / "file", weights_only=False)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("system", "posix.system"),
        ("evaluated", "eval"),
        ("state_setter", "torch.nn.modules.linear"),
    ],
)
def test_the_message_names_what_the_file_would_call(name: str, named: str, folder: Path) -> None:
    (ACTING | CRAFTED)[name](folder / BIN, folder / "mark")
    message = refusal(folder)
    assert f"it names {named}" in message
    assert "nothing in it was executed" in message


def test_what_the_process_allowed_in_pickles_does_not_count(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    ACTING["evaluated"](folder / BIN, mark)
    with safe_globals([eval]):
        before = {*get_safe_globals()}
        refusal(folder)
        assert not mark.exists()
        assert {*get_safe_globals()} == before
        torch.load(folder / BIN, weights_only=True)
        assert mark.exists(), "the control: torch itself calls it now"


def test_no_variable_of_the_environment_lifts_the_restriction(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    ACTING["evaluated"](folder / BIN, tmp_path / "it ran")
    refusal(folder)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("name", ODD)
def test_a_file_without_a_state_dict_is_described(name: str, folder: Path) -> None:
    write, says = ODD[name]
    write(folder / BIN)
    assert says in refusal(folder)


@given(st.data())
def test_damage_anywhere_is_an_error_of_the_checkpoint_or_changes_numbers_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    legacy = data.draw(st.booleans())
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=not legacy)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 5000)) % len(content)] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(CheckpointError):
        read_pickle(path)


# --------------------------------------------------------------------------------------- indexes


@pytest.mark.parametrize(
    "name", ["../elsewhere.bin", "/etc/passwd", "sub/part.bin", "..", "./part.bin"]
)
def test_an_index_names_no_file_outside_of_its_folder(name: str, folder: Path) -> None:
    torch.save({"a": torch.ones(2)}, folder.parent.parent / "elsewhere.bin")
    index = {"weight_map": {"a": name}}
    (folder / f"{BIN}.index.json").write_text(json.dumps(index))
    message = refusal(folder)
    assert "names shards that are not files of its folder" in message
    assert name in message


def test_shards_have_exactly_the_tensors_of_their_index(folder: Path) -> None:
    torch.save({"a": torch.ones(2), "more": torch.ones(2)}, folder / "part.bin")
    index = {"weight_map": {"a": "part.bin", "b": "part.bin"}}
    (folder / f"{BIN}.index.json").write_text(json.dumps(index))
    assert "disagree about b, more" in refusal(folder)
    (folder / "part.bin").unlink()
    assert "names shards that do not exist: part.bin" in refusal(folder)


# --------------------------------------------------------------------------------------- versions


def test_the_torch_that_is_required_has_the_repaired_reader() -> None:
    """CVE-2025-32434 is repaired in 2.6, CVE-2026-24747 in 2.10."""
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    required = next(each for each in project["dependencies"] if each.startswith("torch>="))
    assert tuple(map(int, required.removeprefix("torch>=").split("."))) >= (2, 10)


def test_only_one_file_of_the_package_opens_pickles_of_others() -> None:
    package = Path(__file__).parents[2] / "isobatch"
    loading = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "torch.load(" in path.read_text() or "pickle.load" in path.read_text()
    }
    assert {"convert/restricted_pickle.py"} == loading
