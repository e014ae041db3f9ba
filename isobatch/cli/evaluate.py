"""`isobatch evaluate`: metrics on labelled files, as tables, JSON or an HTML page."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import input_files, options
from isobatch.cli.scoring_progress import shown_progress
from isobatch.cli.writing import write_file

if TYPE_CHECKING:
    from rich.table import Table

    from isobatch.evaluation import Evaluation
    from isobatch.tasks import Classifier

MAX_LABELS_SHOWN = 12
"""A larger confusion matrix does not fit a terminal; the page shows the worst confusions."""


def evaluate(
    names: input_files.Inputs,
    label_column: Annotated[
        str, typer.Option(help="Column of the expected labels: their names, or their indices.")
    ],
    input_format: input_files.InputFormat = None,
    text_column: input_files.TextColumn = None,
    pair_column: input_files.PairColumn = None,
    id_column: input_files.IdColumn = None,
    no_header: input_files.NoHeader = False,
    no_quotes: input_files.NoQuotes = False,
    truncation: input_files.RowTruncation = "cut",
    mistakes: Annotated[int, typer.Option(min=0, help="Number of mistakes to show.")] = 10,
    html: Annotated[
        Path | None, typer.Option(help="Path to write a self-contained HTML report to.")
    ] = None,
    quiet: input_files.Quiet = False,
    model: options.ModelOption = None,
    precision: options.PrecisionOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS,
    as_json: options.JsonOption = False,
) -> None:
    """Compare the predictions for labelled files with their labels.

    Accuracy, precision, recall and F1 of each class, confusion matrix, calibration error, and the
    most confident mistakes.
    """
    from isobatch import Classifier
    from isobatch.evaluation import LabelledFiles, evaluate_files, render_report

    named = input_files.input_tables(names, input_format, no_header, no_quotes)
    with named as tables, shown_progress(quiet=quiet) as display:
        files = LabelledFiles(
            tuple(tables), label_column, text_column, pair_column, id_column, truncation
        )
        classifier = Classifier.from_pretrained(
            model,
            precision=precision,
            device=device,
            threads=threads,
            max_batch_tokens=max_batch_tokens,
        )
        evaluation = evaluate_files(
            files,
            classifier,
            facts=_facts(classifier, model, names),
            num_mistakes=mistakes,
            on_progress=display.show,
        )
    if html:
        write_file(html, render_report(evaluation, ", ".join(names)), "page")
    if as_json or not sys.stdout.isatty():
        sys.stdout.write(json.dumps(evaluation.as_dict(), ensure_ascii=False) + "\n")
    else:
        print_evaluation(evaluation)


def _facts(classifier: "Classifier", model: str | None, names: list[str]) -> dict[str, str]:
    from isobatch.scope import describe_scope

    scope = describe_scope(classifier, model or "the bundled model")
    return {
        "files": ", ".join(names),
        "checkpoint": scope.checkpoint,
        "precision": f"{scope.precision} ({scope.precision_reason})",
        "processor": f"{scope.processor}, {scope.instruction_set}",
        "versions": ", ".join(f"{name} {number}" for name, number in scope.versions.items()),
    }


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print metrics, classes, confusion matrix and mistakes."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    low, high = evaluation.accuracy_interval
    console.print(
        f"accuracy {evaluation.accuracy:.2%} ({evaluation.num_correct:,} of "
        f"{evaluation.num_texts:,}; 95 % between {low:.2%} and {high:.2%})\n"
        f"macro F1 {evaluation.macro_f1:.4f}\n"
        f"calibration error {evaluation.calibration_error:.2%} (mean confidence "
        f"{evaluation.mean_confidence:.2%})\n"
        f"{evaluation.num_truncated:,} truncated, {evaluation.num_errors:,} errors"
    )
    for part in _tables(evaluation):
        console.print(part)


def _tables(evaluation: "Evaluation") -> "Iterator[Table]":
    yield _class_table(evaluation)
    if len(evaluation.labels) <= MAX_LABELS_SHOWN:
        yield _confusion_table(evaluation)
    if evaluation.mistakes:
        yield _mistake_table(evaluation)
    if evaluation.errors:
        yield _error_table(evaluation)


def _class_table(evaluation: "Evaluation") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("class", "precision", "recall", "F1", "texts", "predicted")
    for each in evaluation.classes:
        ratios = (each.precision, each.recall, each.f1)
        shown = ["–" if ratio is None else f"{ratio:.4f}" for ratio in ratios]
        table.add_row(Text(each.label), *shown, f"{each.support:,}", f"{each.num_predicted:,}")
    return table


def _confusion_table(evaluation: "Evaluation") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("expected ╲ predicted")
    for label in evaluation.labels:
        table.add_column(Text(label))
    for label, counts in zip(evaluation.labels, evaluation.confusion, strict=True):
        table.add_row(Text(label), *(f"{count:,}" for count in counts))
    return table


def _mistake_table(evaluation: "Evaluation") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("most confident mistakes", "expected", "predicted", "score", "text")
    for each in evaluation.mistakes:
        text = each.text if isinstance(each.text, str) else " | ".join(each.text)
        shown = text if len(text) <= 200 else text[:200] + "…"
        labels = Text(each.expected), Text(each.predicted)
        table.add_row(Text(each.place), *labels, f"{each.score:.4f}", Text(shown))
    return table


def _error_table(evaluation: "Evaluation") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("rows without a prediction", "reason")
    for each in evaluation.errors:
        table.add_row(Text(each.place), Text(each.reason))
    return table
