"""`isobatch evaluate`: metrics on labelled files, as tables, JSON or an HTML page."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from isobatch.cli import input_files
from isobatch.cli.evaluated_tasks import (
    evaluate_task,
    evaluated_task,
    labelled_files,
    task_options,
    truncation_of,
)
from isobatch.cli.evaluation_options import COMPUTING, EvaluateCommand, EvaluatedTask
from isobatch.cli.evaluation_tables import print_evaluation
from isobatch.cli.options import refuse_given
from isobatch.cli.standard_streams import printing
from isobatch.cli.terminal_layout import say
from isobatch.cli.writing import check_writable, is_same_file, refuse_replacing, write_file
from isobatch.drawing.display_text import counted
from isobatch.errors import OptionError

if TYPE_CHECKING:
    from isobatch.evaluation import Evaluation, LabelledFiles, LabelOptions, TaskEvaluation
    from isobatch.tables import TableFile


def evaluate(context: typer.Context, command: EvaluateCommand) -> None:
    """Compare a checkpoint's answers for files with the expected ones.

    Classifiers, also zero-shot: accuracy, F1, Matthews correlation, ROC AUC, calibration, confusion
    matrix and mistakes. Rerankers and embedding models: nDCG, MRR and recall of queries; Spearman
    and Pearson correlation of pairs. Entities: precision, recall and F1 of spans. A row that cannot
    be evaluated is counted as an error, and the exit code is 0; it is 3 if no row can be evaluated.
    """
    given = _input_names(context, command)
    task = "classification" if command.scores_from else evaluated_task(command)
    command.check_use(task)
    options = task_options(command, task)
    truncation_of(command)  # before the checkpoint is loaded
    more = {"--labels-file": command.labels_file, "--template-file": command.template_file}
    refuse_replacing({"--html": command.html}, more)
    read = command.input_format, command.no_header, command.no_quotes
    formats = *read, command.delimiter, command.encoding, command.compression
    text_format = input_files.InputOptions(*formats, "evaluate")
    with input_files.input_tables(given, text_format) as tables:
        _check_page(command.html, tables)
        label = _label_options(command, task, tables)
        if command.scores_from is None:
            evaluation = evaluate_task(command, task, options, tables, label, given)
        else:
            assert label is not None
            plain = input_files.InputOptions(no_quotes=command.no_quotes)
            scored_format = plain if command.names else text_format
            with input_files.input_tables([command.scores_from], scored_format) as scored:
                _check_page(command.html, scored)
                files = labelled_files(command, tables, label)
                evaluation = _evaluate_scored(command, files, scored, given)
    as_json = command.as_json or not sys.stdout.isatty()
    with ExitStack() as page:  # written also if stdout cannot be, and after it
        page.callback(_write_page, command.html, evaluation, given)
        with printing():
            _show(evaluation, as_json=as_json, quiet=command.quiet)


def _label_options(
    command: EvaluateCommand, task: EvaluatedTask, tables: "Sequence[TableFile]"
) -> "LabelOptions | None":
    """Return how labels are read; None for retrieval without relevances.

    OptionError if no column is named, and none has a common name; also for a file that `isobatch
    run` has written, whose column `label` holds predictions.
    """
    from isobatch.evaluation import LabelOptions
    from isobatch.evaluation.scored_columns import ADDED
    from isobatch.scoring.label_names import column_names, find_label_column
    from isobatch.tables import open_table

    column = command.label_column
    if column is None:
        if task == "retrieval":
            return None
        named = command.text_column, command.pair_column, command.query_column
        names = column_names(open_table(tables[0]))
        if {*ADDED} <= {*names}:
            raise OptionError(
                f"{tables[0].path}: has the columns that `isobatch run` adds, so its column "
                "'label' holds predictions. Specify the column of the labels with --label-column, "
                "or evaluate these predictions with --scores-from"
            )
        try:
            column = find_label_column(names, (*named, command.id_column, command.by))
        except OptionError as error:
            raise OptionError(f"{tables[0].path}: {error}") from error
    mapped = tuple(command.label_map or ())
    return LabelOptions(column, mapped, command.skip_unlabelled, command.on_bad_label, command.by)


def _show(evaluation: "Evaluation | TaskEvaluation", *, as_json: bool, quiet: bool) -> None:
    """Print it; next to JSON, say on stderr which rows are in no metric."""
    if not as_json:
        print_evaluation(evaluation)
        return
    sys.stdout.write(json.dumps(asdict(evaluation), ensure_ascii=False) + "\n")
    if not quiet:
        _report_uncounted(evaluation)


def _report_uncounted(evaluation: "Evaluation | TaskEvaluation") -> None:
    """Say on stderr which rows are in no metric, and how labels were read."""
    lines = [f"note: {each}" for each in evaluation.notes]
    if evaluation.num_unlabelled:
        lines.append(f"{counted(evaluation.num_unlabelled, 'row')} without a label left out")
    if evaluation.num_errors:
        first = evaluation.errors[0]
        errors = counted(evaluation.num_errors, "row")
        lines.append(f"{errors} not evaluated; the first, {first.place}: {first.reason}")
    for line in lines:
        say(f"isobatch: {line}", err=True)


def _input_names(context: typer.Context, command: EvaluateCommand) -> list[str]:
    """Return the inputs; OptionError for options that would have no effect."""
    if command.scores_from is None:
        if command.prefix is not None:
            raise OptionError("--prefix: is for --scores-from. Leave it out")
        if not command.names:
            raise OptionError(
                "no input. Specify a labelled file, or one that is scored (--scores-from)"
            )
        return command.names
    refuse_given(context, COMPUTING, "with --scores-from")
    if command.revision and not command.model:
        raise OptionError(
            "--revision: has no effect with --scores-from but without --model. Leave it out, or "
            "pass the checkpoint that it belongs to with --model"
        )
    return command.names or [command.scores_from]


def _check_page(html: Path | None, tables: "Sequence[TableFile]") -> None:
    """Raise before long work if the page cannot be written, or would replace an input."""
    if html is None:
        return
    check_writable(html)
    for each in tables:
        if is_same_file(html, each.path):
            raise OptionError(f"--html {html}: is the input, which would be overwritten")
    from isobatch.evaluation.html_report import check_libraries

    check_libraries()


def _write_page(
    html: Path | None, evaluation: "Evaluation | TaskEvaluation", names: Sequence[str]
) -> None:
    if html:
        from isobatch.evaluation import render_report

        write_file(html, render_report(evaluation, ", ".join(names)), "page")


def _evaluate_scored(
    command: EvaluateCommand,
    files: "LabelledFiles",
    scored: "Sequence[TableFile]",
    names: Sequence[str],
) -> "Evaluation":
    from isobatch.evaluation import check_task, evaluate_scored

    facts = {
        "files": ", ".join(names),
        "label column": files.label.column,
        "scores from": ", ".join(each.path.name for each in scored),
    }
    labels = None
    if command.model:
        from isobatch.checkpoint import checkpoint_name, locate_checkpoint, read_config

        folder = locate_checkpoint(command.model, command.revision)
        head = read_config(folder).head
        check_task(head.score_activation)
        labels, facts["labels of"] = head.labels, checkpoint_name(folder)
    return evaluate_scored(
        files,
        scored,
        labels=labels,
        prefix=command.prefix,
        facts=facts,
        num_mistakes=command.mistakes,
    )
