"""Values as JSON and as CSV cells, and the columns that are added to rows.

Invariant: floats are written by repr, so that they read back to the same bits; JSON has neither NaN
nor infinities, and gets null for them.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from isobatch.extras import needs_extra

AddedKind = Literal["text", "number", "integer", "flag", "numbers", "vector", "entities"]
"""str, float, int, bool, a list of floats that are float32 values, a float32 array [size], or a
list of objects with the members of ENTITY; None is null in each of them."""

ENTITY: dict[str, Literal["text", "number", "integer"]] = {
    "label": "text",
    "score": "number",
    "start": "integer",
    "end": "integer",
    "text": "text",
}
"""The members of an entity, in their order, and their kinds; `start` and `end` are offsets in
characters."""


@cache
def json_encoder() -> Callable[[object], bytes]:
    """Return the encoder of compact JSON, with UTF-8 not escaped."""
    with needs_extra("files", "JSON"):
        from msgspec.json import Encoder
    return Encoder().encode


def key_prefix(name: str) -> bytes:
    """Return `"name":`, the beginning of a member of a JSON object."""
    return json_encoder()(name) + b":"


def json_of(value: object) -> bytes:
    """Return `value` in JSON."""
    return _json_number(value).encode() if isinstance(value, float) else json_encoder()(value)


def _json_number(value: float) -> str:
    """Use float's own repr, as the repr of a subclass may contain more than the number."""
    return float.__repr__(value) if math.isfinite(value) else "null"


def text_of(value: object) -> str:
    """Return `value` as a CSV cell: null is empty; lists and objects are JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return float.__repr__(value) if isinstance(value, float) else json_encoder()(value).decode()


def has_surrogate(text: str) -> bool:
    """Return whether `text` contains half of a surrogate pair, which UTF-8 cannot encode."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def is_number(text: str) -> bool:
    """Return whether `text` spells a number, as Python reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class AddedField:
    """A column that is added after those of the input; `size` is that of each vector.

    Invariant: a value reads back with the same bits from every format, NaN and infinities in JSON
    excepted.
    """

    name: str
    kind: AddedKind
    size: int | None = None

    @property
    def is_json(self) -> bool:
        """Whether a CSV cell of this column is JSON, with commas in it."""
        return self.kind in ("numbers", "vector", "entities")

    def texts(self, values: Sequence[Any]) -> list[str]:
        """Return the values as CSV cells: null is empty, lists are JSON arrays."""
        return ["" if value is None else self._text(value) for value in values]

    def json(self, values: Sequence[Any]) -> list[bytes]:
        """Return the values in JSON."""
        if self.kind in ("text", "number"):
            return [json_of(value) for value in values]
        return [b"null" if value is None else self._text(value).encode() for value in values]

    def _text(self, value: Any) -> str:
        if self.kind == "text":
            return str(value)
        if self.kind == "number":
            return float.__repr__(value)
        if self.kind == "flag":
            return "true" if value else "false"
        if self.kind == "integer":
            return str(value)
        plain = self.plain(value)
        if self.kind == "entities":
            return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return f"[{','.join(map(_json_number, plain))}]"

    def plain(self, value: Any) -> Any:
        """Return a value as lists and dictionaries; an entity has the members of ENTITY only."""
        if value is None:
            return None
        if self.kind == "entities":
            return [{name: entity[name] for name in ENTITY} for entity in value]
        return value.tolist() if self.kind == "vector" else value
