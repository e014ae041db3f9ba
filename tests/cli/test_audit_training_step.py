"""`isobatch audit --training-step`: the report, its files and exit codes, and what is refused."""

import json
from pathlib import Path

import pytest
from shell import run

from isobatch.audit import GRADIENT_PROBES

MODULE = """
import numpy as np

def mean(texts, labels):
    rows = [np.random.default_rng(len(t)).normal(size=64) * (l + 1) for t, l in zip(texts, labels)]
    return np.mean(rows, axis=0)

def multiplied(texts, labels, micro_batch_size):
    size = micro_batch_size
    starts = range(0, len(texts), size)
    return sum(mean(texts[s : s + size], labels[s : s + size]) for s in starts)

number = 3
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_training.py").write_text(MODULE)
    (tmp_path / "texts.txt").write_text("".join(f"{'a ' * n}\n" for n in range(1, 20)))
    monkeypatch.chdir(tmp_path)


def test_a_fault_is_reported_and_files_are_written(tmp_path: Path) -> None:
    files = ("--html", "page.html", "--junit", "junit.xml")
    found = run("audit", "--training-step", "python:my_training:multiplied", "--json", *files)
    assert found.returncode == 1
    report = json.loads(found.stdout)
    assert (report["kind"], report["verdict"]) == ("training step", "bug")
    assert [each["name"] for each in report["findings"]] == ["gradient-multiplied"]
    assert report["facts"]["splits"] == "micro_batch_size"
    assert "Your gradient depends on the batch: 1 bug" in (tmp_path / "page.html").read_text()
    assert "gradient-multiplied" in (tmp_path / "junit.xml").read_text()


def test_a_sound_step_ends_with_0_and_texts_can_be_chosen() -> None:
    given = ("--quick", "--json", "--texts", "texts.txt")
    found = run("audit", "--training-step", "python:my_training:mean", *given)
    assert found.returncode == 0
    assert json.loads(found.stdout)["num_texts"] == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "the bundled model: is not a training step"),
        (("somewhere",), "somewhere: is not a training step"),
        (
            ("python:my_training:number",),
            "number is a int; specify a function from texts and labels",
        ),
        (("python:my_training:mean", "--dialect", "tei"), "dialect does not apply"),
        (("python:my_training:mean", "--save", "a.json"), "--save: is for answers"),
        (("python:my_training:mean", "--compare", "a.json"), "--compare: is for answers"),
    ],
)
def test_what_is_not_for_a_training_step_is_refused(given: tuple[str, ...], message: str) -> None:
    found = run("audit", "--training-step", *given)
    assert found.returncode == 2
    assert message in found.stderr.decode()


def test_the_probes_are_listed() -> None:
    listed = json.loads(run("audit", "--training-step", "--list", "--json").stdout)
    assert [each["name"] for each in listed] == [probe.name for probe in GRADIENT_PROBES]
