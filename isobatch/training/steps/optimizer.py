"""AdamW with a clipped gradient, layer-wise rates, and an exponential average of the weights.

Invariant: every tensor is computed in pieces of a fixed size, each by one thread, so that neither
the vector loops of the kernels nor the order of sums depend on the number of threads. The formula
is torch's own (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"), with bias
correction.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from isobatch.training.recipe import Recipe
from isobatch.training.steps.block_gradients import EMBEDDINGS, WORDS, TrainedWeights
from isobatch.training.steps.gradient_engine import SingleThreads, StepGradient

PIECE = 2**18
"""Numbers: a megabyte of each of the five arrays, a few milliseconds of work."""

_BLOCK = re.compile(r"(decoder\.)?blocks\.(\d+)\.")


@dataclass(slots=True)
class Moments:
    """A tensor that is trained, with its state; all of its shape.

    rate: its share of the learning rate. decays: whether weight decay applies.
    """

    name: str
    weight: Tensor
    mean: Tensor
    square: Tensor
    average: Tensor | None
    rate: float
    decays: bool


class Piece(NamedTuple):
    """The numbers start to stop of the tensor with this index."""

    tensor: int
    start: int
    stop: int


class Optimizer:
    """Changes the weights in place; `tensors` are the state that a resumed run needs."""

    def __init__(self, weights: TrainedWeights, recipe: Recipe, threads: SingleThreads) -> None:
        self._recipe = recipe
        self._threads = threads
        decoder = weights.model.decoder
        self._num_layers = len(weights.model.blocks)
        self._num_all_layers = self._num_layers + (0 if decoder is None else len(decoder.blocks))
        named: list[tuple[str, Tensor]] = list(zip(weights.names, weights.parameters, strict=True))
        if weights.words is not None:
            named.append((WORDS, weights.words))
        self._has_words = weights.words is not None
        self.moments = [self._moments(name, tensor.detach()) for name, tensor in named]
        self._pieces = [
            Piece(index, start, min(start + PIECE, each.weight.numel()))
            for index, each in enumerate(self.moments)
            for start in range(0, each.weight.numel(), PIECE)
        ]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Weights, moments and averages by name; they are the optimizer's own."""
        named = {}
        for each in self.moments:
            named[f"weight.{each.name}"] = each.weight
            named[f"mean.{each.name}"] = each.mean
            named[f"square.{each.name}"] = each.square
            if each.average is not None:
                named[f"average.{each.name}"] = each.average
        return named

    def step(self, gradient: StepGradient, number: int, rate: float) -> float:
        """Take step `number`, counted from 1; returns the norm of the gradient before clipping.

        gradient: the sum over the step's texts, which is divided by their number here. If the norm
        is not finite, the weights stay as they are.
        """
        gradients = self._gathered(gradient)
        flat = [each.reshape(-1) for each in gradients]
        num_texts = len(gradient.losses)
        parts = [flat[piece.tensor][piece.start : piece.stop] for piece in self._pieces]
        norm = math.sqrt(math.fsum(self._threads.map(_sum_of_squares, parts))) / num_texts
        if not math.isfinite(norm):
            return norm
        scale = min(1.0, self._recipe.clip_norm / norm if norm > 0 else 1.0) / num_texts
        steps = torch.tensor(float(number - 1), dtype=torch.float32)  # adamw counts up
        for _ in self._threads.map(
            lambda piece: self._update(piece, flat[piece.tensor], scale, steps, rate), self._pieces
        ):
            pass
        return norm

    @torch.no_grad()
    def exchange_average(self) -> None:
        """Swap the weights and their averages, in place."""
        for each in self.moments:
            if each.average is not None:
                kept = each.weight.clone()
                each.weight.copy_(each.average)
                each.average.copy_(kept)

    @torch.no_grad()
    def _update(
        self, piece: Piece, gradient: Tensor, scale: float, steps: Tensor, rate: float
    ) -> None:
        recipe, each = self._recipe, self.moments[piece.tensor]
        part = slice(piece.start, piece.stop)
        weight = each.weight.view(-1)[part]
        adamw(
            [weight],
            [gradient[part].mul_(scale)],
            [each.mean.view(-1)[part]],
            [each.square.view(-1)[part]],
            [],
            [steps.clone()],
            fused=True,
            amsgrad=False,
            beta1=recipe.beta1,
            beta2=recipe.beta2,
            lr=rate * each.rate,
            weight_decay=recipe.weight_decay if each.decays else 0.0,
            eps=recipe.epsilon,
            maximize=False,
        )
        if each.average is not None:
            # As the average of all weights so far in the first steps, so that the start fades.
            number = float(steps) + 1.0
            decay = min(recipe.average_decay, number / (number + 10.0))
            each.average.view(-1)[part].lerp_(weight, 1.0 - decay)

    def _gathered(self, gradient: StepGradient) -> Sequence[Tensor]:
        """Add the gradients of word vectors into a table, in the order of the texts."""
        if not self._has_words:
            return gradient.parameters
        (table,) = self._threads.map(self._word_table, [gradient.words])
        return [*gradient.parameters, table]

    def _word_table(self, words: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        table = torch.zeros_like(self.moments[-1].weight)
        return table.index_add_(
            0, torch.cat([rows for rows, _ in words]), torch.cat([each for _, each in words])
        )

    def _moments(self, name: str, weight: Tensor) -> Moments:
        average = weight.clone() if self._recipe.average_decay else None
        in_block = _BLOCK.match(name)
        depth = 0
        if in_block:
            encoder_layers = self._num_layers if in_block[1] else 0
            depth = self._num_all_layers - 1 - encoder_layers - int(in_block[2])
        elif name.startswith((*EMBEDDINGS, "decoder.")):
            depth = self._num_all_layers
        return Moments(
            name,
            weight,
            torch.zeros_like(weight),
            torch.zeros_like(weight),
            average,
            self._recipe.layer_decay**depth,
            weight.ndim == 2 and (in_block is not None or name.startswith("head.")),
        )


def _sum_of_squares(numbers: Tensor) -> float:
    """Sum the squares of a piece: in float32, a fourth of the time, unless they overflow there."""
    norm = float(torch.linalg.vector_norm(numbers))
    if math.isinf(norm):
        norm = float(torch.linalg.vector_norm(numbers, dtype=torch.float64))
    return norm**2


def learning_rate(recipe: Recipe, number: int, num_steps: int) -> float:
    """Return the rate of step `number`, from 1 to num_steps: a linear rise, then a linear fall."""
    warm_up = max(math.ceil(recipe.warm_up * num_steps), 1)
    rise = number / warm_up
    fall = (num_steps - number + 1) / (num_steps - warm_up + 1)
    return recipe.learning_rate * min(rise, fall)
