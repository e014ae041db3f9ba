"""Isobatch's training as `isobatch train` runs it, and the same steps without the promise."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.training.workloads import BATCH_SIZE, SEED, TrainingWorkload
from isobatch.ambient import default_float_environment
from isobatch.batching.packed import pack
from isobatch.training.initial_model import read_initial_model
from isobatch.training.recipe import Recipe, RecipeOptions, complete_recipe
from isobatch.training.steps.block_gradients import BlockGradients, TrainedWeights
from isobatch.training.steps.events import Event, StepDone
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.gradient_engine import LocalEngine, single_threads
from isobatch.training.steps.losses import text_losses
from isobatch.training.steps.optimizer import Optimizer, learning_rate
from isobatch.training.steps.order import plan_steps
from isobatch.training.steps.state import StateFolder
from isobatch.training.steps.trainer import TrainingRun

OnStep = Callable[[int, int], None]
"""Called after each step with its real tokens, and with the tokens that were computed."""


def train(workload: TrainingWorkload, threads: int, scratch: Path, on_step: OnStep) -> None:
    """Train for one epoch by the default recipe, a block at a time on each thread."""

    def report(event: Event) -> None:
        if isinstance(event, StepDone):
            on_step(event.tokens, event.tokens)

    with _prepared(workload, threads) as (weights, examples, recipe), single_threads(threads) as on:
        run = TrainingRun(
            weights,
            examples,
            _first_texts(examples),
            recipe,
            LocalEngine(BlockGradients(weights, examples, recipe), on),
            Optimizer(weights, recipe, on),
            StateFolder(scratch),
            on_event=report,
            save_seconds=math.inf,
        )
        run.train()


def train_without_promise(
    workload: TrainingWorkload, threads: int, scratch: Path, on_step: OnStep
) -> None:
    """Train on the same packed steps, each in one backward pass with all threads.

    Dropout is torch's, the gradient is what autograd accumulates, and the optimizer is
    torch.optim.AdamW with the same rates, decay and average of the weights.
    """
    with _prepared(workload, threads) as (weights, examples, recipe):
        step = _PlainStep(weights, examples, recipe)
        steps = plan_steps(len(examples), BATCH_SIZE, SEED, 0)
        for number, texts in enumerate(steps, 1):
            step.take(texts, learning_rate(recipe, number, len(steps)), number)
            tokens = sum(examples.lengths[index] for index in texts)
            on_step(tokens, tokens)


class _PlainStep:
    """One step as any trainer would take it, on packed texts."""

    def __init__(self, weights: TrainedWeights, examples: Examples, recipe: Recipe) -> None:
        self._weights, self._examples, self._recipe = weights, examples, recipe
        for tensor in weights.tensors:
            tensor.requires_grad_()
        with single_threads(1) as on:  # for the rate and the decay of each tensor
            self._moments = Optimizer(weights, recipe, on).moments
        self._groups = [
            {
                "params": [tensor],
                "weight_decay": recipe.weight_decay if each.decays else 0.0,
                "rate": each.rate,
            }
            for each, tensor in zip(self._moments, weights.tensors, strict=True)
        ]
        self._adamw = torch.optim.AdamW(self._groups, fused=True)

    def take(self, texts: tuple[int, ...], rate: float, number: int) -> None:
        examples, model, tensors = self._examples, self._weights.model, self._weights.tensors
        ordered = sorted(texts, key=lambda index: -examples.lengths[index])
        batch = pack([examples.encodings[i] for i in ordered], model.config.encoder.positions)
        assert self._weights.words is not None
        words = self._weights.words[self._weights.row_of_word[batch.input_ids]]
        targets = torch.from_numpy(examples.targets[ordered])
        text_losses(self._recipe, model(batch, words), targets, None).mean().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(tensors, self._recipe.clip_norm)
        for group in self._adamw.param_groups:
            group["lr"] = rate * group["rate"]
        self._adamw.step()
        self._adamw.zero_grad()
        decay = min(self._recipe.average_decay, number / (number + 10.0))
        averages = [each.average for each in self._moments if each.average is not None]
        with torch.no_grad():
            torch._foreach_lerp_(averages, [each.detach() for each in tensors], 1.0 - decay)


@contextmanager
def _prepared(
    workload: TrainingWorkload, threads: int
) -> Iterator[tuple[TrainedWeights, Examples, Recipe]]:
    """Read the checkpoint and encode the texts."""
    torch.set_num_threads(threads)
    with default_float_environment():
        labels = [str(label) for label in range(workload.num_labels)]
        start = read_initial_model(workload.checkpoint, "single", labels, SEED)
        places = [f"text {number}" for number in range(len(workload.texts))]
        encodings = start.encode(workload.texts, places)
        targets = np.eye(workload.num_labels, dtype=np.float32)[list(workload.labels)]
        examples = Examples(encodings, targets, np.ones(len(places), np.float32), places)
        options = RecipeOptions(
            epochs=1, evaluations_per_epoch=1, learning_rate=workload.learning_rate, seed=SEED
        )
        recipe = complete_recipe(options, "single", start.model.config, len(examples))
        yield TrainedWeights(start.model, examples, recipe.freeze), examples, recipe


def _first_texts(examples: Examples) -> Examples:
    count = BATCH_SIZE
    return Examples(
        examples.encodings[:count],
        examples.targets[:count],
        examples.weights[:count],
        examples.places[:count],
    )
