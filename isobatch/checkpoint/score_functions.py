"""How logits become scores: the rule of transformers, and what sentence-transformers adds to it.

A CrossEncoder with one label states its activation, and its scores are computed by that, as by
CrossEncoder.predict (sentence-transformers 2 to 6). Where the setting contradicts transformers for
several labels, or `problem_type`, it is rejected by name. Invariant: no activation setting is
ignored, except that Identity for several labels, which every CrossEncoder of several labels has,
leaves transformers' softmax: its logits are the raw ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.types import ScoreActivation

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]
PROBLEM_TYPES: tuple[str, ...] = get_args(ProblemType)

_ACTIVATIONS: Mapping[str, ScoreActivation] = {
    "Identity": "none",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
}
_FILE = "config_sentence_transformers.json"


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How scores are computed from logits, and the setting, or the default, that says so."""

    activation: ScoreActivation
    source: str


def default_rule(problem_type: str | None, num_labels: int) -> ScoreRule:
    """Return the rule of transformers' text-classification pipeline."""
    source = "default for one label" if num_labels == 1 else "default for several labels"
    if problem_type is not None:
        source = "config.json: problem_type"
    return ScoreRule(score_activation(problem_type, num_labels), source)


def score_activation(problem_type: str | None, num_labels: int) -> ScoreActivation:
    """Return the activation that transformers' text-classification pipeline chooses."""
    if problem_type == "regression":
        return "none"
    if problem_type == "multi_label_classification" or num_labels == 1:
        return "sigmoid"
    return "softmax"


def check_problem_type(problem_type: object, num_labels: int) -> None:
    """Raise CheckpointError for an unknown problem type, or one that needs more labels."""
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        raise CheckpointError(
            f"config.json: problem_type {problem_type!r} is unknown; expected null or one of "
            f'{", ".join(PROBLEM_TYPES)}. Write "problem_type": null to have it inferred from '
            "the labels"
        )
    if problem_type == "single_label_classification" and num_labels == 1:
        raise CheckpointError(
            'config.json: problem_type "single_label_classification" needs at least 2 labels, and '
            'the head has 1. Write "problem_type": null for a score between 0 and 1 (a sigmoid), '
            'or "problem_type": "regression" for the plain number'
        )


def stated_rule(
    raw: Mapping[str, object],
    cross_encoder: Mapping[str, object],
    problem_type: str | None,
    num_labels: int,
) -> ScoreRule | None:
    """Return the rule that sentence-transformers states and that applies; None without one.

    raw: of config.json; cross_encoder: of config_sentence_transformers.json (version 6).
    """
    where, path = _find(raw, cross_encoder)
    key = where.partition(": ")[2]
    if path is None:
        return None
    default = score_activation(problem_type, num_labels)
    trusted = isinstance(path, str) and path.startswith("torch.")
    stated = _ACTIVATIONS.get(str(path).rpartition(".")[2]) if trusted else None
    if stated == default:
        return ScoreRule(default, where)
    if stated == "none" and num_labels > 1:
        return None
    if stated is None or stated == "softmax":
        other = ', or write "torch.nn.modules.linear.Identity" for logits as scores'
        raise UnsupportedModelError(
            f"{where} is {path!r}, which is not supported for {_count(num_labels)}. For scores by "
            f'{default}, delete "{key}"{other if num_labels == 1 else ""}'
        )
    if num_labels > 1:
        raise CheckpointError(
            f"{where} is {path!r}, but transformers scores {_count(num_labels)} by {default}. "
            'Write "problem_type": "multi_label_classification" into config.json for sigmoids, '
            f'or delete "{key}"'
        )
    if problem_type is not None:
        raise CheckpointError(
            f"{where} is {path!r}, but problem_type {problem_type!r} of config.json means "
            f'{default}. Write "problem_type": null, or delete "{key}"'
        )
    return ScoreRule(stated, where)


def check_prompt(cross_encoder: Mapping[str, object]) -> None:
    """Raise UnsupportedModelError if a CrossEncoder puts a prompt before each query by default."""
    name, prompts = cross_encoder.get("default_prompt_name"), cross_encoder.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, Mapping) else None
    if prompt and cross_encoder.get("model_type") == "CrossEncoder":
        raise UnsupportedModelError(
            f"{_FILE}: default_prompt_name is {name!r}, so that {prompt!r} belongs before each "
            'query, which is not supported. Write it there, and "default_prompt_name": null into '
            "the file"
        )


def _find(
    raw: Mapping[str, object], cross_encoder: Mapping[str, object]
) -> tuple[str, object | None]:
    """Return place and value of the setting; CheckpointError if the two files disagree."""
    where, path = "config.json: sbert_ce_default_activation_function", None
    section = raw.get("sentence_transformers")
    if isinstance(section, Mapping) and "activation_fn" in section:
        where, path = "config.json: sentence_transformers.activation_fn", section["activation_fn"]
    else:
        path = raw.get("sbert_ce_default_activation_function")
    other = cross_encoder.get("activation_fn")
    if other is None or cross_encoder.get("model_type") == "SentenceTransformer":
        return where, path
    if path is not None and path != other:
        raise CheckpointError(
            f"{where} is {path!r}, but activation_fn in {_FILE} is {other!r}, and which of them "
            f'applies depends on the version. Delete "{where.partition(": ")[2]}"'
        )
    return f"{_FILE}: activation_fn", other


def _count(num_labels: int) -> str:
    return "1 label" if num_labels == 1 else f"{num_labels} labels"
