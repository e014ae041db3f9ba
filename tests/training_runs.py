"""Examples of random ids, and recipes for tiny checkpoints."""

from dataclasses import replace

import numpy as np
from tiny_checkpoints import Tiny, random_ids

from isobatch.training.recipe import Recipe, RecipeOptions, TrainingTask, complete_recipe
from isobatch.training.steps.examples import Examples
from isobatch.types import Encoding

LENGTHS = (3, 17, 9, 9, 31, 5, 12, 24, 9, 40, 7, 16, 3, 28)


def make_examples(
    tiny: Tiny,
    number: int = 24,
    seed: int = 0,
    task: TrainingTask = "single",
    weights: bool = False,
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


def make_recipe(
    tiny: Tiny, examples: Examples, task: TrainingTask = "single", **values: object
) -> Recipe:
    """The default recipe with small blocks, so that a step has several."""
    from tiny_checkpoints import tiny_config

    from isobatch.checkpoint import parse_config

    config = parse_config(tiny_config(tiny).to_dict())
    options = RecipeOptions(epochs=2, batch_size=8, block_tokens=48, learning_rate=1e-3)
    recipe = complete_recipe(options, task, config, len(examples))
    return replace(recipe, **values)  # type: ignore[arg-type]
