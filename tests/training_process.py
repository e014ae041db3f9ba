"""A training run of a tiny checkpoint, also as a process of its own that tests can kill.

Without transformers, whose import takes longer than the run.
"""

import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isobatch.model import read_model, select_kernels
from isobatch.training.recipe import Recipe
from isobatch.training.steps.block_gradients import BlockGradients, TrainedWeights
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.gradient_engine import LocalEngine, single_threads
from isobatch.training.steps.optimizer import Optimizer
from isobatch.training.steps.state import StateFolder, weights_digest
from isobatch.training.steps.trainer import TrainingRun


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


def main(checkpoint: str, state: str, inputs: str) -> None:
    """Resume the run, saving its state after every step, and print the digest of its weights."""
    examples, recipe = pickle.loads(Path(inputs).read_bytes())
    with training_run(Path(checkpoint), examples, recipe, Path(state), in_flight=2) as run:
        run.save_seconds = 0.0
        run.resume()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        run.train()
        sys.stdout.write(weights_digest(run.optimizer_weights()) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
