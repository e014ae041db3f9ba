"""`fit` from Python: what it returns, and settings of the caller that must not matter."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import Tiny, TinyFolder
from training.whole_checkpoints import write_whole

from isobatch import Classifier, fit
from isobatch.errors import OptionError
from isobatch.training.events import Evaluated, Event, StepDone

TEXTS = [f"{'good' if number % 2 else 'bad'} film number {number}" for number in range(24)]
LABELS = ["pos" if number % 2 else "neg" for number in range(24)]
MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "meta device": lambda: torch.device("meta"),
}


@pytest.fixture(scope="module")
def start(tiny_folder: TinyFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole(tmp_path_factory.mktemp("fit") / "start", Tiny("bert"), tiny_folder)


def weights(start: Path, **options: object) -> Classifier:
    return fit(start, TEXTS, LABELS, epochs=1, batch_size=8, **options)  # type: ignore[arg-type]


def test_it_returns_a_classifier_and_reports_events(start: Path) -> None:
    events: list[Event] = []
    classifier = weights(start, callback=events.append)
    assert classifier.labels == ("neg", "pos")
    assert {type(event) for event in events} == {StepDone, Evaluated}
    folder = classifier.folder
    assert (folder / "model.safetensors").exists()
    assert not (folder / "report.html").exists()
    del classifier
    assert not folder.exists()


def test_a_folder_is_kept_and_loaded_again(start: Path, tmp_path: Path) -> None:
    first = weights(start, out=tmp_path / "out")
    record = json.loads((tmp_path / "out/train.json").read_text())
    again = weights(start, out=tmp_path / "out", callback=lambda _: pytest.fail("trained again"))
    assert (again.logits(TEXTS) == first.logits(TEXTS)).all()
    assert record["steps"] == 3
    assert not list((tmp_path / ".isobatch").rglob("*.safetensors"))


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_caller_change_no_bit(start: Path, mode: str) -> None:
    expected = weights(start).logits(TEXTS)
    threads = torch.get_num_threads()
    with MODES[mode]():
        found = weights(start, threads=2)
    assert (found.logits(TEXTS) == expected).all()
    assert torch.get_num_threads() == threads


def test_the_seed_changes_the_weights(start: Path) -> None:
    assert (weights(start, seed=1).logits(TEXTS) != weights(start).logits(TEXTS)).any()


def test_an_unknown_option_is_named(start: Path) -> None:
    with pytest.raises(OptionError, match="unknown option 'lr'"):
        weights(start, lr=1e-3)
