"""The head of a checkpoint: how rows are pooled, and the steps to logits or to a vector.

Read from config.json and, where present, from the modules of sentence-transformers. Invariant: how
a vector is pooled is stated by a file or by the caller, never guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from isobatch.checkpoint.answer_tokens import AnswerTokens
from isobatch.checkpoint.families import Family
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.label_map import default_labels, read_labels
from isobatch.checkpoint.score_functions import (
    ProblemType,
    ScoreRule,
    check_problem_type,
    check_prompt,
    default_rule,
    stated_rule,
)
from isobatch.checkpoint.sentence_modules import MODULES, SentenceModules
from isobatch.checkpoint.weight_files import StoredTensor
from isobatch.errors import CheckpointError, MissingHeadError, OptionError
from isobatch.specification import (
    CutStep,
    HeadSpec,
    HeadStep,
    LibraryStep,
    LinearStep,
    NormalizeStep,
    NormStep,
    Pool,
    step_output_size,
)
from isobatch.types import ScoreActivation, Task

POOLINGS: Mapping[str, Pool] = {"cls": "first", "last": "last", "mean": "mean", "max": "max"}
"""The names of `pooling=`, "cls" as in all libraries."""

_TASKS: Mapping[str, Task] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
}
_TAKEN_BY: Mapping[Task, str] = {
    "text-classification": "isobatch.Classifier (isobatch run)",
    "token-classification": "isobatch.TokenClassifier (isobatch run)",
    "feature-extraction": "isobatch.Embedder (isobatch embed)",
}
"""The class for each task, and the command that scores files."""


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """The head: its steps, its labels, and how scores are computed from its logits.

    modules: the folder of each step that sentence-transformers keeps in one of its own.
    answers: of a language model, whose output is then made from the rows of these tokens.
    stated_rule: for the scores, where sentence-transformers states one.
    """

    spec: HeadSpec
    labels: tuple[str, ...] = ()
    problem_type: ProblemType | None = None
    stated_rule: ScoreRule | None = None
    modules: Mapping[str, str] = field(default_factory=dict)
    answers: AnswerTokens | None = None

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    @property
    def score_rule(self) -> ScoreRule:
        """The rule for the scores: as sentence-transformers states it, or the default."""
        return self.stated_rule or default_rule(self.problem_type, self.num_labels)

    @property
    def score_activation(self) -> ScoreActivation:
        """The activation of the scores."""
        return self.score_rule.activation

    @property
    def pipeline_activation(self) -> ScoreActivation:
        """The activation that transformers' text-classification pipeline chooses."""
        return default_rule(self.problem_type, self.num_labels).activation


@dataclass(frozen=True, slots=True)
class VectorOptions:
    """How vectors are computed, in place of what the folder says; None leaves it.

    pooling: one of POOLINGS. normalize: whether they are divided by their norm.
    """

    pooling: str | None = None
    normalize: bool | None = None

    def __post_init__(self) -> None:
        stated = self.pooling is not None
        if stated and not (isinstance(self.pooling, str) and self.pooling in POOLINGS):
            raise OptionError(
                f"pooling {self.pooling!r} is not supported. Use one of: {', '.join(POOLINGS)}"
            )
        if self.normalize is not None and not isinstance(self.normalize, bool):
            raise OptionError(f"normalize must be True, False or None, got {self.normalize!r}")


HeadOptions = VectorOptions | AnswerTokens
"""The caller's options for the head."""


@dataclass(frozen=True, slots=True)
class HeadSource:
    """The sources of a head: config.json, and the files and tensors next to it.

    cross_encoder: of config_sentence_transformers.json, which embedding models have too. stored:
    the tensors, by which a message says what to write; none are needed.
    """

    values: ConfigValues
    cross_encoder: Mapping[str, object] = field(default_factory=dict)
    stored: Sequence[StoredTensor] = ()
    modules: SentenceModules | None = None

    @property
    def raw(self) -> Mapping[str, object]:
        """The content of config.json."""
        return self.values.raw


def read_head(
    task: Task, family: Family, hidden_size: int, source: HeadSource, options: HeadOptions
) -> tuple[Family, HeadConfig]:
    """Read the head for `task`; returns it with the family, whose names are then those of the task.

    Raises CheckpointError for settings that contradict each other, UnsupportedModelError for those
    that are not implemented, MissingHeadError for vectors that no file says how to pool.
    """
    if isinstance(options, AnswerTokens):
        return family.without_head(), _answer_head(source, hidden_size, options)
    if task == "feature-extraction":
        return family.without_head(), _vector_head(source, hidden_size, options)
    if task == "token-classification":
        labels = read_labels(source.raw, _rows(source.stored, family.token_head["head.output"]))
        steps = _steps(family.token_features(source.values), hidden_size, len(labels))
        pooler = (f"{family.prefix}pooler.*", "pooler.*")
        named = replace(
            family,
            head=family.token_head,
            head_drops_input=False,
            ignored=(*family.ignored, *pooler),
        )
        return named, HeadConfig(HeadSpec((), steps), labels)
    if source.modules is not None and source.modules.scores:
        return family.without_head(), _score_head(source.modules, source, hidden_size)
    labels = read_labels(source.raw, _rows(source.stored, family.head["head.output"]))
    features, bias = family.features(source.values), family.has_output_bias
    steps = _steps(features, hidden_size, len(labels), bias=bias)
    return family, _scored(HeadSpec((family.pool(source.values),), steps), labels, source)


def _steps(
    features: tuple[HeadStep, ...], hidden_size: int, num_labels: int, *, bias: bool = True
) -> tuple[HeadStep, ...]:
    return (*features, LinearStep("output", hidden_size, num_labels, bias=bias))


def read_library_head(
    task: Task, class_name: str, hidden_size: int, source: HeadSource, options: VectorOptions
) -> HeadConfig:
    """Read the head of a model that transformers computes, by a class of that name.

    Vectors, and the scores of modules, are made of its last hidden states as those of any family;
    all other heads are the class's own. Raises as `read_head`.
    """
    if task == "feature-extraction":
        return _vector_head(source, hidden_size, options)
    if task == "text-classification" and source.modules is not None and source.modules.scores:
        return _score_head(source.modules, source, hidden_size)
    labels = read_labels(source.raw)
    steps = (LibraryStep(class_name, len(labels)),)
    if task == "token-classification":
        return HeadConfig(HeadSpec((), steps), labels)
    return _scored(HeadSpec(("first",), steps), labels, source)


def _scored(
    spec: HeadSpec,
    labels: tuple[str, ...],
    source: HeadSource,
    modules: Mapping[str, str] | None = None,
) -> HeadConfig:
    problem_type = source.raw.get("problem_type")
    check_problem_type(problem_type, len(labels))
    known = cast("ProblemType | None", problem_type)
    check_prompt(source.cross_encoder)
    stated = stated_rule(source.raw, source.cross_encoder, known, len(labels))
    return HeadConfig(spec, labels, known, stated, modules or {})


def _score_head(modules: SentenceModules, source: HeadSource, hidden_size: int) -> HeadConfig:
    """The head of a reranker whose layers are modules."""
    spec = HeadSpec(modules.pools, modules.steps)
    _check_sizes(spec, hidden_size, VectorOptions())
    labels = default_labels(spec.output_size(hidden_size))
    return _scored(spec, labels, source, modules.folders)


def _answer_head(source: HeadSource, hidden_size: int, answers: AnswerTokens) -> HeadConfig:
    """The head of a language model that reranks."""
    spec = HeadSpec(("last",), (LinearStep("output", hidden_size, 1, bias=False),))
    tied = bool(source.raw.get("tie_word_embeddings", False))
    head = _scored(spec, default_labels(1), source)
    return replace(head, answers=replace(answers, tied=tied))


def _vector_head(source: HeadSource, hidden_size: int, options: VectorOptions) -> HeadConfig:
    modules = None if source.modules and source.modules.scores else source.modules
    if modules is None and options.pooling is None:
        problem = "has no pooling" if source.modules else "no such file"
        raise MissingHeadError(
            f"modules.json: {problem}, so it is unknown how token vectors are pooled into one. "
            f"Pass pooling= (--pooling) with one of: {', '.join(POOLINGS)}, as the model card says"
        )
    pools = modules.pools if modules else ()
    steps: tuple[HeadStep, ...] = modules.steps if modules else ()
    if options.pooling is not None:
        pools = (POOLINGS[options.pooling],)
    _check_sizes(HeadSpec(pools, steps), hidden_size, options)
    if options.normalize is not None:
        while steps and isinstance(steps[-1], NormalizeStep):
            steps = steps[:-1]
    steps += _cut(source) if modules else ()
    steps += (NormalizeStep(),) if options.normalize else ()
    return HeadConfig(HeadSpec(pools, steps), modules=modules.folders if modules else {})


def _cut(source: HeadSource) -> tuple[HeadStep, ...]:
    """Read how many numbers sentence-transformers keeps of each vector, after all modules."""
    size = source.cross_encoder.get("truncate_dim")
    if size is None:
        return ()
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise CheckpointError(
            f"config_sentence_transformers.json: truncate_dim must be a positive integer or null, "
            f"got {size!r}"
        )
    return (CutStep(size),)


def _check_sizes(spec: HeadSpec, hidden_size: int, options: VectorOptions) -> None:
    """Raise CheckpointError for a module that takes more or fewer numbers than it gets."""
    size = hidden_size * len(spec.pools)
    fix = f'Omit pooling="{options.pooling}"' if options.pooling else "Restore the folder"
    for step in spec.steps:
        if isinstance(step, LinearStep | NormStep):
            taken = step.in_features if isinstance(step, LinearStep) else step.size
            if taken != size:
                raise CheckpointError(
                    f"modules.json: {step.name} takes vectors of {taken} numbers, and gets {size} "
                    f"of the modules before it. {fix}"
                )
        size = step_output_size(step, size)


def _rows(stored: Sequence[StoredTensor], name: str) -> int | None:
    """Return the number of outputs of the stored layer with that name; None without it."""
    ending = f".{name}.weight"
    return next((each.shape[0] for each in stored if f".{each.name}".endswith(ending)), None)


def stated_task(saved_by: str | None, modules: SentenceModules | None) -> Task | None:
    """Return what the files say that the checkpoint is for; None where they do not."""
    if modules is not None:
        return "text-classification" if modules.scores else "feature-extraction"
    named = saved_by or ""
    known = (task for ending, task in _TASKS.items() if named.endswith(ending))
    return next(known, "feature-extraction" if named.endswith("Model") else None)


def check_task(folder: Path, task: Task, stated: Task | None) -> None:
    """Raise MissingHeadError if the files say that the checkpoint is for another task.

    Vectors can be taken from every checkpoint.
    """
    if task == "feature-extraction" or stated is None or stated == task:
        return
    of_modules = stated == "feature-extraction" and (folder / MODULES).is_file()
    source = "modules.json" if of_modules else "config.json"
    raise MissingHeadError(
        f"{folder}: is for {stated} ({source} says so), and has no head for {task}. Load it with "
        f"{_TAKEN_BY[stated]}, or use another checkpoint"
    )
