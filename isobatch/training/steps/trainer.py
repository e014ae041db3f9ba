"""The training loop: steps, evaluations, the best weights, and the state to resume from.

Invariant: after step n the weights are a function of the base, the examples and the recipe. The
engine, evaluations, logging and interruptions have no part in them.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from isobatch.errors import TrainingError, TrainingStopped
from isobatch.training.recipe import Recipe, steps_per_epoch
from isobatch.training.steps.block_gradients import TrainedWeights
from isobatch.training.steps.events import Evaluated, EventCallback, StepDone, event_fields
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.gradient_engine import GradientEngine, StepGradient
from isobatch.training.steps.optimizer import Optimizer, learning_rate
from isobatch.training.steps.order import GradientBlock, cut_blocks, plan_steps
from isobatch.training.steps.state import RunState, StateFolder, weights_digest
from isobatch.training.steps.target_scale import TargetScale
from isobatch.training.steps.validation import ValidationResult, validate
from isobatch.training.steps.validation_metrics import METRICS

SAVE_SECONDS = 60.0
"""Between two saved states, besides those of evaluations: the most that a kill can cost."""


@dataclass(slots=True)
class TrainingRun:
    """One run: everything that its loop needs, and its state."""

    weights: TrainedWeights
    examples: Examples
    validation: Examples
    recipe: Recipe
    engine: GradientEngine
    optimizer: Optimizer
    folder: StateFolder
    scale: TargetScale | None = None
    on_event: EventCallback = lambda event: None
    should_stop: Callable[[], bool] = lambda: False
    save_seconds: float = SAVE_SECONDS
    state: RunState = field(default_factory=RunState)
    lengths: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = self.examples.lengths

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(len(self.examples), self.recipe.batch_size)

    @property
    def num_steps(self) -> int:
        return self.recipe.num_steps(len(self.examples))

    def resume(self) -> bool:
        """Load the saved state, if there is one, into the weights and the optimizer."""
        loaded = self.folder.load()
        if loaded is None:
            return False
        self.state, tensors = loaded
        with torch.no_grad():
            for name, tensor in self.optimizer.tensors.items():
                tensor.copy_(tensors[name])
        return True

    def train(self) -> dict[str, Tensor]:
        """Take the remaining steps; returns the best weights by name, as `TrainedWeights` has them.

        Raises TrainingError for a loss or a gradient that is not finite, and TrainingStopped once
        `should_stop` says so; the state is saved in both cases.
        """
        start, saved = time.monotonic() - self.state.seconds, time.monotonic()
        for step, epoch, texts in self._remaining():
            blocks = cut_blocks(texts, self.lengths, self.recipe.block_tokens)
            self._take_step(step, epoch, blocks, start)
            evaluates = step in self._evaluation_steps(epoch)
            if evaluates:
                self._evaluate(step, epoch, start)
            self.state.seconds = time.monotonic() - start
            stops = self.should_stop()
            if evaluates or stops or time.monotonic() - saved > self.save_seconds:
                self.folder.save(self.state, self.optimizer.tensors)
                saved = time.monotonic()
            if stops:
                raise TrainingStopped(f"stopped after step {step} of {self.num_steps}")
            if self.state.stopped_early:
                break
        return self.folder.load_best(self.state)

    def _remaining(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Yield number, epoch and texts of the steps that are not taken yet."""
        if self.state.stopped_early:
            return
        first_epoch = self.state.step // self.steps_per_epoch
        for epoch in range(first_epoch, self.recipe.epochs):
            steps = plan_steps(len(self.examples), self.recipe.batch_size, self.recipe.seed, epoch)
            for number, texts in enumerate(steps, epoch * self.steps_per_epoch + 1):
                if number > self.state.step:
                    yield number, epoch, texts

    def _evaluation_steps(self, epoch: int) -> set[int]:
        """The steps of an epoch after which the model is evaluated; its last one is among them."""
        first, size = epoch * self.steps_per_epoch, self.steps_per_epoch
        parts = min(self.recipe.evaluations_per_epoch, size)
        return {first + size * part // parts for part in range(1, parts + 1)}

    def _take_step(self, step: int, epoch: int, blocks: list[GradientBlock], start: float) -> None:
        gradient = self.engine.compute(blocks, epoch)
        texts = [index for block in blocks for index in block]
        self._check_losses(step, texts, gradient)
        rate = learning_rate(self.recipe, step, self.num_steps)
        norm = self.optimizer.step(gradient, step, rate)
        if not math.isfinite(norm):
            self.folder.save(self.state, self.optimizer.tensors)
            raise TrainingError(
                f"step {step}: the gradient is not finite, though every loss is "
                f"({self._name(self._overflowing(texts, epoch))}). Lower the learning rate, or use "
                "fp32; the state before this step is saved"
            )
        losses = gradient.losses * self.examples.weights[texts]
        total = math.fsum(losses)
        self.state.step = step
        self.state.loss_sum += total
        self.state.loss_texts += len(texts)
        done = StepDone(
            step=step,
            num_steps=self.num_steps,
            epoch=epoch + 1,
            loss=total / len(texts),
            gradient_norm=norm,
            learning_rate=rate,
            texts=len(texts),
            tokens=sum(self.lengths[index] for index in texts),
            seconds=time.monotonic() - start,
        )
        self._report(done)

    def _check_losses(self, step: int, texts: list[int], gradient: StepGradient) -> None:
        """Raise TrainingError, with the text, before a loss that is not finite changes a weight."""
        for index, loss in zip(texts, gradient.losses, strict=True):
            if not math.isfinite(loss):
                self.folder.save(self.state, self.optimizer.tensors)
                rate = "Lower the learning rate, or check" if step > 1 else "Check"
                raise TrainingError(
                    f"step {step}: the loss of a text is {loss} ({self._name([index])}). {rate} "
                    "that text and its label; the state before this step is saved"
                )

    def _overflowing(self, texts: list[int], epoch: int) -> list[int]:
        """Return the first text whose own gradient is not finite; all if only their sum is not."""
        for index in texts:
            own = self.engine.compute([(index,)], epoch)
            tensors = [*own.parameters, *(words for _, words in own.words)]
            if not all(bool(each.isfinite().all()) for each in tensors):
                return [index]
        return texts

    def _name(self, texts: list[int]) -> str:
        places = [self.examples.places[index] for index in texts[:3]]
        more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
        return ", ".join(places) + more

    def _evaluate(self, step: int, epoch: int, start: float) -> None:
        """Evaluate the raw weights and their average; keep the better of them if it is the best."""
        digest = weights_digest(self.optimizer_weights())
        results = {"raw": self._validate()}
        if self.recipe.average_decay:
            self.optimizer.exchange_average()
            results["average"] = self._validate()
            self.optimizer.exchange_average()
            self.weights.write_words()
        metric = METRICS[self.recipe.metric]
        better = "raw"
        if "average" in results and metric.is_better(
            results["average"].metrics[self.recipe.metric],
            results["raw"].metrics[self.recipe.metric],
        ):
            better = "average"
        value = results[better].metrics[self.recipe.metric]
        self._check_logits(step, results[better])
        best = metric.is_better(value, self.state.best_value) or self.state.best_step == 0
        if best:
            self._keep_best(step, better, value)
        else:
            self.state.since_better += 1
        self.state.stopped_early = self.state.since_better >= self.recipe.patience
        other = results["average" if better == "raw" else "raw"] if len(results) > 1 else None
        evaluated = Evaluated(
            step=step,
            num_steps=self.num_steps,
            epoch=epoch + 1,
            weights=better,
            metric=self.recipe.metric,
            value=value,
            metrics=results[better].metrics,
            other_metrics=other.metrics if other else {},
            loss=self.state.loss_sum / self.state.loss_texts,
            best=best,
            evaluations_without_better=self.state.since_better,
            digest=digest,
            seconds=time.monotonic() - start,
        )
        self.state.loss_sum, self.state.loss_texts = 0.0, 0
        self._report(evaluated)

    def _check_logits(self, step: int, result: ValidationResult) -> None:
        if not np.isfinite(result.logits).all():
            index = int((~np.isfinite(result.logits)).any(axis=1).argmax())
            raise TrainingError(
                f"step {step}: a logit of a validation text is not finite "
                f"({self.validation.places[index]}). Lower the learning rate, or use fp32"
            )

    def _keep_best(self, step: int, kind: str, value: float) -> None:
        self.state.best_value, self.state.best_step = value, step
        self.state.best_weights, self.state.since_better = kind, 0
        if kind == "average":
            self.optimizer.exchange_average()
        self.folder.save_best(step, self.optimizer_weights())
        if kind == "average":
            self.optimizer.exchange_average()

    def optimizer_weights(self) -> dict[str, Tensor]:
        """Return the present weights by name, without the state of the optimizer."""
        return {each.name: each.weight for each in self.optimizer.moments}

    def _validate(self) -> ValidationResult:
        self.weights.write_words()
        model, task = self.weights.model, self.recipe.task
        return validate(model, self.validation, task, scale=self.scale)

    def _report(self, event: StepDone | Evaluated) -> None:
        self.state.events.append(event_fields(event))
        self.on_event(event)
