"""`isobatch evaluate`: metrics on labelled files, as tables, JSON or an HTML page."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import input_files, options
from isobatch.cli.evaluation_tables import print_evaluation
from isobatch.cli.scoring_progress import shown_progress
from isobatch.cli.writing import check_writable, write_file
from isobatch.drawing.display_text import counted
from isobatch.errors import OptionError

if TYPE_CHECKING:
    from isobatch.evaluation import Evaluation, LabelledFiles
    from isobatch.tables import TableFile
    from isobatch.tasks import Classifier

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Files, glob patterns, a folder, or - for stdin. With --scores-from, default: that.",
    ),
]
LabelColumn = Annotated[
    str, typer.Option(help="Column of the expected labels: their names, or their indices.")
]
HtmlPage = Annotated[
    Path | None, typer.Option(help="Path to write a self-contained HTML report to.")
]
Mistakes = Annotated[int, typer.Option(min=0, help="Number of mistakes to show.")]
LabelMap = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VALUE=LABEL",
        help="Meaning of a value of the label column, such as pos=POSITIVE; repeatable.",
    ),
]
SkipUnlabelled = Annotated[
    bool,
    typer.Option("--skip-unlabelled", help="Leave out rows without a label, and count them."),
]
OnBadLabel = Annotated[
    Literal["stop", "row"],
    typer.Option(
        help="For a label that the checkpoint does not have: stop before anything is computed, or "
        "count the row as an error."
    ),
]
By = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column by whose values the metrics are also given."),
]
ScoresFrom = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="File that `isobatch run` has written: its predictions are evaluated, and no weights "
        "are loaded. --model only gives the names of the labels.",
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option(help="With --scores-from: prefix of the added columns. Default: found."),
]
COMPUTING = ("truncation", "on_empty", "precision", "device", "threads", "max_batch_tokens")
"""Options that have no effect on predictions that are read from a file."""


def evaluate(
    context: typer.Context,
    label_column: LabelColumn,
    names: Inputs = None,
    label_map: LabelMap = None,
    skip_unlabelled: SkipUnlabelled = False,
    on_bad_label: OnBadLabel = "stop",
    by: By = None,
    scores_from: ScoresFrom = None,
    prefix: Prefix = None,
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
    on_empty: input_files.OnEmptyOption = "score",
    mistakes: Mistakes = 10,
    html: HtmlPage = None,
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

    Accuracy, F1, Matthews correlation and ROC AUC; precision, recall and F1 of each class;
    confusion matrix, calibration error, and the most confident mistakes. A row that cannot be
    classified is counted as an error, and the exit code stays 0; it is 3 if there is no other row.
    """
    from isobatch.evaluation import LabelledFiles, LabelOptions

    given = _input_names(context, names, scores_from, prefix)
    label = LabelOptions(label_column, tuple(label_map or ()), skip_unlabelled, on_bad_label, by)
    loading = {"precision": precision, "device": device, "threads": threads, "revision": revision}
    loading["max_batch_tokens"] = max_batch_tokens
    formats = input_format, no_header, no_quotes, delimiter, encoding, compression
    text_format = input_files.InputOptions(*formats, "evaluate")
    with input_files.input_tables(given, text_format) as tables:
        _check_page(html, tables)
        read = text_column, pair_column, id_column, truncation, on_empty
        files = LabelledFiles(tuple(tables), label, *read)
        if scores_from is None:
            evaluation = _evaluate_files(files, given, model, loading, mistakes, quiet=quiet)
        else:
            scored_format = input_files.InputOptions(no_quotes=no_quotes) if names else text_format
            with input_files.input_tables([scores_from], scored_format) as scored:
                _check_page(html, scored)
                source = model, revision
                evaluation = _evaluate_scored(files, scored, given, source, prefix, mistakes)
    _show(evaluation, as_json=as_json or not sys.stdout.isatty(), quiet=quiet)
    _write_page(html, evaluation, given)  # last, so that a failure here loses nothing else


def _show(evaluation: "Evaluation", *, as_json: bool, quiet: bool) -> None:
    """Print it; next to JSON, say on stderr which rows are in no metric."""
    if not as_json:
        print_evaluation(evaluation)
        return
    sys.stdout.write(json.dumps(asdict(evaluation), ensure_ascii=False) + "\n")
    if not quiet:
        _report_uncounted(evaluation)


def _report_uncounted(evaluation: "Evaluation") -> None:
    """Say on stderr which rows are in no metric, and how labels were read."""
    lines = [f"note: {each}" for each in evaluation.notes]
    if evaluation.num_unlabelled:
        lines.append(f"{counted(evaluation.num_unlabelled, 'row')} without a label left out")
    if evaluation.num_errors:
        first = evaluation.errors[0]
        errors = counted(evaluation.num_errors, "row")
        lines.append(f"{errors} not evaluated; the first, {first.place}: {first.reason}")
    for line in lines:
        typer.echo(f"isobatch: {line}", err=True)


def _input_names(
    context: typer.Context, names: list[str] | None, scores_from: str | None, prefix: str | None
) -> list[str]:
    """Return the inputs; OptionError for options that would have no effect."""
    if scores_from is None:
        if prefix is not None:
            raise OptionError("--prefix: is for --scores-from. Leave it out")
        if not names:
            raise OptionError(
                "no input. Name a labelled file, or one that is scored (--scores-from)"
            )
        return names
    for name in COMPUTING:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise OptionError(f"{option}: has no effect with --scores-from. Leave it out")
    if context.params["revision"] and not context.params["model"]:
        raise OptionError(
            "--revision: has no effect with --scores-from but without --model. Leave it out, or "
            "name the checkpoint (--model) of which it is a revision"
        )
    return names or [scores_from]


def _check_page(html: Path | None, tables: "Sequence[TableFile]") -> None:
    """Raise before long work if the page cannot be written, or would replace an input."""
    if html is None:
        return
    check_writable(html)
    for each in tables:
        if html.exists() and html.samefile(each.path):
            raise OptionError(f"--html {html}: is the input, which would be overwritten")
    from isobatch.evaluation.html_report import check_libraries

    check_libraries()


def _write_page(html: Path | None, evaluation: "Evaluation", names: Sequence[str]) -> None:
    if html:
        from isobatch.evaluation import render_report

        write_file(html, render_report(evaluation, ", ".join(names)), "page")


def _evaluate_files(
    files: "LabelledFiles",
    names: Sequence[str],
    model: str | None,
    loading: dict[str, Any],
    num_mistakes: int,
    *,
    quiet: bool,
) -> "Evaluation":
    from isobatch import Classifier
    from isobatch.evaluation import evaluate_files

    with shown_progress(quiet=quiet) as display:
        classifier = Classifier.from_pretrained(model, **loading)
        return evaluate_files(
            files,
            classifier,
            facts=_facts(classifier, model, names),
            num_mistakes=num_mistakes,
            on_progress=display.show,
        )


def _evaluate_scored(
    files: "LabelledFiles",
    scored: "Sequence[TableFile]",
    names: Sequence[str],
    source: tuple[str | None, str | None],
    prefix: str | None,
    num_mistakes: int,
) -> "Evaluation":
    from isobatch.evaluation import check_task, evaluate_scored

    facts = {"files": ", ".join(names), "scores from": ", ".join(each.path.name for each in scored)}
    labels, (model, revision) = None, source
    if model:
        from isobatch.checkpoint import checkpoint_name, locate_checkpoint, read_config

        folder = locate_checkpoint(model, revision)
        head = read_config(folder).head
        check_task(head.score_activation)
        labels, facts["labels of"] = head.labels, checkpoint_name(folder)
    return evaluate_scored(
        files, scored, labels=labels, prefix=prefix, facts=facts, num_mistakes=num_mistakes
    )


def _facts(classifier: "Classifier", model: str | None, names: Sequence[str]) -> dict[str, str]:
    from isobatch.scope import describe_scope

    scope = describe_scope(classifier, model or "the bundled model")
    return {
        "files": ", ".join(names),
        "checkpoint": scope.checkpoint,
        "precision": f"{scope.precision} ({scope.precision_reason})",
        "processor": f"{scope.processor}, {scope.instruction_set}",
        "arithmetic": scope.arithmetic,
        "versions": ", ".join(f"{name} {number}" for name, number in scope.versions.items()),
    }
