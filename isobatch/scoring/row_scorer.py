"""RowScorer: a pipeline with the options of its task, as a job applies it to the texts of rows.

Invariant: the result of a text is a function of the text, the checkpoint, the options of the task
and the arithmetic alone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from isobatch.ambient import default_float_environment
from isobatch.batching.cache import OutputCache
from isobatch.checkpoint import locate_checkpoint
from isobatch.errors import InputError, OptionError
from isobatch.scoring.ranking_rows import RankingRows
from isobatch.scoring.task_options import TaskOptions
from isobatch.tasks import Pipeline, PipelineTask, RowFormat, load_pipeline
from isobatch.tasks.classification import ClassificationRows
from isobatch.tasks.pipeline_loading import stated_or_default
from isobatch.types import Encoding, Truncation

Results = list[Any | InputError]
"""For each text, in order, its prediction, or the error that it causes."""


class RowScorer:
    """Predicts for the texts of rows, and formats the predictions. Load one by `load_scorer`."""

    def __init__(self, pipeline: Pipeline[Any], task: PipelineTask, options: TaskOptions) -> None:
        self.pipeline = pipeline
        self.task = task
        self.options = options

    @property
    def row_format(self) -> RowFormat[Any]:
        """The columns that are added, and their values for a prediction."""
        return self.pipeline.row_format

    @property
    def record(self) -> Mapping[str, object]:
        """The options that results depend on, for a manifest; {} for text-classification."""
        return self.options.record(self.task)

    def labels_of(self, prediction: Any) -> Sequence[str]:
        """Return the labels that a prediction counts for in a summary."""
        return (prediction.label,)

    def predict_or_errors(
        self, texts: Iterable[object], *, truncation: Truncation, cache: OutputCache
    ) -> Results:
        """Return for each text, in order, its prediction, or the error that it causes."""
        return list(self.pipeline.predict_or_errors(texts, truncation=truncation, cache=cache))


class RankingScorer(RowScorer):
    """Scores texts for the query that is given, or pairs of a query and a text.

    A template and tokens are options of loading: the pipeline has them.
    """

    @property
    def row_format(self) -> RowFormat[Any]:
        return RankingRows(self.pipeline.row_format.labels)

    def labels_of(self, prediction: Any) -> Sequence[str]:
        return ()

    def predict_or_errors(
        self, texts: Iterable[object], *, truncation: Truncation, cache: OutputCache
    ) -> Results:
        query = self.options.query
        pairs = texts if query is None else [(query, text) for text in texts]
        return super().predict_or_errors(pairs, truncation=truncation, cache=cache)


class ZeroShotScorer(RowScorer):
    """Chooses between the labels that are given, or those of each row."""

    def __init__(self, pipeline: Pipeline[Any], task: PipelineTask, options: TaskOptions) -> None:
        if options.labels_column is None:
            template = {} if options.template is None else {"template": options.template}
            how = {"multi_label": options.multi_label, **template}
            pipeline = cast("Any", pipeline).for_labels(options.labels, **how)
        super().__init__(pipeline, task, options)

    @property
    def row_format(self) -> RowFormat[Any]:
        if self.options.labels_column is None:
            return super().row_format
        return ClassificationRows(())

    def predict_or_errors(
        self, texts: Iterable[object], *, truncation: Truncation, cache: OutputCache
    ) -> Results:
        if self.options.labels_column is None:
            return super().predict_or_errors(texts, truncation=truncation, cache=cache)
        pairs = cast("list[tuple[str, str]]", list(texts))
        problems = {labels: self._problem(labels) for labels in {each[1] for each in pairs}}
        valid = [(text, json.loads(each)) for text, each in pairs if problems[each] is None]
        how = self.options.template, self.options.multi_label
        found = iter(
            cast("Any", self.pipeline).predict_or_errors(
                *map(list, zip(*valid, strict=True)), *how, truncation=truncation, cache=cache
            )
            if valid
            else ()
        )
        return [problems[labels] or next(found) for _, labels in pairs]

    def _problem(self, labels: str) -> InputError | None:
        """Return why this model cannot choose between the labels of a row, a JSON list."""
        template = {} if self.options.template is None else {"template": self.options.template}
        try:
            cast("Any", self.pipeline).for_labels(json.loads(labels), **template)
        except OptionError as error:
            return InputError(str(error))
        return None


class EntityScorer(RowScorer):
    """Finds entities, aggregated as it is given."""

    @property
    def record(self) -> Mapping[str, object]:
        return {**super().record, "aggregation": self._aggregation}

    @property
    def _aggregation(self) -> str:
        return self.options.aggregation or "simple"

    def labels_of(self, prediction: Any) -> Sequence[str]:
        return [entity.label for entity in prediction.entities]

    def predict_or_errors(
        self, texts: Iterable[object], *, truncation: Truncation, cache: OutputCache
    ) -> Results:
        encodings = self.pipeline.tokenize(texts, truncation=truncation)
        valid = [each for each in encodings if not isinstance(each, InputError)]
        outputs = iter(self.pipeline.forward_or_errors(valid, cache))
        with default_float_environment():
            return [
                each if isinstance(each, InputError) else self._decoded(next(outputs), each)
                for each in encodings
            ]

    def _decoded(self, output: Any, encoding: Encoding) -> Any:
        if isinstance(output, InputError):
            return output
        return cast("Any", self.pipeline).decode(output, encoding, self._aggregation)


class VectorScorer(RowScorer):
    """Computes vectors, of texts after the prompt that is given."""

    def __init__(self, pipeline: Pipeline[Any], task: PipelineTask, options: TaskOptions) -> None:
        if options.prompt is not None or options.prompt_name is not None:
            how = {"prompt": options.prompt, "prompt_name": options.prompt_name}
            pipeline = cast("Any", pipeline).with_prompt(**how)
        super().__init__(pipeline, task, options)

    def labels_of(self, prediction: Any) -> Sequence[str]:
        return ()


_SCORERS: Mapping[PipelineTask, type[RowScorer]] = {
    "text-classification": RowScorer,
    "text-ranking": RankingScorer,
    "zero-shot-classification": ZeroShotScorer,
    "token-classification": EntityScorer,
    "feature-extraction": VectorScorer,
}


def load_scorer(
    model: str | None,
    revision: str | None,
    options: TaskOptions,
    *,
    pair_column: str | None = None,
    **loading: Any,
) -> RowScorer:
    """Load the pipeline for the task of `options`; by default that which the checkpoint is for.

    Vectors are computed only where the task says so: a checkpoint for them that is loaded for
    something else is a MissingHeadError. pair_column: of the second texts of rows. Raises
    OptionError for options of another task, before the weights are read, and else as
    `load_pipeline`.
    """
    folder = locate_checkpoint(model, revision)
    task = options.task or stated_or_default(folder)
    if task == "feature-extraction" and options.name is None:
        task = "text-classification"  # whose loading says what the checkpoint is for
    else:
        options.check_use(task)
        options.check_labels(task)
        options.check_pairs(task, pair_column)
    if task == "feature-extraction":
        loading |= {"pooling": options.pooling, "normalize": options.normalize}
    if task == "text-ranking":
        loading |= options.answers
    return _SCORERS[task](load_pipeline(folder, task, **loading), task, options)
