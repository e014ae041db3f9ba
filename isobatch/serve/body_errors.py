"""Why a body does not match its route's schema, in words: the field, what it takes, what it got.

Invariant: each problem names its field by its path in the body, such as `inputs[3]`, and the names
that it lists are those of the schema.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

MAX_REASONS = 3
"""Reasons that an error names: more would bury the first."""

_ABOUT_FIELDS = ("missing", "extra_forbidden")

_SHOWN = 40
"""Characters of a value or name that an error repeats."""


class StrictModel(BaseModel):
    """A request: unknown fields are forbidden, values are not coerced.

    HINTS: the fix for unknown fields that other servers take, and for wrong values.
    """

    HINTS: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def takes(cls, content: object) -> bool:
        """Recognize a body of this type, where a route takes one of several."""
        return True


def body_reasons(error: ValidationError, body: type[StrictModel], path: str) -> str:
    """Describe the first problems of a body for the route at `path`, then what it takes."""
    problems = error.errors(include_url=False)
    lines = [_reason(problem, body, path) for problem in problems[:MAX_REASONS]]
    if len(problems) > MAX_REASONS:
        lines.append(f"and {len(problems) - MAX_REASONS} more")
    of_fields = [each["loc"][:-1] for each in problems if each["type"] in _ABOUT_FIELDS]
    for place in dict.fromkeys(of_fields):
        names = ", ".join(_model_at(body, place).model_fields)
        lines.append(f"{_path(place) or path} takes {names}")
    return "; ".join(lines)


def described(value: object) -> str:
    """Describe a JSON value in a few words, such as `a list` or `the number 3`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {str(value)[:_SHOWN]}"
        case str():
            return f"the string {value[:_SHOWN]!r}" + ("…" if len(value) > _SHOWN else "")
        case list():
            return "a list" if value else "an empty list"
    return "an object"


def _reason(problem: ErrorDetails, body: type[StrictModel], path: str) -> str:
    place, kind = problem["loc"], problem["type"]
    if kind == "model_type" and not place:
        got = described(problem["input"])
        return f"the body must be a JSON object with the fields of {path}, got {got}"
    owner, field = _model_at(body, place[:-1]), str(place[-1])
    if kind == "missing":
        return f"field {field!r} is missing{_within(place[:-1])}"
    if kind == "extra_forbidden":
        return f"unknown field {field[:_SHOWN]!r}{_within(place[:-1])}{_hint(owner, field)}"
    context = problem.get("ctx", {})
    where = _path(place) + context.get("place", "")
    expected = _EXPECTED[kind](context) if kind in _EXPECTED else problem["msg"]
    got = context.get("got") or described(problem["input"])
    hint = f" ({owner.HINTS[field]})" if field in owner.HINTS else ""
    return f"{where}: expected {expected}, got {got}{hint}"


def _hint(owner: type[StrictModel], name: str) -> str:
    """Say what to send instead of an unknown field, if that is known."""
    if name in owner.HINTS:
        return f" ({owner.HINTS[name]})"
    for field in owner.model_fields:
        if (inner := _model_of(owner, field)) and name in inner.model_fields:
            return f" (it belongs in {field!r})"
    near = get_close_matches(name.lower(), list(owner.model_fields), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _within(place: Sequence[int | str]) -> str:
    return f" in {_path(place)}" if place else ""


def _path(place: Sequence[int | str]) -> str:
    """Join a place to a path: `("inputs", 3, "text")` is `inputs[3].text`."""
    joined = ""
    for part in place:
        joined += f"[{part}]" if isinstance(part, int) else f".{part}" if joined else part
    return joined


def _model_at(body: type[StrictModel], place: Sequence[int | str]) -> type[StrictModel]:
    """Return the model of the object at `place`."""
    for name in place:
        body = _model_of(body, str(name)) or body
    return body


def _model_of(owner: type[StrictModel], field: str) -> type[StrictModel] | None:
    """Return the model among the types of a field; None if it takes no object of its own."""
    kind = owner.model_fields[field].annotation
    models = (each for each in (kind, *get_args(kind)) if isinstance(each, type))
    return next((each for each in models if issubclass(each, StrictModel)), None)


_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "string_type": lambda _: "a string",
    "bool_type": lambda _: "true or false",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "list_type": lambda _: "a list",
    "model_type": lambda _: "an object",
    "string_unicode": lambda _: "Unicode text",
    "literal_error": lambda context: context["expected"].replace("True", "true"),
    "greater_than_equal": lambda context: f"at least {context['ge']}",
    "string_too_long": lambda context: f"at most {context['max_length']} characters",
    "expected": lambda context: context["what"],
}
"""The expected value, by pydantic's error type; "expected" is our own."""
