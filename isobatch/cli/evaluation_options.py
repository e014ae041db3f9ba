"""The options of `isobatch evaluate`, in groups, and the tasks that each is for.

Invariant: an option that the task has no use for is an error, never ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import input_files, options, options_of_tasks
from isobatch.errors import OptionError

EvaluatedTask = Literal[
    "classification", "zero-shot", "ranking", "retrieval", "similarity", "entities"
]

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Files, glob patterns, a folder, or - for stdin. Default with --scores-from: the "
        "scored file.",
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the expected values: labels by name or index; relevances of texts to "
        "queries; similarities of pairs; tags of words, or spans. Default: the one with a common "
        "name, such as label; for retrieval, every text is relevant."
    ),
]
HtmlPage = Annotated[
    Path | None, typer.Option(help="Path to write a self-contained HTML report to.")
]
Mistakes = Annotated[int, typer.Option(min=0, help="Number of mistakes to show.")]
LabelMap = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VALUE=LABEL",
        help="Meaning of a value of the label column, such as pos=POSITIVE or, of a type of "
        "entities, PERSON=PER; repeatable.",
    ),
]
SkipUnlabelled = Annotated[
    bool,
    typer.Option("--skip-unlabelled", help="Leave out rows without a label, and count them."),
]
OnBadLabel = Annotated[
    Literal["stop", "row"],
    typer.Option(
        help="If the checkpoint does not have a label, a number or tags cannot be read, or a "
        "query has no relevant text: stop before anything is computed (stop), or count the "
        "row as an error (row)."
    ),
]
By = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Also report the metrics for each value of this column."),
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
    typer.Option(help="With --scores-from: prefix of the added columns. Default: detected."),
]
ZeroShot = Annotated[
    bool,
    typer.Option(
        "--zero-shot",
        help="Classify into the labels of --labels, or those of the label column.",
        rich_help_panel=options_of_tasks.ZERO_SHOT,
    ),
]
SchemeName = Annotated[
    Literal["iob2", "iobes", "bilou"] | None,
    typer.Option(
        help="Count only spans that are complete in this scheme of tags, as seqeval's strict mode. "
        "Default: as its default mode.",
        rich_help_panel=options_of_tasks.ENTITIES,
    ),
]
JoinedAggregation = Annotated[
    Literal["simple", "first", "average", "max"] | None, options_of_tasks.AGGREGATION
]

_CLASSES: tuple[EvaluatedTask, ...] = ("classification", "zero-shot")
_USES: Mapping[str, tuple[EvaluatedTask, ...]] = {
    "by": _CLASSES,
    "label_map": (*_CLASSES, "entities"),
    "pair_column": ("classification", "similarity"),
    "query_column": ("ranking", "retrieval"),
    "zero_shot": ("zero-shot",),
    "scheme": ("entities",),
}
"""The tasks that an option is for. TaskOptions knows more; others are for all."""

COMPUTING = (
    "truncation",
    "stride",
    "window_pooling",
    "on_empty",
    "precision",
    "device",
    "threads",
    "max_batch_tokens",
    "model_engine",
    "group_equal_lengths",
    "query_column",
    "pooling",
    "normalize",
    "zero_shot",
    "labels",
    "labels_file",
    "template",
    "template_file",
    "true_token",
    "false_token",
    "scheme",
    "aggregation",
)
"""Options that have no effect on predictions that are read from a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateCommand:
    """The options of the command."""

    names: Inputs = None
    label_column: LabelColumn = None
    label_map: LabelMap = None
    skip_unlabelled: SkipUnlabelled = False
    on_bad_label: OnBadLabel = "stop"
    by: By = None
    scores_from: ScoresFrom = None
    prefix: Prefix = None
    query_column: options_of_tasks.QueryColumn = None
    pooling: options_of_tasks.Pooling = None
    normalize: options_of_tasks.Normalize = None
    zero_shot: ZeroShot = False
    labels: options_of_tasks.Labels = None
    labels_file: options_of_tasks.LabelsFile = None
    template: options_of_tasks.Template = None
    template_file: options_of_tasks.TemplateFile = None
    true_token: options_of_tasks.TrueToken = None
    false_token: options_of_tasks.FalseToken = None
    scheme: SchemeName = None
    aggregation: JoinedAggregation = None
    input_format: input_files.InputFormat = None
    text_column: input_files.TextColumn = None
    pair_column: input_files.PairColumn = None
    id_column: input_files.IdColumn = None
    no_header: input_files.NoHeader = False
    no_quotes: input_files.NoQuotes = False
    delimiter: input_files.Delimiter = None
    encoding: input_files.Encoding = None
    compression: input_files.CompressionOption = None
    truncation: options.WindowedTruncation = None
    stride: options.StrideOption = None
    window_pooling: options.WindowPoolingOption = None
    on_empty: input_files.OnEmptyOption = "score"
    mistakes: Mistakes = 10
    html: HtmlPage = None
    quiet: input_files.Quiet = False
    model: options.ModelOption = None
    revision: options.RevisionOption = None
    precision: options.PrecisionOption = None
    device: options.DeviceOption = "cpu"
    threads: options.ThreadsOption = None
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS
    model_engine: options.ModelEngineOption = "native"
    group_equal_lengths: options.GroupEqualLengthsOption = False
    as_json: options.JsonOption = False

    def check_use(self, task: EvaluatedTask) -> None:
        """Raise OptionError for an option that `task` has no use for, or that it lacks.

        A file of `isobatch run` has predictions in its column `label`: they are never taken for
        the labels.
        """
        for name, uses in _USES.items():
            if getattr(self, name) and task not in uses:
                raise OptionError(
                    f"--{name.replace('_', '-')}: is for {' and '.join(uses)}, but this is "
                    f"{task}. Leave it out"
                )
        if self.label_column is None and self.scores_from is not None:
            raise OptionError(
                "--label-column is missing: with --scores-from it is not detected. Specify the "
                "column of the labels, such as --label-column gold"
            )
        if task == "retrieval":
            self._check_labels()
        if task == "entities" and self.on_empty == "error":
            raise OptionError("--on-empty error: is not for entities. Leave it out")

    def _check_labels(self) -> None:
        """Raise OptionError for an option of a label column where there is none."""
        given = {
            "--skip-unlabelled": self.skip_unlabelled,
            "--on-bad-label row": self.on_bad_label == "row",
        }
        unused = [name for name, is_given in given.items() if is_given]
        if unused and self.label_column is None:
            raise OptionError(
                f"{unused[0]}: is for a label column, and without one every text is relevant to "
                "its query. Leave it out, or add --label-column COLUMN"
            )
