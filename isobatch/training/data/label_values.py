"""Values of labels: missing ones, names, numbers and flags, read alike from files and from Python.

Invariant: equal values have equal names in every row, and a value that cannot be read is refused
with its place, never guessed.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from isobatch.errors import InputError
from isobatch.evaluation.labels import is_missing, python_number, spelled
from isobatch.tables import MISSING, Unreadable

PlainValue = str | bool | int | float
"""A single label as Python has it."""

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"([+-]?[0-9]+)\.0*")


def plain_value(value: object, place: str) -> PlainValue | None:
    """Return Python's own value of a single label, without spaces around it; None if missing.

    Missing are null, NaN and a blank text. InputError for anything but a text, a number or a
    boolean.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        value = python_number(value)
    if isinstance(value, Unreadable):
        raise InputError(f"{place}: the label cannot be read: {value.reason}. Fix this row")
    if value is MISSING or is_missing(value):
        return None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | int | float):
        return value
    raise InputError(
        f"{place}: a label is a text, a number or a boolean, got {type(value).__name__}: "
        f"{str(value)[:40]}. Write it as a text"
    )


def number_of(value: object) -> float | None:
    """Return the number that a plain value is, or that its text spells; None for any other.

    Neither a boolean nor the texts "nan" and "inf" are numbers; one beyond all floats is infinite.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def flag_of(value: object) -> float | None:
    """Return 0.0 or 1.0 for 0, 1, false and true and their texts; None for any other value."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and value.casefold() in ("false", "true"):
        return float(value.casefold() == "true")
    number = number_of(value)
    return number if number in (0.0, 1.0) else None


def name_of(value: PlainValue, *, whole: bool) -> str:
    """Return the name of a label. whole: numbers of its column are whole, so that 1.0 is "1"."""
    if not whole or isinstance(value, bool):
        return spelled(value)
    if isinstance(value, float):
        return str(int(value))
    found = _WHOLE.fullmatch(str(value))
    return found[1] if found else str(value)


def natural_order(names: Sequence[str]) -> tuple[str, ...]:
    """Sort names: by value if all are numbers, else with the numbers in them by value.

    So 2 precedes 10, and "level 2" precedes "level 10".
    """
    if all(number_of(name) is not None for name in names):
        return tuple(sorted(names, key=lambda name: (number_of(name), name)))
    return tuple(sorted(names, key=lambda name: (_parts(name), name)))


def _parts(name: str) -> list[str | int]:
    """Split into texts and numbers, which alternate, so that lists of them can be compared."""
    pieces = re.split(r"([0-9]+)", name.casefold())
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)]


def split_label_text(text: str, separator: str) -> list[object]:
    """Return the labels of a text such as "sport; politics"; an empty text has none."""
    return [piece.strip() for piece in text.split(separator) if piece.strip()]


def read_json_lists(values: Sequence[object]) -> list[object]:
    """Replace texts by lists if every one of them is a JSON list, as in a CSV file."""
    lists = []
    for value in values:
        text = value.strip() if isinstance(value, str) else ""
        if not (text.startswith("[") and text.endswith("]")):
            return list(values)
        try:
            lists.append(json.loads(text))
        except (ValueError, RecursionError):
            return list(values)
    return lists
