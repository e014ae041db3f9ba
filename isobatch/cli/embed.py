"""`isobatch embed`: the vectors of texts in files, and resumes an interrupted run."""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from isobatch.cli import options_of_tasks
from isobatch.cli.job_command import kept_columns, run_jobs, truncation_of
from isobatch.cli.job_options import JobCommand
from isobatch.errors import OptionError
from isobatch.tables import Format

OutputFormat = Annotated[
    Literal["csv", "tsv", "jsonl", "parquet", "npy"] | None,
    typer.Option(help="Format of the output. Default: by the file name; stdout: the input's."),
]
OnError = Annotated[
    Literal["row", "stop"] | None,
    typer.Option(
        help="Rows without a vector: write the reason, or NaN in .npy (row), or stop there (stop). "
        "Default: row; stop for .npy, which has no place for a reason.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedCommand(JobCommand):
    """The options of the command."""

    output_format: OutputFormat = None
    on_error: OnError = None
    pooling: options_of_tasks.Pooling = None
    normalize: options_of_tasks.Normalize = None
    prompt_name: options_of_tasks.PromptName = None
    prompt: options_of_tasks.Prompt = None


def embed(context: typer.Context, command: EmbedCommand) -> None:
    """Compute the vectors of texts in files: a column `embedding`, or an array (-o OUT.npy).

    Pooling, dense layers, norm and prompts are those of the checkpoint's files. Parquet gets lists
    of a fixed size of float32, the other formats JSON arrays. Progress is saved in .isobatch/ next
    to the output: run an interrupted command again to resume it, with the same bytes as the result.
    """
    from isobatch.jobs import ScoringOptions, TaskOptions

    if command.model is None and command.pooling is None:
        raise OptionError(
            "--model is missing: no file of the bundled model says how its vectors are pooled. "
            "Specify a model whose files do, or pass --pooling mean for vectors of the bundled one"
        )
    scoring = ScoringOptions(
        text_column=command.text_column,
        id_column=command.id_column,
        columns=kept_columns(command),
        prefix=command.prefix,
        truncation=truncation_of(command),
        on_empty=command.on_empty,
        on_error=command.on_error,
    )
    task = TaskOptions(
        name="feature-extraction",
        pooling=command.pooling,
        normalize=command.normalize,
        prompt=command.prompt,
        prompt_name=command.prompt_name,
    )
    output_format: Format | None = command.output_format
    run_jobs(context, command, "embed", scoring, task, output_format)
