"""The charts of a training's report: learning curves, and the numbers of a regression.

Invariant: the same events give the same bytes; durations have no part in it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isobatch.drawing.display_text import one_line
from isobatch.drawing.svg import BLUE, GREY, ORANGE, draw_svg
from isobatch.training.output.metric_words import spoken_metric
from isobatch.training.recipe import TrainingTask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 300
"""Losses of more steps are averaged, each point over as many steps."""

MAX_NAME = 24
MAX_PANELS = 4

_Event = Mapping[str, Any]

_LOSSES = {"single": "log_loss", "multi": "binary_log_loss"}


def validation_loss(
    task: TrainingTask, metrics: Mapping[str, float], deviations: Sequence[float]
) -> float | None:
    """Return the loss of the validation texts, in the units of the training loss.

    That of a regression is the mean square error of standardized numbers. deviations: by which its
    outputs were divided; with several of them, the metrics do not have the loss: None.
    """
    if task in _LOSSES:
        return metrics[_LOSSES[task]]
    return (metrics["rmse"] / deviations[0]) ** 2 if len(deviations) == 1 else None


def learning_chart(
    task: TrainingTask, events: Sequence[_Event], description: str, deviations: Sequence[float]
) -> str:
    """Draw the losses of steps and evaluations above the metric that the best was chosen by.

    deviations: as those of `validation_loss`.
    """
    steps = [each for each in events if each["event"] == "step"]
    evaluations = [each for each in events if each["event"] == "evaluation"]
    best = [each["step"] for each in evaluations if each["best"]][-1]

    def draw(figure: "Figure") -> None:
        figure.set_layout_engine("constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        held_out = [validation_loss(task, each["metrics"], deviations) for each in evaluations]
        _draw_losses(upper, steps, evaluations, held_out)
        _draw_metric(lower, evaluations)
        for axes in (upper, lower):
            axes.axvline(best, color=GREY, linestyle="--", linewidth=1)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        lower.set(xlabel="step", xlim=(0, None))

    return draw_svg((7.2, 5.4), draw, "learning", description)


def regression_chart(
    labels: Sequence[str],
    targets: NDArray[np.float32],
    predicted: NDArray[np.float32],
    description: str,
) -> str:
    """Draw predicted against labelled numbers, [texts, outputs]: a panel for each output."""
    shown = labels[:MAX_PANELS]

    def draw(figure: "Figure") -> None:
        figure.set_layout_engine("constrained")
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for column, (axes, label) in enumerate(zip(panels, shown, strict=True)):
            low = float(min(targets[:, column].min(), predicted[:, column].min()))
            high = float(max(targets[:, column].max(), predicted[:, column].max()))
            axes.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1)
            axes.scatter(targets[:, column], predicted[:, column], s=9, color=BLUE, alpha=0.4)
            axes.set_xlabel(f"{one_line(label, MAX_NAME)}, labelled", parse_math=False)
            axes.set_ylabel("predicted")

    return draw_svg((4.6 * len(shown), 4.2), draw, "regression", description)


def _draw_losses(
    axes: "Axes",
    steps: Sequence[_Event],
    evaluations: Sequence[_Event],
    held_out: Sequence[float | None],
) -> None:
    size = -(-len(steps) // MAX_POINTS)
    parts = [steps[first : first + size] for first in range(0, len(steps), size)]
    places = [float(np.mean([each["step"] for each in part])) for part in parts]
    losses = [float(np.mean([each["loss"] for each in part])) for part in parts]
    mean = "each step" if size == 1 else f"mean of {size} steps"
    axes.plot(places, losses, color=BLUE, alpha=0.3, linewidth=1, label=f"training, {mean}")
    numbers = [each["step"] for each in evaluations]
    since = [each["loss"] for each in evaluations]
    axes.plot(
        numbers,
        since,
        color=BLUE,
        marker="o",
        markersize=3,
        label="training, since the last evaluation",
    )
    known = [loss for loss in held_out if loss is not None]
    if len(known) == len(numbers):
        axes.plot(numbers, known, color=ORANGE, marker="o", markersize=3, label="validation")
    axes.set(ylabel="loss")
    axes.legend(frameon=False, fontsize=9)


def _draw_metric(axes: "Axes", evaluations: Sequence[_Event]) -> None:
    name = evaluations[-1]["metric"]
    for kind, colour in (("raw", GREY), ("average", ORANGE)):
        found = [
            (each["step"], metrics[name])
            for each in evaluations
            for metrics in [each["metrics"] if each["weights"] == kind else each["other_metrics"]]
            if name in metrics
        ]
        if found:
            numbers, values = zip(*found, strict=True)
            label = "raw weights" if kind == "raw" else "average of the weights"
            axes.plot(numbers, values, color=colour, marker="o", markersize=3, label=label)
    axes.set(ylabel=f"{spoken_metric(name)}, validation")
    axes.legend(frameon=False, fontsize=9)
