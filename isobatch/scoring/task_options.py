"""The task that is computed for each row, and the options of that task.

Invariant: an option that the task has no use for is an error, never ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from isobatch.errors import OptionError
from isobatch.tasks import PipelineTask

AGGREGATIONS = ("none", "simple", "first", "average", "max")

_OPTIONS: Mapping[str, tuple[str, PipelineTask]] = {
    "query": ("--query", "text-ranking"),
    "true_token": ("--true-token", "text-ranking"),
    "false_token": ("--false-token", "text-ranking"),
    "labels": ("--labels", "zero-shot-classification"),
    "labels_column": ("--labels-column", "zero-shot-classification"),
    "multi_label": ("--multi-label", "zero-shot-classification"),
    "aggregation": ("--aggregation", "token-classification"),
    "pooling": ("--pooling", "feature-extraction"),
    "normalize": ("--normalize", "feature-extraction"),
    "prompt": ("--prompt", "feature-extraction"),
    "prompt_name": ("--prompt-name", "feature-extraction"),
}
"""Each option on the command line, and the task that has a use for it."""

_TEMPLATE = "--template"
_WITH_TEMPLATE: tuple[PipelineTask, ...] = ("text-ranking", "zero-shot-classification")
"""The tasks that have a use for a template; which one is, its places say."""

_OF_SINGLE_TEXTS: tuple[PipelineTask, ...] = ("zero-shot-classification", "token-classification")
"""The tasks that have no answer for a pair of texts."""

_LATER = ("labels_column", "true_token", "false_token")
"""Options that records of earlier versions do not have: they are recorded where they are given."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """The task and its options; None, () and False leave an option to the checkpoint or the class.

    name: the task; None for the one that the checkpoint's files state, or that an option implies.
    query: each row is a text for it; true_token, false_token: as Reranker takes them. labels,
    multi_label: of zero-shot classification, as ZeroShotClassifier takes them; labels_column: that
    of the labels of each row. template: of either, as its class takes it. aggregation: of entities.
    pooling, normalize, prompt, prompt_name: of vectors, as Embedder takes them.
    """

    name: PipelineTask | None = None
    query: str | None = None
    labels: tuple[str, ...] = ()
    template: str | None = None
    multi_label: bool = False
    aggregation: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    prompt: str | None = None
    prompt_name: str | None = None
    labels_column: str | None = None
    true_token: str | None = None
    false_token: str | None = None

    def __post_init__(self) -> None:
        if self.query is not None and not self.query.strip():
            raise OptionError("--query is empty. Write the question or the search words")
        self._check_labels()
        if self.labels and self.labels_column is not None:
            raise OptionError(
                "--labels are those of every row, --labels-column names a column. Leave one out"
            )
        if self.template is not None and self._template_task is None:
            raise OptionError(
                f"--template {self.template!r}: has no {{}}, where each label is put. Write one, "
                'as in "This example is {}.", or, for a reranker, {query} and {text} once each'
            )
        if self.aggregation is not None and self.aggregation not in AGGREGATIONS:
            raise OptionError(
                f"--aggregation {self.aggregation!r} is not supported. Use one of: "
                + ", ".join(AGGREGATIONS)
            )
        if self.prompt is not None and self.prompt_name is not None:
            raise OptionError("--prompt is the prompt, --prompt-name is its name. Leave one out")

    def _check_labels(self) -> None:
        if empty := [place for place, label in enumerate(self.labels, 1) if not label.strip()]:
            raise OptionError(f"--labels: label {empty[0]} is empty. Specify it, or leave it out")
        twice = [label for label in self.labels if self.labels.count(label) > 1]
        if twice:
            raise OptionError(f"--labels: {twice[0]!r} is named twice. Leave one out")

    @property
    def task(self) -> PipelineTask | None:
        """The task that is named, or implied by an option; None for that of the checkpoint.

        Raises OptionError for options of different tasks.
        """
        given = self._given()
        implied = {task: option for option, task in given.items() if task not in _BY_CHECKPOINT}
        if len(implied) > 1:
            first, second, *_ = implied.values()
            raise OptionError(f"{first} and {second} are for different tasks. Leave one out")
        return self.name or next(iter(implied), None)

    @property
    def answers(self) -> dict[str, str]:
        """The options of loading that a reranker has, where they are given."""
        names = ("template", "true_token", "false_token")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def _template_task(self) -> PipelineTask | None:
        """The task whose places the template has; None for no template, and for none of them."""
        template = self.template or ""
        if "{query}" in template and "{text}" in template:
            return "text-ranking"
        return "zero-shot-classification" if "{}" in template else None

    def check_use(self, task: PipelineTask) -> None:
        """Raise OptionError for an option that is not for `task`."""
        for option, needed in self._given().items():
            if needed != task and option == _TEMPLATE and task == "text-ranking":
                raise OptionError(
                    f"--template {self.template!r}: a reranker's has {{query}} and {{text}}, once "
                    "each. Write it as the model's card says"
                )
            if needed != task:
                raise OptionError(f"{option} is for {needed}, but this is {task}. Leave it out")

    def check_pairs(self, task: PipelineTask, pair_column: str | None) -> None:
        """Raise OptionError for a column of second texts where `task` reads one text per row."""
        if pair_column is not None and task in _OF_SINGLE_TEXTS:
            raise OptionError(
                f"--pair-column is for models of text pairs, but this is {task}, which reads one "
                "text per row. Leave it out"
            )

    def check_labels(self, task: PipelineTask) -> None:
        """Raise OptionError if `task` chooses between labels and there are none."""
        if task == "zero-shot-classification" and not (self.labels or self.labels_column):
            raise OptionError("--labels is missing: specify the labels to choose from, as A,B,C")

    def _given(self) -> dict[str, PipelineTask]:
        """Return the options that are given, by their names on the command line."""
        defaults = {field.name: field.default for field in fields(self)}
        given = {
            option: task
            for name, (option, task) in _OPTIONS.items()
            if getattr(self, name) != defaults[name]
        }
        task = self._template_task
        return given if task is None else given | {_TEMPLATE: task}

    def record(self, task: PipelineTask) -> dict[str, object]:
        """Return what the values of a row depend on, for a manifest; {} for text-classification.

        The labels are not in it: they are among the columns.
        """
        if task == "text-classification":
            return {}
        names = [name for name, (_, needed) in _OPTIONS.items() if needed == task]
        values = {name: getattr(self, name) for name in names if name != "labels"}
        if task in _WITH_TEMPLATE:
            values["template"] = self.template
        later = {*_LATER, "template"} if task == "text-ranking" else {*_LATER}
        absent = {name for name in later & values.keys() if values[name] is None}
        return {"name": task, **{name: values[name] for name in values if name not in absent}}


_BY_CHECKPOINT: tuple[PipelineTask, ...] = ("token-classification", "feature-extraction")
"""Tasks that the files of a checkpoint state, or a command: no option implies them."""


def recorded_options(record: Mapping[str, Any] | None, labels: tuple[str, ...]) -> TaskOptions:
    """Return the options of a record in a manifest; None is text-classification."""
    if not record:
        return TaskOptions("text-classification")
    is_zero_shot = record["name"] == "zero-shot-classification"
    return TaskOptions(**record, labels=labels if is_zero_shot else ())
