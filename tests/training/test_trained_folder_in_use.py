"""A trained folder is a checkpoint like any other: each command takes it without another option."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.shell import run
from serve.served import client_of
from tiny_checkpoints import Tiny, TinyFolder
from training.trained_models import make_trained
from training.whole_checkpoints import write_whole

from isobatch import Classifier
from isobatch.training.output.trained_folder import write_trained_folder
from isobatch.training.output.trained_model import TrainedModel
from isobatch.training.recipe import TrainingTask

Finished = Callable[[TrainingTask], tuple[TrainedModel, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_folder: TinyFolder) -> Finished:
    root = tmp_path_factory.mktemp("finished")
    base = write_whole(root / "tiny", Tiny("bert"), tiny_folder)

    def make(task: TrainingTask) -> tuple[TrainedModel, str]:
        trained = make_trained(base, task, number=400)
        if not (root / task).exists():
            write_trained_folder(root / task, trained, report=False)
        return trained, str(root / task)

    return make


@pytest.mark.parametrize("task", ["single", "multi", "regression"])
def test_classify_and_the_server_give_the_scores_of_the_validation(
    finished: Finished, task: TrainingTask
) -> None:
    trained, folder = finished(task)
    text = trained.validation_texts[0]
    assert isinstance(text, str)
    ran = run("classify", "--model", folder, "--json", text)
    assert (ran.returncode, ran.stderr) == (0, b"")
    shown = json.loads(ran.stdout.splitlines()[0])
    assert shown["logits"] == trained.calibrated.after.logits[0].tolist()
    with client_of(Classifier.from_pretrained(folder)) as client:
        (served,) = client.post("/predict", json={"inputs": [text]}).json()
    found = served if isinstance(served, list) else [served]
    assert found[0]["label"] == shown["label"]
    assert found[0]["score"] == pytest.approx(shown["score"], abs=1e-6)


def test_evaluate_confirms_the_numbers_of_the_card(finished: Finished, tmp_path: Path) -> None:
    trained, folder = finished("single")
    labels = [trained.scheme.labels[row] for row in trained.validation.targets.argmax(axis=1)]
    with (tmp_path / "held.csv").open("w", newline="") as file:
        rows = zip(trained.validation_texts, labels, strict=True)
        csv.writer(file).writerows([("text", "label"), *rows])
    ran = run("evaluate", str(tmp_path / "held.csv"), "--label-column", "label", "--model", folder)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["accuracy"] == trained.metrics["accuracy"]
    assert found["macro_f1"] == pytest.approx(trained.metrics["macro_f1"], abs=1e-12)


def test_quantize_keeps_the_labels_and_the_licence(finished: Finished, tmp_path: Path) -> None:
    trained, folder = finished("single")
    ran = run("quantize", folder, str(tmp_path / "int8"), "--json")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "int8/README.md").read_bytes() == (Path(folder) / "README.md").read_bytes()
    quantized = Classifier.from_pretrained(tmp_path / "int8")
    assert quantized.labels == trained.scheme.labels


def test_audit_finds_it_exact(finished: Finished) -> None:
    _, folder = finished("single")
    ran = run("audit", folder, "--quick", "--quiet", "--fail-on", "drift")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["verdict"] == "exact"


def test_info_and_run_take_it(finished: Finished, tmp_path: Path) -> None:
    trained, folder = finished("multi")
    assert run("info", folder).returncode == 0
    (tmp_path / "texts.csv").write_text("text\nToday is a nice day!\n")
    out = tmp_path / "out.csv"
    ran = run("run", str(tmp_path / "texts.csv"), "-o", str(out), "--model", folder, "--scores")
    assert ran.returncode == 0, ran.stderr
    names = out.read_text().splitlines()[0].split(",")
    assert [f"score_{label}" in names for label in trained.scheme.labels] == [True, True]
