"""Request and response formats of servers, as data.

Invariant: a batch is a list of single texts, never of pairs, and no text is changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from isobatch.audit.subject import AnswerError

_CONTAINERS = ("predictions", "results", "outputs", "scores", "logits", "data")
"""Keys under which plain services return their rows."""

_EVERY_LABEL = 100_000
"""top_k of a request: more labels than any classifier has."""


@dataclass(frozen=True, slots=True)
class HttpDialect:
    """The request and response of one API.

    name: the value of --dialect. paths: where servers have it, the usual one first. body: of texts,
    for logits (raw) or scores. rows: those of a response to N texts. has_raw: logits can be asked
    for.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    body: Callable[[Sequence[str], bool], dict[str, Any]]
    rows: Callable[[Any, int], Any]
    has_raw: bool = True


def _predict_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    """Put each text in a list of its own: TEI reads ["a", "b"] as one pair."""
    return {"inputs": [[text] for text in texts], "raw_scores": raw, "truncate": True}


def _classify_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    """Leave use_activation out for scores: it is then the server's choice, which is scores."""
    body: dict[str, Any] = {"input": list(texts)}
    return body | {"use_activation": False, "truncate_prompt_tokens": -1} if raw else body


def _inference_body(texts: Sequence[str], raw: bool) -> dict[str, Any]:
    parameters: dict[str, Any] = {"top_k": _EVERY_LABEL, "truncation": True}
    if raw:
        parameters["function_to_apply"] = "none"
    return {"inputs": list(texts), "parameters": parameters}


def _lists_of_scores(response: Any, num_texts: int) -> Any:
    """Read lists of labels and scores; one text's labels may come without a list around them."""
    bare = isinstance(response, list) and all(isinstance(each, dict) for each in response)
    return [response] if num_texts == 1 and bare else response


def _data(response: Any, num_texts: int) -> Any:
    """Read `data` by its `index`, each with probs; or lists of labels and scores, as infinity's."""
    try:
        data = response["data"]
        if all(isinstance(each, list) for each in data):
            return data
        ordered = sorted(data, key=lambda each: int(each["index"]))
        return [each["probs"] for each in ordered]
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError(f"its response has no data with probs: {str(response)[:120]}") from error


def _plain_body(key: str, texts: Sequence[str], raw: bool) -> dict[str, Any]:
    return {key: list(texts)}


def _plain_rows(response: Any, num_texts: int) -> Any:
    """Read a list, or the list that a response has under one of the usual names."""
    if isinstance(response, dict):
        response = next((response[name] for name in _CONTAINERS if name in response), response)
    return _lists_of_scores(response, num_texts)


DIALECTS = (
    HttpDialect("tei", "text-embeddings-inference", ("/predict",), _predict_body, _lists_of_scores),
    HttpDialect("vllm", "vLLM and SGLang", ("/v1/classify", "/classify"), _classify_body, _data),
    HttpDialect("hf", "Hugging Face Inference", ("/", "/predict"), _inference_body, _plain_rows),
    *(
        HttpDialect(
            key,
            f'texts as "{key}"',
            ("/predict", "/"),
            partial(_plain_body, key),
            _plain_rows,
            has_raw=False,
        )
        for key in ("inputs", "texts", "instances")
    ),
)
"""In the order in which an address is tried; KServe, Vertex AI and TF Serving have "instances"."""
