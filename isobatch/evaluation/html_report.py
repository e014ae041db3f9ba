"""The report of an Evaluation: one HTML page that needs no network and no script.

Invariant: everything from outside (texts, labels, places, facts) is escaped, and the same
evaluation gives the same bytes.
"""

from importlib.util import find_spec

from isobatch.drawing.display_text import counted, percent, shortened
from isobatch.drawing.html_page import render_html
from isobatch.evaluation.charts import FEW, confusion_chart, drawn_labels, reliability_chart
from isobatch.evaluation.records import Evaluation
from isobatch.evaluation.task_records import TaskEvaluation
from isobatch.evaluation.task_report import render_task_report
from isobatch.extras import needs_extra
from isobatch.types import TextInput

MAX_CONFUSIONS = 10
MAX_OPEN_CLASSES = 15
"""Rows of the table of labels that are shown; the others are folded."""

CALIBRATED = 0.005
"""A gap below half a point between confidence and accuracy is called none."""


def render_report(evaluation: Evaluation | TaskEvaluation, title: str) -> str:
    """Render the report as an HTML page, to be saved as UTF-8.

    OptionError if the extra `evaluate` is missing.
    """
    if not isinstance(evaluation, Evaluation):
        return render_task_report(evaluation, title)
    values = {
        "title": title,
        "evaluation": evaluation,
        "gap": calibration_gap(evaluation),
        "commonest": max(evaluation.classes, key=lambda each: each.support),
        "num_seen": sum(each.f1 is not None for each in evaluation.classes),
        # The weakest first; labels that never occurred come last.
        "classes": sorted(evaluation.classes, key=lambda each: 2.0 if each.f1 is None else each.f1),
        "max_open": MAX_OPEN_CLASSES,
        "confusions": confusions(evaluation)[:MAX_CONFUSIONS],
        "num_drawn": len(drawn_labels(evaluation)),
        "few": FEW,
    }
    confusion, reliability = _describe_confusion(evaluation), _describe_reliability(evaluation)
    with needs_extra("evaluate", "evaluation"):
        return render_html(
            "isobatch.evaluation",
            "evaluation.html",
            pictures={
                "confusion": confusion_chart(evaluation, confusion),
                "reliability": reliability_chart(evaluation, reliability),
            },
            filters={
                "points": points,
                "passages": _passages,
                "coefficient": coefficient,
                "counted": counted,
            },
            values=values,
        )


def check_libraries() -> None:
    """OptionError, before anything is computed, if a library of the report is missing."""
    with needs_extra("evaluate", "evaluation"):
        for name in ("jinja2", "matplotlib"):
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)


def points(share: float) -> str:
    """Format a difference of two shares in percentage points."""
    return f"{100 * share:.1f}"


def coefficient(value: float | None) -> str:
    """Format a coefficient or an area; a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def calibration_gap(evaluation: Evaluation) -> str:
    """Describe how the mean confidence and the accuracy differ."""
    gap = evaluation.mean_confidence - evaluation.accuracy
    if abs(gap) < CALIBRATED:
        return "about as confident as accurate"
    return f"{'over' if gap > 0 else 'under'}-confident by {points(abs(gap))} points"


def confusions(evaluation: Evaluation) -> list[tuple[str, str, int, float]]:
    """List (expected, predicted, count, share of the expected), the most frequent first."""
    found = [
        (evaluation.labels[row], evaluation.labels[column], count, count / sum(counts))
        for row, counts in enumerate(evaluation.confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda each: -each[2])


def _passages(text: TextInput) -> list[str]:
    return [shortened(part) for part in ([text] if isinstance(text, str) else text)]


def _describe_confusion(evaluation: Evaluation) -> str:
    found = [
        f"{expected} predicted as {predicted} {counted(count, 'time')}"
        for expected, predicted, count, _ in confusions(evaluation)[:3]
    ]
    drawn = f"{len(drawn_labels(evaluation))} of {len(evaluation.labels)} labels"
    return f"Confusion matrix of {drawn}. {'; '.join(found) or 'No mistakes'}."


def _describe_reliability(evaluation: Evaluation) -> str:
    return (
        f"Reliability diagram: mean confidence {percent(evaluation.mean_confidence)}, "
        f"accuracy {percent(evaluation.accuracy)}, {calibration_gap(evaluation)}."
    )
