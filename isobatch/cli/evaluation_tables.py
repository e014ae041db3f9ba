"""An Evaluation on a terminal: metrics, classes, confusion matrix, slices and mistakes."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from isobatch.drawing.display_text import counted

if TYPE_CHECKING:
    from rich.table import Table

    from isobatch.evaluation import Evaluation, Mistake

MAX_LABELS_SHOWN = 12
"""A larger confusion matrix does not fit a terminal; the page shows the worst confusions."""


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print metrics, classes, confusion matrix and mistakes."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    console.print("\n".join(_lines(evaluation)))
    for part in _tables(evaluation):
        console.print(part)


def _lines(evaluation: "Evaluation") -> Iterator[str]:
    low, high = evaluation.accuracy_interval
    yield (
        f"accuracy {evaluation.accuracy:.2%} ({evaluation.num_correct:,} of "
        f"{evaluation.num_texts:,}; 95 % between {low:.2%} and {high:.2%})"
    )
    yield (
        f"macro F1 {evaluation.macro_f1:.4f}, micro {evaluation.micro_f1:.4f}, weighted "
        f"{evaluation.weighted_f1:.4f}"
    )
    for name, title in (("mcc", "Matthews correlation"), ("roc_auc", "ROC AUC")):
        value = getattr(evaluation, name)
        reason = evaluation.undefined.get(name)
        yield f"{title} {_ratio(value)}" + (f" (undefined: {reason})" if reason else "")
    yield (
        f"calibration error {evaluation.calibration_error:.2%} (mean confidence "
        f"{evaluation.mean_confidence:.2%})"
    )
    yield (
        f"{evaluation.num_truncated:,} truncated, "
        f"{counted(evaluation.num_errors, 'error')}, "
        f"{evaluation.num_unlabelled:,} without a label, "
        f"{evaluation.num_empty:,} empty or white space"
    )
    yield from evaluation.notes


def _tables(evaluation: "Evaluation") -> "Iterator[Table]":
    classes = (
        [
            each.label,
            *map(_ratio, (each.precision, each.recall, each.f1, each.roc_auc)),
            f"{each.support:,}",
            f"{each.num_predicted:,}",
        ]
        for each in evaluation.classes
    )
    header = ["class", "precision", "recall", "F1", "AUC", "texts", "predicted"]
    yield _table(header, classes)
    if len(evaluation.labels) <= MAX_LABELS_SHOWN:
        rows = zip(evaluation.labels, evaluation.confusion, strict=True)
        confusion = ([label, *(f"{count:,}" for count in counts)] for label, counts in rows)
        yield _table(["expected ╲ predicted", *evaluation.labels], confusion)
    if evaluation.slice_column is not None:
        yield _slices(evaluation)
    if evaluation.mistakes:
        header = ["most confident mistakes", "expected", "predicted", "score", "text"]
        yield _table(header, map(_mistake_row, evaluation.mistakes))
    if evaluation.errors:
        errors = ([each.place, each.reason] for each in evaluation.errors)
        yield _table(["rows that are not counted", "reason"], errors)


def _slices(evaluation: "Evaluation") -> "Table":
    header = [str(evaluation.slice_column), "texts", "errors", "unlabelled"]
    rows = (
        [
            each.value,
            *(f"{n:,}" for n in (each.num_texts, each.num_errors, each.num_unlabelled)),
            *map(_ratio, (each.accuracy, each.macro_f1, each.mcc, each.roc_auc)),
        ]
        for each in evaluation.slices
    )
    return _table([*header, "accuracy", "macro F1", "MCC", "AUC"], rows)


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _mistake_row(mistake: "Mistake") -> list[str]:
    text = mistake.text if isinstance(mistake.text, str) else " | ".join(mistake.text)
    shown = text if len(text) <= 200 else text[:200] + "…"
    return [mistake.place, mistake.expected, mistake.predicted, f"{mistake.score:.4f}", shown]


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> "Table":
    """Build a table of literal texts: in a plain string, rich would replace :emoji: codes."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*map(Text, row))
    return table
