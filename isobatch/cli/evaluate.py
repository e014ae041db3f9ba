"""`isobatch evaluate`: metrics on labelled files, as tables, JSON or an HTML page."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import input_files, options
from isobatch.cli.scoring_progress import shown_progress
from isobatch.cli.writing import write_file

if TYPE_CHECKING:
    from rich.table import Table

    from isobatch.evaluation import Evaluation, Mistake
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
    delimiter: input_files.Delimiter = None,
    encoding: input_files.Encoding = None,
    compression: input_files.CompressionOption = None,
    truncation: input_files.RowTruncation = "cut",
    mistakes: Annotated[int, typer.Option(min=0, help="Number of mistakes to show.")] = 10,
    html: Annotated[
        Path | None, typer.Option(help="Path to write a self-contained HTML report to.")
    ] = None,
    quiet: input_files.Quiet = False,
    model: options.ModelOption = None,
    revision: options.RevisionOption = None,
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

    reading = input_files.InputOptions(
        input_format, no_header, no_quotes, delimiter, encoding, compression
    )
    named = input_files.input_tables(names, reading)
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
            revision=revision,
        )
        facts = _facts(classifier, model, names)
        evaluation = evaluate_files(
            files, classifier, facts=facts, num_mistakes=mistakes, on_progress=display.show
        )
    if html:
        write_file(html, render_report(evaluation, ", ".join(names)), "page")
    if as_json or not sys.stdout.isatty():
        sys.stdout.write(json.dumps(asdict(evaluation), ensure_ascii=False) + "\n")
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
    classes = (
        [
            each.label,
            *("–" if ratio is None else f"{ratio:.4f}" for ratio in ratios),
            f"{each.support:,}",
            f"{each.num_predicted:,}",
        ]
        for each in evaluation.classes
        for ratios in [(each.precision, each.recall, each.f1)]
    )
    yield _table(["class", "precision", "recall", "F1", "texts", "predicted"], classes)
    if len(evaluation.labels) <= MAX_LABELS_SHOWN:
        rows = zip(evaluation.labels, evaluation.confusion, strict=True)
        confusion = ([label, *(f"{count:,}" for count in counts)] for label, counts in rows)
        yield _table(["expected ╲ predicted", *evaluation.labels], confusion)
    if evaluation.mistakes:
        header = ["most confident mistakes", "expected", "predicted", "score", "text"]
        yield _table(header, map(_mistake_row, evaluation.mistakes))
    if evaluation.errors:
        errors = ([each.place, each.reason] for each in evaluation.errors)
        yield _table(["rows without a prediction", "reason"], errors)


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
