"""The report of an Evaluation: one HTML file that needs no network and no script.

It knows no files: whoever calls writes the text, as UTF-8. Invariant: what comes from outside
(texts, labels, places, facts) is escaped, and the same evaluation gives the same bytes.
"""

from importlib.resources import files
from typing import Any

from isobatch.core import TextInput
from isobatch.evaluation.extra import evaluate_extra
from isobatch.evaluation.pictures import (
    FEW,
    confusion_picture,
    drawn_labels,
    printable,
    reliability_picture,
)
from isobatch.evaluation.result import ClassMetrics, Evaluation

MAX_TEXT = 600
"""Characters of a text in the report; what is longer is cut, and says so."""

MAX_CONFUSIONS = 10
MAX_OPEN_CLASSES = 15
"""Rows of the table of labels before the others are folded away."""

CALIBRATED = 0.005
"""Half a point between confidence and accuracy is called none."""


def render_report(evaluation: Evaluation, title: str) -> str:
    """The report as an HTML page; OptionError where the extra `evaluate` is missing."""
    with evaluate_extra():
        import jinja2
        import markupsafe
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, points=points, passages=_passages)
    source = files("isobatch.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    confusion = confusion_picture(evaluation, _confusion_description(evaluation))
    reliability = reliability_picture(evaluation, _reliability_description(evaluation))
    return environment.from_string(source).render(
        title=title,
        evaluation=evaluation,
        gap=calibration_gap(evaluation),
        commonest=max(evaluation.classes, key=lambda each: each.support),
        num_seen=sum(each.f1 is not None for each in evaluation.classes),
        classes=_weakest_first(evaluation),
        max_open=MAX_OPEN_CLASSES,
        confusions=confusions(evaluation)[:MAX_CONFUSIONS],
        num_drawn=len(drawn_labels(evaluation)),
        few=FEW,
        confusion_svg=markupsafe.Markup(confusion),
        reliability_svg=markupsafe.Markup(reliability),
    )


def percent(share: float | None) -> str:
    """A share as people read it; a dash where there is none.

    Never rounded to a perfect score, nor to nothing at all. Its spaces do not break.
    """
    if share is None:
        return "–"
    shown = f"{100 * share:.1f}"
    if shown == "100.0" and share < 1:
        shown = ">\N{NO-BREAK SPACE}99.9"
    elif shown == "0.0" and share > 0:
        shown = "<\N{NO-BREAK SPACE}0.1"
    return f"{shown}\N{NO-BREAK SPACE}%"


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
    return [
        part if len(part) <= MAX_TEXT else f"{part[:MAX_TEXT]} … ({len(part):,} characters)"
        for part in parts
    ]


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


def _finalize(value: Any) -> Any:
    """Make plain text printable; markup is a str too, but not of this exact type."""
    return printable(value) if type(value) is str else value
