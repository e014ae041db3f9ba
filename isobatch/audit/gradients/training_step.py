"""A training step as the audit calls it: on texts in one batch, or in micro-batches.

Invariant: a step is never changed or guessed at. How it takes a split is read from the names of its
arguments, and an error of the step is the cause of a StepFailedError.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from isobatch.audit.gradients.gradient import Gradient, read_gradient
from isobatch.audit.subject import AnswerError
from isobatch.drawing.display_text import counted
from isobatch.errors import OptionError

MicroBatches = tuple[int, ...]
"""The number of texts of each micro-batch of a step; one for a step on the whole batch."""

SplitArgument = Literal["micro_batches", "micro_batch_size"]
SPLIT_ARGUMENTS: tuple[SplitArgument, ...] = ("micro_batches", "micro_batch_size")


class StepExample(NamedTuple):
    """A text, or a pair of texts, and its label, as the step takes them."""

    text: Any
    label: Any


class StepFailedError(Exception):
    """The step fails with these texts, or its gradient cannot be read."""


class TrainingStep:
    """A function from texts and labels to a gradient.

    split_argument: the argument by which it takes a split, None where it takes whole batches only.
    `micro_batches` is passed a list of (texts, labels), in place of texts and labels;
    `micro_batch_size` the number of texts of each micro-batch but the last.
    """

    def __init__(self, step: Callable[..., Any], name: str | None = None) -> None:
        if not callable(step):
            raise OptionError(
                f"{step!r} cannot be called with texts and labels; give a function that returns "
                "the gradient"
            )
        self.name = name or str(getattr(step, "__qualname__", type(step).__name__))
        self._step = step
        known = _argument_names(step)
        self.split_argument = next((each for each in SPLIT_ARGUMENTS if each in known), None)

    def takes(self, split: MicroBatches) -> bool:
        """Find out whether the step can split texts so: equally but for a smaller last part."""
        if len(split) == 1 or self.split_argument == "micro_batches":
            return True
        equal = len(set(split[:-1])) == 1 and split[-1] <= split[0]
        return self.split_argument is not None and equal

    def gradient(self, examples: Sequence[StepExample], split: MicroBatches) -> Gradient:
        """Compute the gradient of texts that are split so; StepFailedError with the reason."""
        assert sum(split) == len(examples)
        assert self.takes(split)
        texts, labels = [each.text for each in examples], [each.label for each in examples]
        try:
            return read_gradient(self._call(texts, labels, split), self.name)
        except AnswerError as error:
            raise StepFailedError(str(error)) from error
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and type(error) is not SystemExit:
                raise  # a signal, for which the command line has a class
            number, kind = counted(len(texts), "text"), type(error).__name__
            raise StepFailedError(f"{self.name}: failed with {number}: {kind}: {error}") from error

    def _call(self, texts: list[Any], labels: list[Any], split: MicroBatches) -> Any:
        if self.split_argument is None:
            return self._step(texts, labels)
        if self.split_argument == "micro_batch_size":
            return self._step(texts, labels, micro_batch_size=split[0])
        ends = [sum(split[: number + 1]) for number in range(len(split))]
        parts = [slice(end - size, end) for end, size in zip(ends, split, strict=True)]
        return self._step(micro_batches=[(texts[part], labels[part]) for part in parts])


def _argument_names(step: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(step).parameters)
    except (TypeError, ValueError):  # some built-in functions have none
        return set()
