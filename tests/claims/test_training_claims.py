"""The promise of training: the same weights for any threads, any memory, and any interruption."""

import os
import pickle
import random
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import training_process
from processes import started_process
from tiny_checkpoints import FAMILIES, Tiny, TinyFolder, pad_right, reference_model
from training_process import training_run
from training_runs import make_examples, make_recipe

from isobatch.errors import TrainingStopped
from isobatch.training.recipe import Recipe
from isobatch.training.steps.state import weights_digest

TINY = Tiny("bert", num_labels=3)


def train(
    checkpoint: Path, state: Path, recipe: Recipe, in_flight: int = 1, tiny: Tiny = TINY
) -> str:
    """Train and return the digest of the last raw weights."""
    examples = make_examples(tiny)
    with training_run(checkpoint, examples, recipe, state, in_flight=in_flight) as run:
        run.train()
        return weights_digest(run.optimizer_weights())


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_in_flight_and_threads_change_no_bit(
    tiny_folder: TinyFolder, tmp_path: Path, family: str
) -> None:
    tiny = Tiny(family, num_labels=3)
    recipe = make_recipe(tiny, make_examples(tiny))
    others = ((2, 2), (4, 1), (1, 4)) if family == FAMILIES[0] else ()
    digests = set()
    before = torch.get_num_threads()
    try:
        for in_flight, threads in ((1, 1), (4, 2), *others):
            torch.set_num_threads(threads)
            place = tmp_path / f"{in_flight}-{threads}"
            digests.add(train(tiny_folder(tiny), place, recipe, in_flight, tiny))
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1


def test_blocks_in_flight_change_no_bit_in_bf16(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    recipe = make_recipe(TINY, make_examples(TINY), precision="bf16", epochs=1)
    digests = {
        train(tiny_folder(TINY), tmp_path / str(in_flight), recipe, in_flight)
        for in_flight in (1, 3)
    }
    assert len(digests) == 1


def test_evaluations_and_saved_states_change_no_weight(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    examples = make_examples(TINY)
    digests = set()
    for evaluations in (1, 2, 3):
        recipe = make_recipe(TINY, examples, evaluations_per_epoch=evaluations, patience=100)
        digests.add(train(tiny_folder(TINY), tmp_path / str(evaluations), recipe))
    assert len(digests) == 1
    other = make_recipe(TINY, examples, seed=1)
    assert train(tiny_folder(TINY), tmp_path / "seed", other) not in digests


def test_a_run_that_is_stopped_after_every_step_ends_with_the_same_weights(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    examples = make_examples(TINY)
    recipe = make_recipe(TINY, examples)
    with training_run(tiny_folder(TINY), examples, recipe, tmp_path / "whole") as run:
        expected = run.train()
        events = [event for event in run.state.events if event["event"] == "evaluation"]
    stops = 0
    while True:
        place = tmp_path / "broken"
        with training_run(
            tiny_folder(TINY), examples, recipe, place, should_stop=lambda: True
        ) as run:
            run.resume()
            try:
                found = run.train()
                break
            except TrainingStopped:
                stops += 1
    assert stops == recipe.epochs * 3
    assert {name: found[name].tolist() for name in found} == {
        name: expected[name].tolist() for name in expected
    }
    again = [event for event in run.state.events if event["event"] == "evaluation"]
    assert [{**e, "seconds": 0} for e in again] == [{**e, "seconds": 0} for e in events]


def padded_gradient(
    model: object, rows: list[list[int]], labels: list[int], sizes: int
) -> torch.Tensor:
    """The gradient of a trainer that pads, and accumulates means of micro-batches."""
    model.zero_grad()  # type: ignore[attr-defined]
    for start in range(0, len(rows), sizes):
        ids, mask = pad_right(rows[start : start + sizes], 0)
        logits = model(ids, attention_mask=mask).logits  # type: ignore[operator]
        F.cross_entropy(logits, torch.tensor(labels[start : start + sizes])).backward()
    return model.get_parameter("classifier.weight").grad.clone()  # type: ignore[attr-defined,no-any-return]


def test_a_trainer_that_pads_and_takes_means_of_means_fails_it(tiny_folder: TinyFolder) -> None:
    """The inverse: the split into micro-batches changes the gradient of such a trainer."""
    model = reference_model(tiny_folder(Tiny("bert", num_labels=3, dropout=0.0)))
    examples = make_examples(TINY, 8)
    rows = [list(each.input_ids) for each in examples.encodings]
    labels = examples.targets.argmax(axis=1).tolist()
    whole, split = (padded_gradient(model, rows, labels, size) for size in (8, 3))
    assert not torch.allclose(whole, split, rtol=1e-2)


def start(
    checkpoint: Path, state: Path, inputs: Path
) -> AbstractContextManager["subprocess.Popen[str]"]:
    script = Path(training_process.__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, checkpoint, state, inputs]
    return started_process(command, stderr=None, text=True, env=environment)


def test_kill_9_at_random_moments_changes_no_bit(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    examples, inputs = make_examples(TINY), tmp_path / "inputs"
    recipe = make_recipe(TINY, examples, epochs=12, patience=1000)
    inputs.write_bytes(pickle.dumps((examples, recipe)))
    with start(tiny_folder(TINY), tmp_path / "whole", inputs) as whole:
        expected = whole.communicate(timeout=300)[0].split()[-1]
    chance, kills = random.Random(0), 0
    while True:
        with start(tiny_folder(TINY), tmp_path / "killed", inputs) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.wait(timeout=chance.uniform(0.05, 0.6))
            except subprocess.TimeoutExpired:
                if kills < 3:
                    process.kill()
                    kills += 1
                    continue
            found = process.communicate(timeout=300)[0].split()[-1]
            break
    assert kills
    assert found == expected
