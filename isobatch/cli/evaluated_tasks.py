"""The evaluation of each task: its pipeline is loaded, and the files are compared with it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isobatch.cli import options, options_of_tasks
from isobatch.cli.evaluation_options import EvaluateCommand, EvaluatedTask
from isobatch.cli.scoring_progress import shown_progress

if TYPE_CHECKING:
    from isobatch.evaluation import Evaluation, LabelledFiles, LabelOptions, TaskEvaluation
    from isobatch.scoring import TaskOptions
    from isobatch.tables import TableFile
    from isobatch.tasks import Pipeline
    from isobatch.tasks.pipeline_loading import PipelineTask
    from isobatch.types import Truncation

_LOADED: Mapping[EvaluatedTask, "PipelineTask"] = {
    "classification": "text-classification",
    "zero-shot": "zero-shot-classification",
    "ranking": "text-ranking",
    "retrieval": "feature-extraction",
    "similarity": "feature-extraction",
    "entities": "token-classification",
}


def evaluated_task(command: EvaluateCommand) -> EvaluatedTask:
    """Return the task that the options and the checkpoint's files state; config.json is read."""
    from isobatch.checkpoint import locate_checkpoint
    from isobatch.tasks.pipeline_loading import stated_or_default

    if command.query_column is not None and (command.true_token or _template(command)):
        return "ranking"  # of a language model, whose files may state no other task
    stated = stated_or_default(locate_checkpoint(command.model, command.revision))
    if command.zero_shot or command.labels or command.labels_file:
        return "zero-shot"
    if stated == "token-classification":
        return "entities"
    gives_vectors = stated == "feature-extraction" or command.pooling is not None
    if command.query_column is not None:
        return "retrieval" if gives_vectors else "ranking"
    return "similarity" if gives_vectors else "classification"


def task_options(command: EvaluateCommand, task: EvaluatedTask) -> "TaskOptions":
    """Return the options of the task; OptionError for one that it has no use for."""
    from isobatch.scoring import TaskOptions

    given = TaskOptions(
        name=_LOADED[task],
        labels=options_of_tasks.given_labels(command.labels, command.labels_file),
        template=_template(command),
        true_token=command.true_token,
        false_token=command.false_token,
        aggregation=command.aggregation,
        pooling=command.pooling,
        normalize=command.normalize,
    )
    given.check_use(_LOADED[task])
    return given


def evaluate_task(
    command: EvaluateCommand,
    task: EvaluatedTask,
    given: "TaskOptions",
    tables: "Sequence[TableFile]",
    label: "LabelOptions | None",
    names: Sequence[str],
) -> "Evaluation | TaskEvaluation":
    """Load the checkpoint, and evaluate it on the files for `task`."""
    from isobatch.tasks.pipeline_loading import load_pipeline

    loading: dict[str, Any] = {
        "precision": command.precision,
        "device": command.device,
        "threads": command.threads,
        "revision": command.revision,
        "max_batch_tokens": command.max_batch_tokens,
        "engine": command.model_engine,
        "group_equal_lengths": command.group_equal_lengths,
    }
    if (truncation := truncation_of(command)) is not None:
        loading["truncation"] = truncation
    if _LOADED[task] == "feature-extraction":
        loading |= {"pooling": given.pooling, "normalize": given.normalize}
    if task == "ranking":
        loading |= given.answers
    with shown_progress(quiet=command.quiet) as display:
        pipeline = load_pipeline(command.model, _LOADED[task], **loading)
        how: dict[str, Any] = {
            "facts": _facts(pipeline, command, label, names),
            "num_mistakes": command.mistakes,
            "on_progress": display.show,
        }
        if task in ("ranking", "retrieval"):
            return _evaluate_queries(command, task, tables, label, pipeline, how)
        assert label is not None
        files = labelled_files(
            command, tables, label, truncation_of(command) or pipeline.truncation
        )
        return _evaluate_labelled(command, task, given, files, pipeline, how)


def _evaluate_queries(
    command: EvaluateCommand,
    task: EvaluatedTask,
    tables: "Sequence[TableFile]",
    label: "LabelOptions | None",
    pipeline: "Pipeline[Any]",
    how: dict[str, Any],
) -> "TaskEvaluation":
    from isobatch.evaluation import QueryFiles, evaluate_ranking, evaluate_retrieval

    assert command.query_column is not None
    files = QueryFiles(
        tables=tuple(tables),
        query_column=command.query_column,
        relevance=label,
        text_column=command.text_column,
        id_column=command.id_column,
        truncation=truncation_of(command) or pipeline.truncation,
        on_empty=command.on_empty,
    )
    evaluate: Any = evaluate_ranking if task == "ranking" else evaluate_retrieval
    found: TaskEvaluation = evaluate(files, pipeline, **how)
    return found


def _evaluate_labelled(
    command: EvaluateCommand,
    task: EvaluatedTask,
    given: "TaskOptions",
    files: "LabelledFiles",
    pipeline: Any,
    how: dict[str, Any],
) -> "Evaluation | TaskEvaluation":
    from isobatch import evaluation as room

    if task == "similarity":
        return room.evaluate_similarity(files, pipeline, **how)
    if task == "entities":
        spans = room.EntityOptions(command.scheme, command.aggregation)
        return room.evaluate_entities(files, pipeline, spans, **how)
    if task == "zero-shot":
        labels = given.labels or room.labels_of_column(files)
        template = {} if given.template is None else {"template": given.template}
        return room.evaluate_files(files, pipeline.for_labels(labels, **template), **how)
    return room.evaluate_files(files, pipeline, **how)


def _template(command: EvaluateCommand) -> str | None:
    return options_of_tasks.stated_template(command.template, command.template_file)


def truncation_of(command: EvaluateCommand) -> "Truncation | None":
    """Return how texts longer than the model are read; None for the default of the task."""
    return options.truncation_of(command.truncation, command.stride, command.window_pooling)


def labelled_files(
    command: EvaluateCommand,
    tables: "Sequence[TableFile]",
    label: "LabelOptions",
    truncation: Any = "cut",
) -> "LabelledFiles":
    """Return the files with the columns that are read."""
    from isobatch.evaluation import LabelledFiles

    return LabelledFiles(
        tables=tuple(tables),
        label=label,
        text_column=command.text_column,
        pair_column=command.pair_column,
        id_column=command.id_column,
        truncation=truncation,
        on_empty=command.on_empty,
    )


def _facts(
    pipeline: "Pipeline[Any]",
    command: EvaluateCommand,
    label: "LabelOptions | None",
    names: Sequence[str],
) -> dict[str, str]:
    from isobatch.checkpoint.truncation import describe_truncation
    from isobatch.scope import describe_scope

    scope = describe_scope(pipeline, command.model or "the bundled model")
    long_texts = truncation_of(command) or pipeline.truncation
    of_tokens = scope.task == "token-classification"
    return {
        "files": ", ".join(names),
        **({} if label is None else {"label column": label.column}),
        "checkpoint": scope.checkpoint,
        "long texts": describe_truncation(long_texts, scope.max_tokens, of_tokens=of_tokens),
        "precision": f"{scope.precision} ({scope.precision_reason})",
        "processor": f"{scope.processor}, {scope.instruction_set}",
        "arithmetic": scope.arithmetic,
        "versions": ", ".join(f"{name} {number}" for name, number in scope.versions.items()),
    }
