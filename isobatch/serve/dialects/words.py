"""What the dialects share: how texts are asked for, labels answered and errors described.

Invariant: ["a", "b"] is a batch of two texts in every dialect; a pair is a list within the list.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from isobatch.batching.cache import Output
from isobatch.serve.errors import FAULTS, UNFORESEEN, ErrorType
from isobatch.tasks import score_logits
from isobatch.types import ScoreActivation, TextInput


@dataclass(frozen=True, slots=True)
class Asked:
    """The texts of a request; single: asked without a list around."""

    texts: list[TextInput]
    single: bool


class Strict(BaseModel):
    """A request: no field that is not described, and no value that must first be bent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPair(Strict):
    """A pair of texts, as transformers' pipelines name its parts."""

    text: str
    text_pair: str


_TextOrPair = str | Annotated[list[str], Field(min_length=1, max_length=2)] | TextPair


def read_inputs(value: object) -> Asked:
    """Texts and pairs of `inputs`; the error says what was expected where."""
    if isinstance(value, str):
        return Asked([value], single=True)
    if isinstance(value, dict):
        return Asked([_text(value, "it")], single=True)
    if isinstance(value, list):
        return Asked([_text(each, f"item {n}") for n, each in enumerate(value)], single=False)
    raise PydanticCustomError("inputs", "expected a text or a list of texts and pairs of texts")


def _text(value: object, place: str) -> TextInput:
    """One text, or one pair in either of its two forms."""
    if isinstance(value, str):
        return value
    parts = value
    if isinstance(value, dict) and value.keys() == {"text", "text_pair"}:
        parts = [value["text"], value["text_pair"]]
    if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
        if len(parts) == 1:
            text: str = parts[0]
            return text
        if len(parts) == 2:
            return parts[0], parts[1]
    raise PydanticCustomError(
        "inputs",
        "{place} must be a text, a list of one or two texts, or an object with text and text_pair",
        {"place": place},
    )


Inputs = Annotated[
    Asked,
    PlainValidator(
        read_inputs,
        json_schema_input_type=str | TextPair | Annotated[list[_TextOrPair], Field(min_length=1)],
    ),
    Field(
        description='One text; or a list of texts and pairs. `["a", "b"]` are two texts, '
        '`[["a", "b"]]` is one pair.'
    ),
]

Texts = Annotated[list[str], Field(json_schema_extra={"minItems": 1})]
"""A list of texts; that it is not empty is checked later, to be answered with 400 as in TEI."""

TruncationDirection = Annotated[
    Literal["right", "Right"], Field(description="Only the end of a text is ever cut.")
]


def _whole(value: object) -> object:
    """1.0 is an integer to JSON, which knows one kind of number; "1" and true are none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)
"""Beside a type of integers."""

Truncate = Annotated[
    bool | None,
    Field(description="Cut what is too long (true), refuse it (false), or as the server is set."),
]


class LabelScore(BaseModel):
    """One label and its score."""

    model_config = ConfigDict(json_schema_extra={"example": {"label": "POSITIVE", "score": 0.99}})

    label: str
    score: float


class Refusal(BaseModel):
    """The body of every answer that is not a success."""

    error: str = Field(description="What was wrong, and what to do.")
    error_type: ErrorType


def label_scores(
    logits: Output, labels: tuple[str, ...], activation: ScoreActivation
) -> list[dict[str, Any]]:
    """Every label with its score, the highest first; equal scores in the checkpoint's order."""
    scored = sorted(
        zip(score_logits(logits, activation), labels, strict=True), key=lambda each: -each[0]
    )
    return [{"label": label, "score": score} for score, label in scored]


_NUMBER = {"schema": {"type": "number"}}
_COUNT = {"schema": {"type": "integer"}}
TIMING_HEADERS: dict[str, Any] = {
    "x-compute-type": {"description": "cpu or cuda", "schema": {"type": "string"}},
    "x-compute-time": {"description": "The same as x-total-time", **_NUMBER},
    "x-compute-characters": {"description": "Characters of the texts", **_COUNT},
    "x-compute-tokens": {"description": "Tokens of the texts, special ones included", **_COUNT},
    "x-total-time": {"description": "Milliseconds from reading to the last logit", **_NUMBER},
    "x-tokenization-time": {"description": "Milliseconds of tokenization", **_NUMBER},
    "x-queue-time": {"description": "Milliseconds in line for the model", **_NUMBER},
    "x-inference-time": {"description": "Milliseconds of the batch it was in", **_NUMBER},
    "x-truncated-inputs": {"description": "Texts that were cut", **_COUNT},
}


def answers(description: str = "The answer") -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a success, with the headers that it has."""
    return {200: {"description": description, "headers": TIMING_HEADERS}}


_MEANINGS = {
    400: "No text",
    401: "No key, or a wrong one",
    404: "Another model than the one that is served",
    408: "The body did not come to its end in time",
    413: "The body is too large",
    415: "The body is not plain JSON",
    422: "Not the JSON described here, too many texts, or a text that cannot be tokenized",
    424: "The model has no answer for this route, or failed",
    429: "Too many requests are under way",
    500: "The server failed",
    503: "The server is shutting down",
}


def refusals(*without: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of every refusal, but for the statuses in `without`."""
    kinds = {fault.status: fault.error_type for fault in (*FAULTS.values(), UNFORESEEN)}
    return {
        status: {
            "model": Refusal,
            "description": meaning,
            "content": {
                "application/json": {"example": {"error": meaning, "error_type": kinds[status]}}
            },
        }
        for status, meaning in _MEANINGS.items()
        if status not in without
    }
