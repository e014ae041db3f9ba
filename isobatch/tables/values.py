"""Python values as JSON and as CSV cells.

It knows neither files nor rows.
Invariant: floats are written by repr, so that they read back to the same bits; JSON has no NaN and
no infinity, and gets null for them.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from isobatch.tables.libraries import library


@cache
def encoder() -> Callable[[object], bytes]:
    """Compact JSON, UTF-8 not escaped."""
    encode: Callable[[object], bytes] = library("msgspec").json.Encoder().encode
    return encode


@cache
def decoder() -> Callable[[Any], object]:
    """One JSON value to Python."""
    decode: Callable[[Any], object] = library("msgspec").json.Decoder().decode
    return decode


def key_prefix(name: str) -> bytes:
    """`"name":`, the beginning of a member of a JSON object."""
    return encoder()(name) + b":"


def number_text(value: float) -> str:
    """A float in JSON; float's own repr, for those of subclasses hold more than the number."""
    return float.__repr__(value) if math.isfinite(value) else "null"


def numbers_text(values: Sequence[float]) -> str:
    """Floats as a JSON array."""
    return f"[{','.join(map(number_text, values))}]"


def json_of(value: object) -> bytes:
    """`value` in JSON."""
    return number_text(value).encode() if isinstance(value, float) else encoder()(value)


def text_of(value: object) -> str:
    """`value` as a CSV cell: null is empty, and what is neither text nor number is JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return float.__repr__(value) if isinstance(value, float) else encoder()(value).decode()
