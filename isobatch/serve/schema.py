"""Pydantic types that the routes share: texts in requests, labels and errors in responses.

Invariant: on every route `["a", "b"]` is a batch of two texts; a pair is a list within the list.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from isobatch.serve.body_errors import StrictModel, described
from isobatch.serve.http_errors import ErrorType
from isobatch.types import TextInput


class TextPair(StrictModel):
    """A pair of texts, named as in transformers' pipelines."""

    text: str
    text_pair: str


class RequestTexts:
    """The texts of a request; single: one text or pair without a list around it.

    A plain class: pydantic would add a dataclass to the OpenAPI document.
    """

    def __init__(self, texts: list[TextInput], *, single: bool) -> None:
        self.texts = texts
        self.single = single


def _read_texts(value: object) -> RequestTexts:
    """Read texts and pairs; an error names what was expected and where."""
    if isinstance(value, list):
        texts = [_read_text(each, f"[{n}]") for n, each in enumerate(value)]
        return RequestTexts(texts, single=False)
    if isinstance(value, str | dict):
        return RequestTexts([_read_text(value, "")], single=True)
    raise expected("a text or a list of texts and pairs of texts", value)


def _read_text(value: object, place: str) -> TextInput:
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
    what = "a text, a list of one or two texts, or an object with text and text_pair"
    raise expected(what, value, place)


def _read_text_list(value: object) -> list[str]:
    if not isinstance(value, list):
        raise expected("a list of texts", value)
    for n, each in enumerate(value):
        if not isinstance(each, str):
            raise expected("a text", each, f"[{n}]")
    return value


def _read_text_or_list(value: object) -> RequestTexts:
    if isinstance(value, str):
        return RequestTexts([value], single=True)
    if isinstance(value, list):
        if value and all(_is_token_ids(each) for each in value):
            raise expected("a text or a list of texts", value, got="token ids")
        return RequestTexts([*_read_text_list(value)], single=False)
    raise expected("a text or a list of texts", value)


def _is_token_ids(value: object) -> bool:
    return type(value) is int or (
        isinstance(value, list) and bool(value) and all(type(each) is int for each in value)
    )


def expected(
    what: str, value: object, place: str = "", *, got: str | None = None
) -> PydanticCustomError:
    """Make the error of a field at which `what` was expected; place: within the field."""
    context = {"what": what, "place": place, "got": got or described(value)}
    return PydanticCustomError("expected", "expected {what}, got {got}", context)


_TextOrPair = str | Annotated[list[str], Field(min_length=1, max_length=2)] | TextPair

TextsOrPairs = Annotated[
    RequestTexts,
    PlainValidator(
        _read_texts,
        json_schema_input_type=str | TextPair | Annotated[list[_TextOrPair], Field(min_length=1)],
    ),
    Field(
        description='One text, or a list of texts and pairs. `["a", "b"]` is two texts, '
        '`[["a", "b"]]` is one pair.'
    ),
]

_NonEmptyList = Annotated[list[str], Field(json_schema_extra={"minItems": 1})]
TextList = Annotated[
    list[str], PlainValidator(_read_text_list, json_schema_input_type=_NonEmptyList)
]
"""A list of texts; an empty one is refused later, with 400 as in TEI."""

TextOrList = Annotated[
    RequestTexts, PlainValidator(_read_text_or_list, json_schema_input_type=str | _NonEmptyList)
]
"""One text or a list of texts."""

Truncate = Annotated[
    bool | None,
    Field(
        description="Whether to cut texts that are too long (true) or refuse them (false). "
        "Default: the server's --truncation."
    ),
]
Side = Annotated[
    Literal["left", "right", "Left", "Right"] | None,
    WithJsonSchema({"enum": ["right", "Right", None]}),
    Field(
        description="Which end of a text is cut. Only the checkpoint's own, which is the default."
    ),
]
"""The schema has the side of most checkpoints; `openapi_document` writes that of the served one."""


def _integral(value: object) -> object:
    """1.0 is an integer in JSON, which has one number type; "1" and true are not integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integral = BeforeValidator(_integral)
"""Annotates an integer type."""


class LabelScore(BaseModel):
    """One label and its score."""

    model_config = ConfigDict(json_schema_extra={"example": {"label": "POSITIVE", "score": 0.99}})

    label: str
    score: float


class Refusal(BaseModel):
    """The body of every error response, but of those to OpenAI's client."""

    error: str = Field(description="The problem, and how to fix it.")
    error_type: ErrorType


class NestedError(BaseModel):
    """An error as OpenAI's client reads it."""

    message: str = Field(description="The problem, and how to fix it.")
    type: ErrorType
    param: None
    code: int


class NestedRefusal(BaseModel):
    """The body of an error response of OpenAI's API."""

    error: NestedError
