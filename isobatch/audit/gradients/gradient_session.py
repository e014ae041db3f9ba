"""GradientSession: a training step, its texts, and their own gradients, which probes compare with.

Invariant: the expected gradient of any batch is the mean of the gradients of its texts alone, added
in float64. Memory: one gradient for each text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isobatch.audit.gradients.gradient import (
    Gradient,
    GradientScale,
    inner,
    mean,
    norm,
    num_numbers,
    weighted_sum,
)
from isobatch.audit.gradients.training_step import (
    MicroBatches,
    StepExample,
    StepFailedError,
    TrainingStep,
)
from isobatch.errors import AuditError

CLIPPED = 1e-5
"""Relative difference of norms that were clipped to one value."""

LEAST_CLIPPED = 3
"""Texts with the same norm: of fewer it may be by chance."""


@dataclass(frozen=True, slots=True)
class ComparedStep:
    """A gradient next to the expected one: the texts by their places, the split, and the gap.

    gap: relative to the gradients of single texts, of the parameter that is furthest off. weights:
    names of faults that explain it by the texts' weights.
    """

    places: tuple[int, ...]
    split: MicroBatches
    norm: float
    expected_norm: float
    gap: float
    parameter: str
    weights: tuple[str, ...] = ()


def compared_step(
    places: Sequence[int],
    split: MicroBatches,
    found: Gradient,
    expected: Gradient,
    scale: GradientScale,
) -> ComparedStep:
    """Compare two gradients, without a look at the weights of texts."""
    gap = scale.gap(found, expected)
    return ComparedStep(tuple(places), split, norm(found), norm(expected), gap.size, gap.parameter)


@dataclass
class GradientSession:
    """The state of an audit of a training step. rtol: the largest gap that passes as rounding."""

    step: TrainingStep
    examples: tuple[StepExample, ...]
    rtol: float

    @cached_property
    def alone(self) -> list[Gradient]:
        """The gradient of each text alone.

        Raises AuditError if there is none, or if they cannot be compared with: all are zero, equal
        or clipped, or one is not finite.
        """
        gradients = []
        for example in self.examples:
            try:
                gradients.append(self.step.gradient([example], (1,)))
            except StepFailedError as error:
                raise AuditError(
                    f"{self.step.name}: the text {example.text!r} has no gradient alone, with "
                    f"which that of a batch could be compared: {error}"
                ) from error.__cause__
        self._check(gradients)
        return gradients

    @cached_property
    def scale(self) -> GradientScale:
        """The sizes of the gradients of single texts."""
        return GradientScale(self.alone)

    @property
    def everything(self) -> tuple[int, ...]:
        """The places of all texts."""
        return tuple(range(len(self.examples)))

    def expected(self, places: Sequence[int]) -> Gradient:
        """Return the mean of the gradients of these texts alone."""
        if tuple(places) == self.everything:
            return self._mean_of_all
        return mean([self.alone[place] for place in places])

    @cached_property
    def _mean_of_all(self) -> Gradient:
        return mean(self.alone)

    def compare(self, places: Sequence[int], split: MicroBatches | None = None) -> ComparedStep:
        """Compare the gradient of these texts with the mean of theirs alone.

        split: into micro-batches; None is one batch. Raises StepFailedError.
        """
        split = split or (len(places),)
        found = self.step.gradient([self.examples[place] for place in places], split)
        compared = compared_step(places, split, found, self.expected(places), self.scale)
        if compared.gap <= self.rtol:
            return compared
        return replace(compared, weights=tuple(self._weight_faults(found, places, split)))

    def with_texts(self, examples: Sequence[StepExample]) -> "GradientSession":
        """Return a session of other texts that judges by the same scale."""
        other = GradientSession(self.step, tuple(examples), self.rtol)
        other.__dict__["alone"] = [self.step.gradient([each], (1,)) for each in examples]
        other.__dict__["scale"] = self.scale
        return other

    def _weight_faults(
        self, found: Gradient, places: Sequence[int], split: MicroBatches
    ) -> Iterator[str]:
        """Name the faults by which each text has another weight, and that give this gradient."""
        gradients = [self.alone[place] for place in places]
        for name, weights in _hypotheses(split):
            if self._is(found, weights, gradients):
                yield name
        # Of very few numbers every gradient is a sum of others.
        if num_numbers(found) < 4 * len(places) or not np.isfinite(norm(found)):
            return
        products = np.array([[inner(one, other) for other in gradients] for one in gradients])
        against = np.array([inner(one, found) for one in gradients])
        solved = np.linalg.lstsq(products, against, rcond=None)[0]
        if solved.min() >= -self.rtol and self._is(found, solved.tolist(), gradients):
            yield "texts-weigh-unequally"

    def _is(self, found: Gradient, weights: Sequence[float], gradients: Sequence[Gradient]) -> bool:
        gap = self.scale.gap(found, weighted_sum(weights, gradients))
        return gap.size <= self.rtol * max(1.0, sum(weights))

    def _check(self, gradients: Sequence[Gradient]) -> None:
        called, norms = self.step.name, [norm(each) for each in gradients]
        for example, size in zip(self.examples, norms, strict=True):
            if not np.isfinite(size):
                raise AuditError(
                    f"{called}: the gradient of the text {example.text!r} alone is not finite. "
                    "Look for NaN in the weights, or for a float format that overflows"
                )
        if not any(norms):
            raise AuditError(
                f"{called}: the gradient of every text is zero. Return it before zero_grad()"
            )
        scale = GradientScale(gradients)
        if all(scale.gap(each, gradients[0]).size == 0 for each in gradients):
            raise AuditError(
                f"{called}: every text has the same gradient, so no fault can be found. Return "
                "parameter.grad of this step, and not the parameters"
            )
        largest = max(norms)
        if sum(largest - size <= CLIPPED * largest for size in norms) >= LEAST_CLIPPED:
            raise AuditError(
                f"{called}: the gradients of single texts have the same norm, {largest:.6g}, as if "
                "they were clipped to it. Return them before clipping, or switch it off (with "
                "transformers' Trainer: max_grad_norm=0)"
            )


def _hypotheses(split: MicroBatches) -> Iterator[tuple[str, list[float]]]:
    """Yield the weights of the texts under each fault that weighs them wrongly."""
    number, parts = sum(split), len(split)
    means = [1.0 / size for size in split for _ in range(size)]
    yield "gradient-summed", [1.0] * number
    if parts == 1:
        return
    yield "gradient-multiplied", means
    yield "mean-of-means", [each / parts for each in means]
    yield "gradient-divided-twice", [1.0 / number / parts] * number
    before = number - split[-1]
    for share in (number, split[-1], parts * split[-1]):
        yield "micro-batches-lost", [0.0] * before + [1.0 / share] * split[-1]
