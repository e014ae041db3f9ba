"""An evaluation on a terminal: metrics, classes, confusion matrix, slices and mistakes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from isobatch.cli.terminal_layout import fitted_table, open_console, shortened_text, wrapped
from isobatch.drawing.display_text import counted, printable

if TYPE_CHECKING:
    from isobatch.evaluation import Evaluation, Mistake, TaskEvaluation

_Table = tuple[Sequence[str], Iterable[Sequence[str]]]
"""Header and rows."""

MAX_LABELS_SHOWN = 12
"""A larger confusion matrix does not fit a terminal; the page shows the worst confusions."""


def print_evaluation(evaluation: "Evaluation | TaskEvaluation") -> None:
    """Print its numbers, then its tables."""
    from isobatch.evaluation import Evaluation

    console = open_console()
    if isinstance(evaluation, Evaluation):
        lines, tables = _lines(evaluation), _tables(evaluation)
    else:
        lines, tables = _task_lines(evaluation), _task_tables(evaluation)
    for line in lines:
        console.print(wrapped(printable(line), console.width))
    for header, rows in tables:
        console.print(fitted_table(header, rows, console.width))


def _task_lines(evaluation: "TaskEvaluation") -> Iterator[str]:
    from isobatch.evaluation.report_parts import describe_evaluation, describe_rows

    parts = describe_evaluation(evaluation)
    for figure in parts.figures:
        yield f"{figure.title} {figure.value} ({figure.note})"
    yield parts.lead
    yield describe_rows(evaluation)
    yield from evaluation.notes


def _task_tables(evaluation: "TaskEvaluation") -> Iterator[_Table]:
    from isobatch.evaluation.report_parts import describe_evaluation

    for each in describe_evaluation(evaluation).tables:
        header, rows = each.for_terminal
        yield header, ([shortened_text(cell) for cell in row] for row in rows)
    if evaluation.errors:
        yield _errors(evaluation)


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


def _tables(evaluation: "Evaluation") -> Iterator[_Table]:
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
    yield header, classes
    if len(evaluation.labels) <= MAX_LABELS_SHOWN:
        rows = zip(evaluation.labels, evaluation.confusion, strict=True)
        confusion = ([label, *(f"{count:,}" for count in counts)] for label, counts in rows)
        yield ["expected ╲ predicted", *evaluation.labels], confusion
    if evaluation.slice_column is not None:
        yield _slices(evaluation)
    if evaluation.mistakes:
        header = ["most confident mistakes", "expected", "predicted", "score", "text"]
        yield header, map(_mistake_row, evaluation.mistakes)
    if evaluation.errors:
        yield _errors(evaluation)


def _errors(evaluation: "Evaluation | TaskEvaluation") -> _Table:
    errors = ([each.place, each.reason] for each in evaluation.errors)
    return ["rows that are not counted", "reason"], errors


def _slices(evaluation: "Evaluation") -> _Table:
    header = [str(evaluation.slice_column), "texts", "errors", "unlabelled"]
    rows = (
        [
            each.value,
            *(f"{n:,}" for n in (each.num_texts, each.num_errors, each.num_unlabelled)),
            *map(_ratio, (each.accuracy, each.macro_f1, each.mcc, each.roc_auc)),
        ]
        for each in evaluation.slices
    )
    return [*header, "accuracy", "macro F1", "MCC", "AUC"], rows


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _mistake_row(mistake: "Mistake") -> list[str]:
    text = mistake.text if isinstance(mistake.text, str) else " | ".join(mistake.text)
    scored = mistake.expected, mistake.predicted, f"{mistake.score:.4f}"
    return [mistake.place, *scored, shortened_text(text)]
