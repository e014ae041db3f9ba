"""The two charts of a report: confusion matrix and reliability diagram.

Invariant: the same evaluation gives the same bytes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from isobatch.drawing.display_text import one_line
from isobatch.drawing.svg import BLUE, GREY, ORANGE, draw_svg
from isobatch.evaluation.records import Evaluation, ReliabilityBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_DRAWN = 12
"""Maximum number of labels in a confusion matrix whose counts are legible."""

MAX_NAME = 24
FEW = 10
"""A bin with fewer texts says little about its accuracy, and is drawn pale."""


def drawn_labels(evaluation: Evaluation) -> list[int]:
    """Return the indices of the labels to draw: all, or those most often in a mistake."""
    matrix = evaluation.confusion
    if len(matrix) <= MAX_DRAWN:
        return list(range(len(matrix)))
    in_mistakes = [
        sum(matrix[index]) + sum(row[index] for row in matrix) - 2 * matrix[index][index]
        for index in range(len(matrix))
    ]
    ranked = sorted(range(len(matrix)), key=lambda index: -in_mistakes[index])
    return sorted(ranked[:MAX_DRAWN])


def confusion_chart(evaluation: Evaluation, description: str) -> str:
    """Draw the confusion matrix as a heat map: each cell a count, and its share of the row.

    The share is of all texts with the expected label, including columns that are not drawn.
    """
    shown = drawn_labels(evaluation)
    names = [one_line(evaluation.labels[index], MAX_NAME) for index in shown]
    # From 0.6 inches, which hold a count of six digits, to twice that where labels are few.
    side = max(0.6 * len(shown), min(1.2 * len(shown), 3))

    def draw(figure: "Figure") -> None:
        # The cells fill the figure; the labels around them are added when it is saved.
        axes = figure.add_axes((0, 0, 1, 1))
        _draw_confusion(axes, evaluation, shown)
        ticks = range(len(shown))
        axes.set_xticks(
            ticks, names, parse_math=False, rotation=45, ha="left", rotation_mode="anchor"
        )
        axes.set_yticks(ticks, names, parse_math=False)
        axes.set(xlabel="predicted", ylabel="expected")

    return draw_svg((side, side), draw, "confusion", description)


def reliability_chart(evaluation: Evaluation, description: str, name: str = "reliability") -> str:
    """Draw accuracy against confidence in each bin, above the number of texts in the bin.

    name: of the chart, unique on its page.
    """

    def draw(figure: "Figure") -> None:
        figure.set_layout_engine("constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _draw_reliability(upper, evaluation)
        for each in evaluation.reliability:
            _bar(lower, each, each.count / evaluation.num_texts, colour=GREY, alpha=1)
        lower.set(xlabel="confidence", ylabel="share of texts", ylim=(0, None))
        figure.legend(loc="outside upper left", frameon=False, fontsize=9)

    return draw_svg((4.6, 5.4), draw, name, description)


def _draw_confusion(axes: "Axes", evaluation: Evaluation, shown: Sequence[int]) -> None:
    totals = [max(sum(row), 1) for row in evaluation.confusion]
    shares = [[evaluation.confusion[i][j] / totals[i] for j in shown] for i in shown]
    size = 10 if len(shown) <= 4 else 8
    cells = [index - 0.5 for index in range(len(shown) + 1)]
    axes.pcolormesh(cells, cells, shares, cmap="Blues", vmin=0, vmax=1, edgecolor="white")
    axes.invert_yaxis()
    for row, index in enumerate(shown):
        for column, other in enumerate(shown):
            share = shares[row][column]
            count = evaluation.confusion[index][other]
            label = f"{count:,}\n{100 * share:.0f}\N{NO-BREAK SPACE}%" if count else "0"
            colour = "white" if share > 0.55 else "black" if count else GREY
            axes.text(column, row, label, ha="center", va="center", color=colour, fontsize=size)
    axes.xaxis.set_ticks_position("top")
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_reliability(axes: "Axes", evaluation: Evaluation) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect calibration")
    filled = [each for each in evaluation.reliability if each.count]
    for each in filled:
        _bar(axes, each, each.accuracy or 0, colour=BLUE, alpha=0.3 if each.count < FEW else 0.9)
    axes.plot(
        [each.mean_confidence or 0 for each in filled],
        [each.accuracy or 0 for each in filled],
        color=ORANGE,
        marker="o",
        markersize=4,
        linewidth=1,
        label="mean confidence and accuracy of a bin",
    )
    axes.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))


def _bar(axes: "Axes", each: ReliabilityBin, height: float, *, colour: str, alpha: float) -> None:
    width = 0.9 * (each.upper - each.lower)
    axes.bar((each.lower + each.upper) / 2, height, width=width, color=colour, alpha=alpha)
