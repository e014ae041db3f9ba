"""`isobatch convert` from a shell."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shell import run

from isobatch.checkpoint import bundled_folder

BIN, SINGLE = "pytorch_model.bin", "model.safetensors"


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled checkpoint as a trainer saves it: a prefix, gamma and beta, its own state."""
    folder = tmp_path_factory.mktemp("pickled") / "model"
    shutil.copytree(bundled_folder(), folder)
    held = {f"module.{name}": tensor for name, tensor in load_file(folder / SINGLE).items()}
    named = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in held.items()
    }
    torch.save({"state_dict": named, "epoch": 3}, folder / BIN)
    (folder / SINGLE).unlink()
    return folder


def test_the_output_gives_the_bytes_of_the_original(pickled: Path, tmp_path: Path) -> None:
    refused = run("classify", "--model", str(pickled), "A nice day")
    assert refused.returncode == 4
    assert f"isobatch convert {pickled} {pickled}-converted" in refused.stderr.decode()
    ran = run("convert", str(pickled), str(tmp_path / "out"))
    assert (ran.returncode, ran.stderr) == (0, b"")
    lines = ran.stdout.decode().splitlines()
    assert lines[0].startswith(f"read: {BIN} (")
    assert "begin with 'module.' (torch.nn.DataParallel); gamma and beta" in lines[1]
    assert lines[2] == "dropped: epoch (not a tensor of the model)"
    assert lines[3].startswith(f"{tmp_path / 'out'}: distilbert, text-classification, ")
    answers = [
        run("classify", "--model", str(model), "A nice day", "Not at all").stdout
        for model in (bundled_folder(), tmp_path / "out")
    ]
    assert answers[0] == answers[1]


def test_json_has_the_whole_report(pickled: Path, tmp_path: Path) -> None:
    ran = run("convert", str(pickled), str(tmp_path / "out"), "--json")
    report = json.loads(ran.stdout)
    written = report["written"]
    assert report["read"] == [BIN]
    assert written["dropped"] == {"epoch": "not a tensor of the model"}
    assert written["renamed"]["module.classifier.weight"] == "classifier.weight"
    assert sum(written["dtypes"].values()) == written["num_tensors"]
    assert report["out_bytes"] == (tmp_path / "out" / SINGLE).stat().st_size


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["convert"], 2, "FOLDER_OR_ID"),
        (["convert", "{pickled}"], 2, "OUT"),
        (["convert", "{pickled}", "{pickled}"], 2, "is the checkpoint itself"),
        (["convert", "{pickled}", "{out}", "--base", "x"], 2, "base is for adapters"),
        (["convert", "{pickled}", "{out}", "--drop", "x."], 2, "--drop x.: no tensor"),
        (["convert", "{pickled}", "{out}", "--drop", "module.classifier."], 4, "no sequence"),
        (["convert", "./missing", "{out}"], 4, "./missing"),
        (["convert", "{pickled}", "/proc/nowhere/out"], 4, "cannot be written"),
    ],
)
def test_errors_have_their_exit_code(
    arguments: list[str], code: int, words: str, pickled: Path, tmp_path: Path
) -> None:
    ran = run(*(each.format(pickled=pickled, out=tmp_path / "out") for each in arguments))
    assert ran.returncode == code, ran.stderr.decode()
    assert words in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
    assert not (tmp_path / "out").exists()
