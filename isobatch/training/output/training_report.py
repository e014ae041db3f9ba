"""The report of a training: one HTML page that needs no network and no script.

Invariant: everything from outside (texts, labels, places, names) is escaped, and the same training
gives the same bytes: no duration and no time of day is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.drawing.display_text import counted, percent, shortened
from isobatch.drawing.html_page import render_html
from isobatch.evaluation.charts import FEW, confusion_chart, drawn_labels, reliability_chart
from isobatch.evaluation.evaluator import Evaluator
from isobatch.evaluation.html_report import points
from isobatch.evaluation.records import ClassMetrics, Evaluation, Example
from isobatch.extras import needs_extra
from isobatch.tasks import Prediction
from isobatch.tasks.scores import score_logits
from isobatch.training.output.contradicted_labels import ContradictedLabel, find_contradicted_labels
from isobatch.training.output.learning_curves import (
    learning_chart,
    regression_chart,
    validation_loss,
)
from isobatch.training.output.metric_words import format_metric, format_number, spoken_metric
from isobatch.training.output.trained_model import TrainedModel
from isobatch.types import TextInput

MAX_SUSPECTED = 20
MAX_MISTAKES = 10
MAX_DECIDED = 50
"""Labels of which each text may have several: each decision takes 10 µs, of which there are as many
as texts times labels."""

MAX_OPEN_LABELS = 15
"""Rows of the table of labels that are shown; the others are folded."""

_SUSPICIONS = {
    "single": "the model prefers another label, as confidently as it does on average where that "
    "is the label",
    "multi": "the model decides otherwise, as confidently as it does on average where that is "
    "right",
    "regression": "the error is an outlier among those of all validation texts",
}


@dataclass(frozen=True, slots=True)
class HeadlineFigure:
    """A number at the head of the page."""

    name: str
    value: str
    note: str


def render_training_report(trained: TrainedModel, title: str) -> str:
    """Render the report as an HTML page, to be saved as UTF-8.

    OptionError if the libraries of the extra `train` are missing.
    """
    with needs_extra("train", "the report of a training"):
        evaluated = _evaluate(trained)
        return render_html(
            "isobatch.training.output",
            "training.html",
            pictures=_draw_pictures(trained, evaluated),
            filters={
                "counted": counted,
                "number": format_number,
                "passages": _passages,
                "words": spoken_metric,
            },
            values={"title": title, **_values(trained, evaluated)},
        )


def check_report_libraries() -> None:
    """OptionError, before anything is computed, if a library of the report is missing."""
    with needs_extra("train", "the report of a training"):
        for name in ("jinja2", "matplotlib", "scipy", "sklearn"):
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """Evaluations without and with the temperature; None for a regression.

    Of several labels, each pair of a text and a label is one decision between yes and no.
    """

    before: Evaluation | None
    after: Evaluation | None
    classes: tuple[ClassMetrics, ...]
    contradicted: tuple[ContradictedLabel, ...]


def _evaluate(trained: TrainedModel) -> _Evaluated:
    task, validation = trained.recipe.task, trained.validation
    before, after = trained.calibrated.before.logits, trained.calibrated.after.logits
    contradicted = find_contradicted_labels(
        task,
        trained.scheme.labels,
        validation.targets,
        after,
        trained.validation_texts,
        validation.places,
    )
    if task == "regression":
        return _Evaluated(None, None, (), tuple(contradicted))
    compare = _compare_labels if task == "single" else _compare_decisions
    first, last = (compare(trained, logits) for logits in (before, after))
    classes = last.classes if task == "single" else _binary_metrics(trained, after)
    return _Evaluated(first, last, classes, tuple(contradicted))


def _compare_labels(trained: TrainedModel, logits: NDArray[np.float32]) -> Evaluation:
    labels = trained.scheme.labels
    evaluator = Evaluator(labels, num_mistakes=0)
    expected = trained.validation.targets.argmax(axis=1).tolist()
    for row, place in enumerate(trained.validation.places):
        scores = score_logits(logits[row], "softmax")
        index = int(logits[row].argmax())
        prediction = _prediction(labels[index], scores[index], logits[row].tolist())
        evaluator.add(Example(place, "", expected[row], prediction))
    return evaluator.finish()


def _compare_decisions(trained: TrainedModel, logits: NDArray[np.float32]) -> Evaluation:
    evaluator = Evaluator(("no", "yes"), num_mistakes=0)
    for column in frequent_labels(trained):
        _add_decisions(evaluator, trained, logits, column)
    return evaluator.finish()


def _binary_metrics(trained: TrainedModel, logits: NDArray[np.float32]) -> tuple[ClassMetrics, ...]:
    found = []
    for column in frequent_labels(trained):
        evaluator = Evaluator(("no", "yes"), num_mistakes=0)
        _add_decisions(evaluator, trained, logits, column)
        metrics = evaluator.finish().classes[1]
        found.append(replace(metrics, label=trained.scheme.labels[column]))
    return tuple(found)


def frequent_labels(trained: TrainedModel) -> list[int]:
    """Return the indices of the labels that most validation texts have, in order."""
    counts = np.count_nonzero(trained.validation.targets, axis=0)
    return sorted(np.argsort(-counts, kind="stable")[:MAX_DECIDED].tolist())


def _add_decisions(
    evaluator: Evaluator, trained: TrainedModel, logits: NDArray[np.float32], column: int
) -> None:
    expected = (trained.validation.targets[:, column] > 0.5).tolist()
    for row, place in enumerate(trained.validation.places):
        logit = float(logits[row, column])
        (score,) = score_logits([logit], "sigmoid")
        label = "yes" if logit > 0 else "no"
        prediction = _prediction(label, max(score, 1.0 - score), [-logit, logit])
        evaluator.add(Example(place, "", int(expected[row]), prediction))


def _prediction(label: str, score: float, logits: Sequence[float]) -> Prediction:
    return Prediction(label, score, tuple(logits), truncated=False, num_tokens=0, scores={})


def _draw_pictures(trained: TrainedModel, evaluated: _Evaluated) -> dict[str, str]:
    task, before, after = trained.recipe.task, evaluated.before, evaluated.after
    best = trained.best
    described = (
        f"Learning curves: {spoken_metric(best['metric'])} "
        f"{format_metric(best['metric'], best['value'])} at step {best['step']} of "
        f"{best['num_steps']}."
    )
    pictures = {"learning": learning_chart(task, trained.events, described, trained.deviations)}
    if before is None or after is None:
        arrays = trained.validation.targets, trained.calibrated.after.logits
        said = f"Predicted against labelled numbers of {counted(len(arrays[0]), 'text')}."
        return pictures | {"confusion": regression_chart(trained.scheme.labels, *arrays, said)}
    if task == "single":
        said = f"Confusion matrix, {percent(after.accuracy)} of the texts on its diagonal."
        pictures["confusion"] = confusion_chart(after, said)
    pictures["before"] = _reliability(before, "before")
    if trained.calibrated.temperature.value != 1.0:
        pictures["after"] = _reliability(after, "after")
    return pictures


def _reliability(evaluation: Evaluation, name: str) -> str:
    said = (
        f"Reliability diagram: mean confidence {percent(evaluation.mean_confidence)}, accuracy "
        f"{percent(evaluation.accuracy)}."
    )
    return reliability_chart(evaluation, said, name)


def _values(trained: TrainedModel, evaluated: _Evaluated) -> dict[str, Any]:
    task, temperature = trained.recipe.task, trained.calibrated.temperature
    suspected = [each for each in evaluated.contradicted if each.suspected]
    mistakes = [each for each in evaluated.contradicted if not each.suspected]
    before, after = evaluated.before, evaluated.after
    return {
        "task": task,
        "figures": _figures(trained),
        "best": trained.best,
        "evaluations": [
            {
                **each,
                "validation_loss": validation_loss(task, each["metrics"], trained.deviations),
            }
            for each in trained.evaluations
        ],
        "facts": trained.facts,
        "notes": trained.facts.notes(has_class_weights=trained.has_class_weights),
        "temperature": temperature,
        "validation_title": {"single": "Confusion", "multi": "Labels"}.get(task, "Numbers"),
        "confusion_caption": _CAPTIONS[task],
        # The weakest first; labels that never occurred come last.
        "classes": sorted(evaluated.classes, key=lambda each: 2.0 if each.f1 is None else each.f1),
        "max_open": MAX_OPEN_LABELS,
        "num_labels": len(trained.scheme.labels),
        "few": FEW,
        "num_drawn": len(drawn_labels(after)) if after else 0,
        "calibration_before": points(before.calibration_error) if before else "",
        "calibration_after": points(after.calibration_error) if after else "",
        "suspected": suspected[:MAX_SUSPECTED],
        "num_suspected": len(suspected),
        "suspicion": _SUSPICIONS[task],
        "mistakes": mistakes[:MAX_MISTAKES],
        "num_mistakes": len(mistakes),
        "data": data_lines(trained),
        "recipe": recipe_lines(trained),
    }


_CAPTIONS = {
    "single": "Number of validation texts by label (row) and predicted label (column), and their "
    "share of the row. Of many labels, those that are most often part of a mistake.",
    "multi": "",
    "regression": "Each point is a validation text: predicted against labelled. On the dashed "
    "line they are equal.",
}


def _figures(trained: TrainedModel) -> list[HeadlineFigure]:
    chosen = trained.recipe.metric
    metrics = trained.metrics
    others = [name for name in metrics if name != chosen]
    figures = [
        HeadlineFigure(
            spoken_metric(name)[0].upper() + spoken_metric(name)[1:],
            format_metric(name, metrics[name]),
            "by which the best weights were chosen" if name == chosen else "",
        )
        for name in (chosen, *others)
    ]
    facts = trained.facts
    return [*figures, HeadlineFigure("Texts", f"{facts.num_train:,}", "to train on")]


def data_lines(trained: TrainedModel) -> list[tuple[str, str]]:
    """Return what is known about the texts, as names and values for a reader."""
    facts, (training, validation) = trained.facts, trained.num_truncated
    limit = counted(trained.start.encoder.max_tokens, "token")
    held = "from files of their own" if facts.split_share is None else "held out of the same files"
    if not facts.files:
        held = "passed separately" if facts.split_share is None else "held out of the others"
    lines = [
        ("training texts", f"{facts.num_train:,}"),
        *_unlabelled(trained),
        ("validation texts", f"{facts.num_validation:,}, {held}"),
        ("truncated", f"{training:,} of training, {validation:,} of validation, at {limit}"),
        ("duplicates", f"{counted(facts.num_duplicates, 'text')} equal to an earlier one"),
        (
            "duplicates across the split",
            f"{counted(facts.num_shared, 'validation text')} equal to a training text"
            + ("" if facts.split_share is None else ": equal texts are kept on one side"),
        ),
        (
            "equal texts with different labels",
            counted(facts.num_contradictions, "text"),
        ),
        (
            "rows left out",
            f"{facts.num_unlabelled:,} without a label, {facts.num_empty:,} with an empty text",
        ),
        ("labels", trained.scheme.evidence),
    ]
    files = [("training file", each) for each in facts.files]
    files += [("validation file", each) for each in facts.validation_files]
    return lines + [
        (part, f"{each['name']}: {counted(each['rows'], 'row')}, SHA-256 {each['sha256']}")
        for part, each in files
    ]


def _unlabelled(trained: TrainedModel) -> list[tuple[str, str]]:
    number = trained.num_unlabelled
    return [("texts without a label", f"{number:,}, learned from the teacher")] if number else []


def recipe_lines(trained: TrainedModel) -> list[tuple[str, str]]:
    """Return the recipe as names and values for a reader."""
    start = trained.start
    hub = f" at commit {start.hub[1]}" if start.hub else ""
    lines = [("start from", f"{start.hub[0] if start.hub else start.name}{hub}; {start.reason}")]
    recipe = trained.recipe.as_dict()
    if trained.teacher is not None:
        lines.append(("teacher", trained.teacher))
    else:
        recipe = {name: value for name, value in recipe.items() if not name.startswith("teacher")}
    return lines + [(name.replace("_", " "), _shown(value)) for name, value in recipe.items()]


def _shown(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _passages(text: TextInput) -> list[str]:
    return [shortened(part) for part in ([text] if isinstance(text, str) else text)]
