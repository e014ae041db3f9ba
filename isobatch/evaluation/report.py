"""The report of an Evaluation: one HTML file that needs no network and no script.

It knows no files: whoever calls writes the text, as UTF-8. Invariant: what comes from outside
(texts, labels, places, facts) is escaped, and the same evaluation gives the same bytes.
"""

from isobatch.drawing.display_text import percent, shortened
from isobatch.drawing.html_page import render_html
from isobatch.evaluation.extra import evaluate_extra
from isobatch.evaluation.pictures import FEW, confusion_picture, drawn_labels, reliability_picture
from isobatch.evaluation.result import ClassMetrics, Evaluation
from isobatch.types import TextInput

MAX_CONFUSIONS = 10
MAX_OPEN_CLASSES = 15
"""Rows of the table of labels before the others are folded away."""

CALIBRATED = 0.005
"""Half a point between confidence and accuracy is called none."""


def render_report(evaluation: Evaluation, title: str) -> str:
    """The report as an HTML page; OptionError where the extra `evaluate` is missing."""
    values = {
        "title": title,
        "evaluation": evaluation,
        "gap": calibration_gap(evaluation),
        "commonest": max(evaluation.classes, key=lambda each: each.support),
        "num_seen": sum(each.f1 is not None for each in evaluation.classes),
        "classes": _weakest_first(evaluation),
        "max_open": MAX_OPEN_CLASSES,
        "confusions": confusions(evaluation)[:MAX_CONFUSIONS],
        "num_drawn": len(drawn_labels(evaluation)),
        "few": FEW,
    }
    confusion, reliability = (
        _confusion_description(evaluation),
        _reliability_description(evaluation),
    )
    with evaluate_extra():
        return render_html(
            "isobatch.evaluation",
            "report.html",
            pictures={
                "confusion": confusion_picture(evaluation, confusion),
                "reliability": reliability_picture(evaluation, reliability),
            },
            filters={"points": points, "passages": _passages},
            values=values,
        )


def points(share: float) -> str:
    """A difference of two shares, in percentage points."""
    return f"{100 * share:.1f}"


def calibration_gap(evaluation: Evaluation) -> str:
    """In words, how the mean confidence and the accuracy differ."""
    gap = evaluation.mean_confidence - evaluation.accuracy
    if abs(gap) < CALIBRATED:
        return "about as sure as it is right"
    return f"{'over' if gap > 0 else 'under'}-confident by {points(abs(gap))} points"


def confusions(evaluation: Evaluation) -> list[tuple[str, str, int, float]]:
    """(expected, predicted, count, share of the expected), the most frequent first."""
    found = [
        (evaluation.labels[row], evaluation.labels[column], count, count / sum(counts))
        for row, counts in enumerate(evaluation.confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda each: -each[2])


def _weakest_first(evaluation: Evaluation) -> list[ClassMetrics]:
    """By F1; labels that never occurred come last."""
    return sorted(evaluation.classes, key=lambda each: 2.0 if each.f1 is None else each.f1)


def _passages(text: TextInput) -> list[str]:
    """A text, or the two of a pair, cut to what a reader will look at."""
    parts = [text] if isinstance(text, str) else list(text)
    return [shortened(part) for part in parts]


def _confusion_description(evaluation: Evaluation) -> str:
    found = [
        f"{expected} taken for {predicted} {count:,} times"
        for expected, predicted, count, _ in confusions(evaluation)[:3]
    ]
    drawn = f"{len(drawn_labels(evaluation))} of {len(evaluation.labels)} labels"
    return f"Confusion matrix of {drawn}. {'; '.join(found) or 'No mistakes'}."


def _reliability_description(evaluation: Evaluation) -> str:
    return (
        f"Reliability diagram: mean confidence {percent(evaluation.mean_confidence)}, "
        f"accuracy {percent(evaluation.accuracy)}, {calibration_gap(evaluation)}."
    )
