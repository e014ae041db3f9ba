"""`fit` from Python: its result, and settings of the caller that must not matter."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoints import Tiny, TinyFolder
from training.whole_checkpoints import write_whole

from isobatch import Classifier, fit
from isobatch.errors import OptionError, TrainingError
from isobatch.training.recipe import Recipe
from isobatch.training.steps import block_gradients
from isobatch.training.steps.block_gradients import BlockGradient, BlockGradients
from isobatch.training.steps.events import Evaluated, Event, StepDone
from isobatch.training.steps.losses import text_losses
from isobatch.training.steps.order import GradientBlock

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
    keys = re.findall(r'"(\w+)":', (tmp_path / "out/train.json").read_text())
    assert [keys.count(field.name) for field in fields(Recipe)] == [1] * len(fields(Recipe))
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
    with pytest.raises(OptionError, match="option 'lr' is not supported"):
        weights(start, lr=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"blocks_in_flight": -1}, "blocks_in_flight must be a whole number"),
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number from 0 to 1"),
        ({"beta1": 1}, "beta1 must be a number of at least 0 and less than 1, got 1"),
    ],
)
def test_an_invalid_value_is_refused(start: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fit(start, TEXTS, LABELS, **options)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers(start: Path) -> None:
    options = {"epochs": np.int64(1), "batch_size": np.int32(8), "learning_rate": np.float64(1e-3)}
    expected = fit(start, TEXTS, LABELS, epochs=1, batch_size=8, learning_rate=1e-3)
    found = fit(start, TEXTS, LABELS, **options)  # type: ignore[arg-type]
    assert (found.logits(TEXTS) == expected.logits(TEXTS)).all()


def test_a_metric_that_the_validation_texts_cannot_have_is_refused(start: Path) -> None:
    numbers = [number / 24 for number in range(24)]
    with pytest.raises(OptionError, match="metric pearson: is not defined on the validation texts"):
        fit(start, TEXTS, numbers, metric="pearson", validation=(["a", "b"], [1.0, 1.0]))


def test_settings_that_change_gradients_are_refused(start: Path) -> None:
    torch._C._set_mkldnn_enabled(False)
    try:
        with pytest.raises(OptionError, match="mkldnn"):
            weights(start)
    finally:
        torch._C._set_mkldnn_enabled(True)


def test_a_loss_that_is_not_finite_names_step_and_text_and_keeps_the_last_state(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weights(start, out=tmp_path / "whole")
    steps: list[Event] = []

    def broken(*arguments: object) -> torch.Tensor:
        losses = text_losses(*arguments)  # type: ignore[arg-type]
        taken = sum(isinstance(event, StepDone) for event in steps)
        return losses * torch.nan if taken == 2 else losses

    monkeypatch.setattr(block_gradients, "text_losses", broken)
    place = r"step 3: the loss of a text is nan \(text \d+\)\. Lower the learning rate"
    with pytest.raises(TrainingError, match=place):
        weights(start, out=tmp_path / "out", callback=steps.append)
    monkeypatch.undo()
    steps.clear()
    resumed = weights(start, out=tmp_path / "out", callback=steps.append)
    assert [event.step for event in steps] == [3, 3], "the steps before were not taken again"
    assert (resumed.logits(TEXTS) == expected.logits(TEXTS)).all()


def test_a_gradient_that_is_not_finite_names_step_and_text_and_keeps_the_last_state(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weights(start, out=tmp_path / "whole")
    steps: list[Event] = []
    bad: dict[str, int] = {}
    compute = BlockGradients.compute

    def broken(gradients: BlockGradients, block: GradientBlock, epoch: int) -> BlockGradient:
        found = compute(gradients, block, epoch)
        taken = sum(isinstance(event, StepDone) for event in steps)
        if taken == 2 and bad.setdefault("text", block[-1]) in block:
            found.parameters[0].fill_(torch.inf)
        return found

    monkeypatch.setattr(BlockGradients, "compute", broken)
    said = r"step 3: the gradient is not finite, though every loss is \(text \d+\)\. Lower"
    with pytest.raises(TrainingError, match=said):
        weights(start, out=tmp_path / "out", callback=steps.append)
    monkeypatch.undo()
    steps.clear()
    resumed = weights(start, out=tmp_path / "out", callback=steps.append)
    assert [event.step for event in steps] == [3, 3]
    assert (resumed.logits(TEXTS) == expected.logits(TEXTS)).all()


def test_a_regression_learns_numbers_of_any_size(start: Path) -> None:
    numbers = [200_000.0 + 50_000.0 * (number % 2) for number in range(24)]
    texts = [f"{'good' if number % 2 else 'bad'}" for number in range(24)]
    more = {"epochs": 40, "batch_size": 8, "learning_rate": 1e-3, "patience": 100}
    classifier = fit(start, texts, numbers, task="regression", validation=(texts, numbers), **more)
    found = classifier.logits(["bad", "good"])[:, 0]
    assert np.abs(found - [200_000.0, 250_000.0]).max() < 12_000, (
        "half of what their mean is off by"
    )


def test_a_head_that_is_kept_starts_where_it_was(start: Path, tmp_path: Path) -> None:
    """The scale is taken out of it, and folded in again."""
    numbers = [200.0 + number for number in range(24)]
    options = {"epochs": 1, "batch_size": 8, "task": "regression"}
    first = fit(start, TEXTS, numbers, out=tmp_path / "first", **options)
    second = fit(tmp_path / "first", TEXTS, numbers, learning_rate=1e-12, **options)
    np.testing.assert_allclose(second.logits(TEXTS), first.logits(TEXTS), rtol=1e-4)


def test_a_base_or_teacher_in_the_output_is_not_replaced(start: Path, tmp_path: Path) -> None:
    weights(start, out=tmp_path / "out")
    for options in ({"base": tmp_path / "out"}, {"base": start, "teacher": tmp_path / "out"}):
        base = options.pop("base")
        with pytest.raises(OptionError, match="is in the output folder, which will be replaced"):
            fit(base, TEXTS, LABELS, out=tmp_path / "out", restart=True, **options)  # type: ignore[arg-type]
    assert (tmp_path / "out/model.safetensors").exists()


def test_a_regression_learns_by_a_head_without_bias(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    """Decoders have such heads, which cannot take up the mean of the numbers."""
    base = write_whole(tmp_path / "base", Tiny("qwen3"), tiny_folder)
    numbers = [200.0 + number % 2 for number in range(24)]
    options = {"epochs": 1, "batch_size": 8, "task": "regression"}
    first = fit(base, TEXTS, numbers, out=tmp_path / "first", **options)
    scale = json.loads((tmp_path / "first/train.json").read_text())["target_scale"]
    assert scale["mean"] == [0.0]
    assert scale["deviation"][0] == pytest.approx(200.5, rel=1e-3)
    second = fit(tmp_path / "first", TEXTS, numbers, learning_rate=1e-12, **options)
    np.testing.assert_allclose(second.logits(TEXTS), first.logits(TEXTS), rtol=1e-4)
