"""Progress of a training, in words: a bar on a terminal, and a line for each evaluation."""

from collections import deque
from typing import TYPE_CHECKING

from isobatch.cli.display import Display
from isobatch.cli.scoring_progress import ProgressDisplay, format_duration
from isobatch.drawing.display_text import counted

if TYPE_CHECKING:
    from isobatch.training.fine_tuning import TrainedFolder
    from isobatch.training.steps.events import Evaluated, Event, StepDone

SPEED_STEPS = 100
"""Steps that a speed is the mean of; time left is estimated from all steps of this process."""


class TrainingDisplay:
    """Shows the events of a training. teacher: shows the progress of its logits."""

    def __init__(self, display: Display) -> None:
        self.teacher = ProgressDisplay(display)
        self._display = display
        self._first: StepDone | None = None
        self._recent: deque[StepDone] = deque(maxlen=SPEED_STEPS + 1)

    def show(self, event: "Event") -> None:
        """Draw a step, or say the result of an evaluation."""
        from isobatch.training.steps.events import StepDone

        self.teacher.last = None  # from now on a signal stops the training
        if not isinstance(event, StepDone):
            self.say(describe_evaluation(event))
            return
        self._first = self._first or event
        self._recent.append(event)
        if self._display.is_live:
            left = self._seconds_left(event)
            self._display.draw(
                event.step,
                event.num_steps,
                describe_step(self._recent),
                "" if left is None else f"{format_duration(left)} left",
            )

    def say(self, message: str) -> None:
        """Show a message once."""
        self._display.say(message)

    def _seconds_left(self, event: "StepDone") -> float | None:
        """Estimate the time of the remaining steps, if training does not end early."""
        first = self._first
        if first is None or event.step <= first.step:
            return None
        pace = (event.seconds - first.seconds) / (event.step - first.step)
        return pace * (event.num_steps - event.step)


def describe_step(recent: "deque[StepDone]") -> str:
    """Describe the last of these steps, with the speed over all of them."""
    first, last = recent[0], recent[-1]
    parts = [f"step {last.step:,} of {last.num_steps:,}", f"loss {last.loss:.4f}"]
    if (seconds := last.seconds - first.seconds) > 0:
        later = [*recent][1:]
        parts += [
            f"{sum(each.texts for each in later) / seconds:,.0f} texts/s",
            f"{sum(each.tokens for each in later) / seconds:,.0f} tokens/s",
        ]
    return " · ".join(parts)


def describe_evaluation(event: "Evaluated") -> str:
    """Describe an evaluation in a line; "average": of the averaged weights, which were better."""
    parts = [
        f"step {event.step:,} of {event.num_steps:,}",
        f"epoch {event.epoch}",
        f"loss {event.loss:.4f}",
        f"{event.metric} {event.value:.4f}{' (average)' if event.weights == 'average' else ''}",
        "best" if event.best else f"{event.evaluations_without_better} since the best",
    ]
    return " · ".join(parts)


def summarize_training(done: "TrainedFolder") -> str:
    """Write the closing lines: steps, time, metrics of the validation, folder and digest."""
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in done.metrics.items())
    return "\n".join(
        [
            f"{done.folder}: {counted(done.steps, 'step')} in {format_duration(done.seconds)}",
            f"validation: {metrics}",
            f"digest of model.safetensors: {done.digest}",
        ]
    )
