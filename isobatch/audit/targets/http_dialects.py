"""The words in which servers are asked to classify: TEI's, vLLM's and SGLang's, Hugging Face's.

Texts to the body of a request, and the body of an answer to rows; nothing is sent here.
Invariant: a list of texts is a batch of single texts in every dialect, never a pair.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isobatch.errors import AuditError, OptionError

_EVERY_LABEL = 100_000
"""top_k of a request: more labels than any classifier has."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """name: as --dialect takes it. paths: where servers have it, the usual one first.

    body: of texts, as logits (raw) or as scores. rows: an answer's, for so many texts.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    body: Callable[[Sequence[str], bool], dict[str, Any]]
    rows: Callable[[Any, int], Any]


def _predict_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    """Each text in a list of its own: TEI reads ["a", "b"] as one pair."""
    return {"inputs": [[text] for text in texts], "raw_scores": raw, "truncate": True}


def _classify_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    """Without use_activation the server chooses, and it chooses scores."""
    body: dict[str, Any] = {"input": list(texts)}
    return body | {"use_activation": False, "truncate_prompt_tokens": -1} if raw else body


def _inference_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    parameters: dict[str, Any] = {"top_k": _EVERY_LABEL, "truncation": True}
    if raw:
        parameters["function_to_apply"] = "none"
    return {"inputs": list(texts), "parameters": parameters}


def _lists_of_scores(answer: Any, num_texts: int) -> Any:
    """One text's labels may come without a list around them."""
    bare = isinstance(answer, list) and all(isinstance(each, dict) for each in answer)
    return [answer] if num_texts == 1 and bare else answer


def _data(answer: Any, num_texts: int) -> Any:
    """`data` by its `index`, each with probs; or lists of labels and scores, as of infinity."""
    try:
        data = answer["data"]
        if all(isinstance(each, list) for each in data):
            return data
        ordered = sorted(data, key=lambda each: int(each["index"]))
        return [each["probs"] for each in ordered]
    except (KeyError, TypeError, ValueError) as error:
        raise AuditError(f"its answer has no data with probs: {str(answer)[:120]}") from error


DIALECTS = (
    Dialect("tei", "text-embeddings-inference", ("/predict",), _predict_body, _lists_of_scores),
    Dialect("vllm", "vLLM and SGLang", ("/v1/classify", "/classify"), _classify_body, _data),
    Dialect("hf", "Hugging Face Inference", ("/",), _inference_body, _lists_of_scores),
)
"""In the order in which an address without a path is tried."""


def dialect_named(name: str) -> Dialect:
    """OptionError if there is none of that name."""
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    known = ", ".join(f"{each.name} ({each.title})" for each in DIALECTS)
    raise OptionError(f"dialect {name!r} is not known; use {known}")


def dialect_of_path(path: str) -> Dialect | None:
    """The dialect that has `path`, or ends in it behind a prefix; None for an unknown one."""
    for dialect in DIALECTS:
        if any(place != "/" and path.endswith(place) for place in dialect.paths):
            return dialect
    return dialect_named("hf") if "/models/" in path else None
