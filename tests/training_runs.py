"""Small training runs for tests: tiny models, random ids, and everything that a run needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from tiny_checkpoints import Tiny, random_ids

from isobatch.model import read_model, select_kernels
from isobatch.training.block_gradients import BlockGradients, TrainedWeights
from isobatch.training.examples import Examples
from isobatch.training.gradient_engine import LocalEngine, SingleThreads, single_threads
from isobatch.training.optimizer import Optimizer
from isobatch.training.recipe import Recipe, RecipeOptions, Task, complete_recipe
from isobatch.training.state import StateFolder
from isobatch.training.trainer import TrainingRun
from isobatch.types import Encoding

LENGTHS = (3, 17, 9, 9, 31, 5, 12, 24, 9, 40, 7, 16, 3, 28)


def make_examples(
    tiny: Tiny, number: int = 24, seed: int = 0, task: Task = "single", weights: bool = False
) -> Examples:
    """Random texts of different lengths, whose labels follow from an id: they can be learned."""
    lengths = [LENGTHS[index % len(LENGTHS)] for index in range(number)]
    rows = random_ids(lengths, tiny, seed)
    firsts = np.array([row[1] for row in rows])
    targets = np.zeros((number, tiny.num_labels), np.float32)
    if task == "single":
        targets[np.arange(number), firsts % tiny.num_labels] = 1.0
    elif task == "multi":
        targets[:] = (firsts[:, None] >> np.arange(tiny.num_labels)) % 2
    else:
        targets[:] = firsts[:, None] / tiny.vocab_size
    drawn = np.random.default_rng(seed).uniform(0.5, 1.5, number) if weights else np.ones(number)
    return Examples(
        [Encoding(row, [0] * len(row)) for row in rows],
        targets,
        drawn.astype(np.float32),
        [f"texts.csv: line {index + 2}" for index in range(number)],
    )


def make_recipe(tiny: Tiny, examples: Examples, task: Task = "single", **values: object) -> Recipe:
    """The default recipe with small blocks, so that a step has several."""
    from tiny_checkpoints import tiny_config

    from isobatch.checkpoint import parse_config

    config = parse_config(tiny_config(tiny).to_dict())
    options = RecipeOptions(epochs=2, batch_size=8, block_tokens=48, learning_rate=1e-3)
    recipe = complete_recipe(options, task, config, len(examples), tiny.num_labels)
    return replace(recipe, **values)  # type: ignore[arg-type]


def make_weights(folder: Path, examples: Examples, freeze: int = 0) -> TrainedWeights:
    model = read_model(folder)
    select_kernels(model)
    return TrainedWeights(model.train(), examples, freeze)


@contextmanager
def training_run(
    checkpoint: Path,
    examples: Examples,
    recipe: Recipe,
    state: Path,
    *,
    in_flight: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[TrainingRun]:
    """A run whose validation is its own training texts."""
    weights = make_weights(checkpoint, examples, recipe.freeze)
    gradients = BlockGradients(weights, examples, recipe)
    with single_threads(in_flight) as threads:
        yield TrainingRun(
            weights,
            examples,
            examples,
            recipe,
            LocalEngine(gradients, threads),
            Optimizer(weights, recipe, threads),
            StateFolder(state),
            should_stop=should_stop,
        )


def one_thread() -> SingleThreads:
    return SingleThreads(1)
