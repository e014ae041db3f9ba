"""Targets: the numbers that the labels of texts become, float32 [texts, outputs].

Invariant: a label that the scheme does not have is an error with its place; so is a set of labels
from which a class cannot be learned.
"""

import difflib
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isobatch.drawing.display_text import one_line
from isobatch.errors import InputError, OptionError
from isobatch.training.data.label_scheme import LabelScheme, list_item
from isobatch.training.data.label_values import PlainValue, flag_of, name_of, number_of, plain_value

Targets = NDArray[np.float32]

MAX_FLOAT32 = float(np.finfo(np.float32).max)


def make_targets(
    scheme: LabelScheme,
    values: Sequence[object],
    places: Sequence[str],
    columns: Sequence[str] = (),
) -> Targets:
    """Return a row for each value: one-hot for single labels, 0 and 1 for multiple, or numbers.

    columns: the names of the cells where a value is a tuple of several. InputError, with the place,
    for a label that the scheme does not have, and for a number that is none or not finite.
    """
    targets = np.zeros((len(values), len(scheme.labels)), np.float32)
    if scheme.task == "regression":
        for row, (value, place) in enumerate(zip(values, places, strict=True)):
            cells = _cells(scheme, value, place, columns)
            targets[row] = [_finite(cell, place) for cell in cells]
        return targets
    lookup = LabelLookup(scheme.labels)
    for row, (value, place) in enumerate(zip(values, places, strict=True)):
        if scheme.task == "single":
            targets[row, lookup.index(_single(value, place), place)] = 1.0
        elif isinstance(value, list):
            for item in value:
                targets[row, lookup.index(list_item(item, place), place)] = 1.0
        else:
            targets[row] = [_flag(cell, place) for cell in _cells(scheme, value, place, columns)]
    return targets


class LabelLookup:
    """Finds the output of a label: by its name, or, where all names are numbers, by its value."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self._names = {label: index for index, label in enumerate(labels)}
        self._seen: dict[tuple[type, object], int] = {}

    @cached_property
    def _numbers(self) -> dict[float, int]:
        numbers = {number_of(label): index for index, label in enumerate(self.labels)}
        if len(numbers) < len(self.labels) or None in numbers:
            return {}
        return {number: index for number, index in numbers.items() if number is not None}

    def index(self, value: PlainValue, place: str) -> int:
        """Return the output; InputError, with the place, for a label that was not trained on."""
        key = type(value), value
        if key not in self._seen:
            self._seen[key] = self._find(value, place)
        return self._seen[key]

    def _find(self, value: PlainValue, place: str) -> int:
        for name in (name_of(value, whole=False), name_of(value, whole=_is_whole(value))):
            if name in self._names:
                return self._names[name]
        number = number_of(value)
        if number in self._numbers:
            return self._numbers[number]
        name = name_of(value, whole=False)
        raise InputError(
            f"{place}: the label {one_line(name, 60)!r} is in none of the training texts; they "
            f"have {_listed(self.labels)}. {self._fix(name)}"
        )

    def _fix(self, name: str) -> str:
        folded = {label.casefold(): label for label in self.labels}
        near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.8)
        meant = f"Did you mean {folded[near[0]]!r}? " if near else ""
        return f"{meant}Fix the label, or add texts of it to the training files"


def check_classes(scheme: LabelScheme, targets: Targets, places: Sequence[str]) -> None:
    """Raise an InputError if the training texts have one class only, or one text of a class.

    In a regression, if all numbers are equal.
    """
    if scheme.task == "regression":
        for name, column in zip(scheme.labels, targets.T, strict=True):
            if (column == column[0]).all():
                raise InputError(
                    f"{places[0]}: {name!r} is {column[0]:g} here and in all other texts, so "
                    "there is nothing to learn. Add texts with other numbers"
                )
        return
    if scheme.task == "single" and len(scheme.labels) < 2:
        raise InputError(
            f"{places[0]}: the label is {scheme.labels[0]!r} here and in all other texts, but a "
            "classifier needs two classes. Add texts with other labels"
        )
    if not scheme.labels:
        raise InputError(f"{places[0]}: all texts have empty lists of labels. Add labels")
    for label, column in zip(scheme.labels, targets.T, strict=True):
        has = np.flatnonzero(column)
        if len(has) == 0:
            raise InputError(
                f"{places[0]}: neither this text nor any other has the label {label!r}. Leave its "
                "column out, or add texts with it"
            )
        if len(has) == 1:
            raise InputError(
                f"{places[has[0]]}: this is the only text with the label {label!r}, but two are "
                "needed. Add another, or leave this one out"
            )
        if len(has) == len(column):
            raise InputError(
                f"{places[0]}: this text and all others have the label {label!r}, so there is "
                "nothing to learn. Leave that label out, or add texts without it"
            )


def describe_target(scheme: LabelScheme, target: Targets) -> str:
    """Return the labels of one row of targets in words."""
    if scheme.task == "regression":
        return ", ".join(f"{number:g}" for number in target)
    names = [label for label, has in zip(scheme.labels, target, strict=True) if has]
    return ", ".join(names) or "no label"


def _cells(
    scheme: LabelScheme, value: object, place: str, columns: Sequence[str]
) -> Sequence[object]:
    """Return the cells of a text in the order of the scheme."""
    cells = value if isinstance(value, tuple) else (value,)
    if not isinstance(value, tuple) and scheme.task == "multi":
        raise InputError(
            f"{place}: {str(value)[:60]!r} is a single value, but the training texts have multiple "
            "labels. Write it as they are written"
        )
    if len(cells) == 1 == len(scheme.labels):
        return cells
    if sorted(columns) != sorted(scheme.labels):
        raise OptionError(
            f"{place}: the label columns are {', '.join(columns) or 'not named'}, but those of the "
            f"training texts are {', '.join(scheme.labels)}. Use the same"
        )
    by_name = dict(zip(columns, cells, strict=True))
    return [by_name[label] for label in scheme.labels]


def _single(value: object, place: str) -> PlainValue:
    if isinstance(value, list | tuple):
        raise InputError(
            f"{place}: {str(value)[:60]} is not one label, but the training texts have one each. "
            "Write it as they are written"
        )
    plain = plain_value(value, place)
    if plain is None:
        raise InputError(f"{place}: the label is missing. Add it, or leave this text out")
    return plain


def _finite(cell: object, place: str) -> float:
    number = number_of(cell)
    if number is None:
        raise InputError(
            f"{place}: {str(cell)[:60]!r} is not a number, but a regression needs one. Write one, "
            "with a decimal point, or choose --task single if these are labels"
        )
    if not abs(number) <= MAX_FLOAT32:
        raise InputError(
            f"{place}: {str(cell)[:60]} is not finite in float32. Fix it, or leave this text out"
        )
    return number


def _flag(cell: object, place: str) -> float:
    flag = flag_of(cell)
    if flag is None:
        raise InputError(
            f"{place}: {str(cell)[:60]!r} is neither 0 nor 1, but says whether the text has a "
            "label. Fix it"
        )
    return flag


def _is_whole(value: PlainValue) -> bool:
    number = number_of(value)
    return number is not None and math.isfinite(number) and number.is_integer()


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
    return ", ".join(one_line(label, 40) for label in labels[:20]) + more
