"""`isobatch run`: scores files into files, and resumes an interrupted run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from isobatch.cli import input_files, options_of_tasks
from isobatch.cli.job_command import kept_columns, run_jobs, truncation_of
from isobatch.cli.job_options import JobCommand
from isobatch.cli.writing import refuse_replacing
from isobatch.errors import JobError, OptionError
from isobatch.tables import TableFormat

if TYPE_CHECKING:
    from isobatch.jobs import TaskOptions

OutputFormat = Annotated[
    TableFormat | None,
    typer.Option(help="Format of the output. Default: by the file name; stdout: the input's."),
]
Logits = Annotated[bool, typer.Option("--logits", help="Add the logits, as one column.")]
Scores = Annotated[bool, typer.Option("--scores", help="Add one column for each class's score.")]
OnError = Annotated[
    Literal["row", "stop"],
    typer.Option(help="Rows without a prediction: write the reason (row), or stop there (stop)."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand(JobCommand):
    """The options of the command."""

    output_format: OutputFormat = None
    pair_column: input_files.PairColumn = None
    logits: Logits = False
    scores: Scores = False
    on_error: OnError = "row"
    query: options_of_tasks.Query = None
    query_column: options_of_tasks.QueryColumn = None
    labels: options_of_tasks.Labels = None
    labels_file: options_of_tasks.LabelsFile = None
    labels_column: options_of_tasks.LabelsColumn = None
    template: options_of_tasks.Template = None
    template_file: options_of_tasks.TemplateFile = None
    true_token: options_of_tasks.TrueToken = None
    false_token: options_of_tasks.FalseToken = None
    multi_label: options_of_tasks.MultiLabel = False
    aggregation: options_of_tasks.Aggregation = None


def run(context: typer.Context, command: RunCommand) -> None:
    """Score the rows of files: each output row is the input row, with the result added.

    A classifier adds label and score, a token classifier the entities; --query ranks texts,
    --labels classifies into any labels. Formats: CSV, TSV, JSONL, Parquet and plain lines, also .gz
    and .zst. Progress is saved in .isobatch/ next to the output: run an interrupted command again
    to resume it, with the same bytes as the result.
    """
    from isobatch.jobs import ScoringOptions

    scoring = ScoringOptions(
        text_column=command.text_column,
        pair_column=command.pair_column,
        id_column=command.id_column,
        columns=kept_columns(command),
        logits=command.logits,
        scores=command.scores,
        prefix=command.prefix,
        truncation=truncation_of(command),
        on_empty=command.on_empty,
        on_error=command.on_error,
        query_column=command.query_column,
        labels_column=command.labels_column,
    )
    more = {"--labels-file": command.labels_file, "--template-file": command.template_file}
    refuse_replacing({"--report": command.report}, more, JobError)
    run_jobs(context, command, "run", scoring, _task(command), command.output_format)


def _task(command: RunCommand) -> "TaskOptions":
    from isobatch.jobs import TaskOptions

    if command.query is not None:
        for option, column in (
            ("--query-column", command.query_column),
            ("--pair-column", command.pair_column),
        ):
            if column is not None:
                raise OptionError(
                    f"--query is the query of every row, {option} names a column. Leave one out"
                )
    task = TaskOptions(
        name=None if command.query_column is None else "text-ranking",
        query=command.query,
        labels=options_of_tasks.given_labels(command.labels, command.labels_file),
        labels_column=command.labels_column,
        template=options_of_tasks.stated_template(command.template, command.template_file),
        true_token=command.true_token,
        false_token=command.false_token,
        multi_label=command.multi_label,
        aggregation=command.aggregation,
    )
    pairs = command.query, command.query_column, command.pair_column
    if task.task == "text-ranking" and not any(pairs):
        raise OptionError(
            f"--{min(task.answers).replace('_', '-')} is for rankings, and no query is named. Add "
            "--query TEXT, or name its column (--query-column)"
        )
    return task
