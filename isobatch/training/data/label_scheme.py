"""The labels of a training: which task they make, their names, and the order of the outputs.

Three forms of a value are known: a single one (text, number or boolean), a list of labels, and a
tuple of cells of several columns. Invariant: a task that is found is stated with its evidence, and
where values allow two tasks the caller has to choose.
"""

import re
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from isobatch.drawing.display_text import counted, one_line
from isobatch.errors import InputError, OptionError
from isobatch.training.data.label_values import (
    PlainValue,
    flag_of,
    name_of,
    natural_order,
    number_of,
    plain_value,
)
from isobatch.training.recipe import TASKS, TrainingTask

MAX_LABELS = 10_000
"""More different values are not labels: the head alone would be larger than a small encoder."""

MAX_WHOLE = 20
"""More different whole numbers may be amounts as well as classes; fewer nearly always are
classes: stars from 1 to 5, indices of topics."""

MIN_DECIMALS = 5
"""Fewer different numbers with decimals may be names of classes, such as versions."""

_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")

_Key = tuple[type, object]
"""A single value with its type: 1, 1.0 and True are equal for Python."""


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """The task; the name of each output, in order; and a sentence about how they were found.

    In a regression a label is the name of a column.
    """

    task: TrainingTask
    labels: tuple[str, ...]
    evidence: str


def infer_labels(
    values: Sequence[object],
    places: Sequence[str],
    task: TrainingTask | Literal["auto"] = "auto",
    columns: Sequence[str] = (),
) -> LabelScheme:
    """Find the task and the labels of `values`, of which none is missing.

    places: of the values, for messages. columns: where they are from, () for a Python list. Raises
    OptionError where the task must be chosen or cannot be the given one, and InputError for a value
    that does not fit the others.
    """
    if task not in ("auto", *TASKS):
        raise OptionError(f"task must be auto, single, multi or regression, got {task!r}")
    if not values:
        raise InputError("there are no labelled texts. Specify files that have some")
    forms = [_form(value) for value in values]
    for index, form in enumerate(forms):
        if values[index] is None:
            raise InputError(f"{places[index]}: the label is missing. Add it, or leave it out")
        if form != forms[0]:
            raise InputError(
                f"{places[index]}: {_shown(values[index])} is {form}, but {places[0]} has "
                f"{forms[0]}. Write all labels in one form"
            )
    if forms[0] == _SINGLE:
        return _SingleColumn(values, places, columns).scheme(task)
    if forms[0] == _LIST:
        return _list_scheme(values, places, task, columns)
    return _columns_scheme(values, places, task, columns)


_SINGLE, _LIST, _CELLS = "a single value", "a list", "cells of several columns"


def _form(value: object) -> str:
    return _LIST if isinstance(value, list) else _CELLS if isinstance(value, tuple) else _SINGLE


class _SingleColumn:
    """The different values of a column with one value for each text."""

    def __init__(
        self, values: Sequence[object], places: Sequence[str], columns: Sequence[str]
    ) -> None:
        self.first: dict[_Key, str] = {}
        for value, place in zip(values, places, strict=True):
            self.first.setdefault((type(value), value), place)
        self.size = len(values)
        self.where = _where(columns)
        self.column = columns[0] if columns else "label"
        self.different = [cast("PlainValue", value) for _, value in self.first]
        found = [(value, number_of(value)) for value in self.different]
        self.numbers = [number for _, number in found if number is not None]
        self.others = [value for value, number in found if number is None]
        self.whole = not self.others and all(each.is_integer() for each in self.numbers)

    def scheme(self, task: TrainingTask | Literal["auto"]) -> LabelScheme:
        chosen = "" if task == "auto" else ", as chosen"
        if task == "auto":
            task = self._find_task()
        if task == "multi":
            self._refuse_multi()
        if task == "regression":
            low, high = _range(self.numbers) if not self.others else ("", "")
            span = f" from {low} to {high}" if low else ""
            said = f"regression{chosen}: {self.where} {self._count()}{span}"
            return LabelScheme(task, (self.column,), said)
        labels = self._names()
        said = f"single labels{chosen}: {self.where} {self._count()}"
        if self.numbers and not self.others:
            low, high = _range(self.numbers)
            said += f" from {low} to {high}"
            if not chosen:
                said += ", read as classes; if they are amounts, choose --task regression"
        else:
            said += f" ({_listed(labels)})"
            if not chosen:
                said += self._advice(labels)
        return LabelScheme(task, labels, said)

    def _advice(self, names: Collection[str]) -> str:
        """Return what to do if the values look like several labels each; "" if they do not."""
        mark = _separator(names)
        if mark is None:
            return ""
        shown = next(name for name in names if mark in name)
        return (
            f"; if {shown!r} is several labels, separate them: --label-separator "
            f"{shlex.quote(mark)}"
        )

    def _count(self) -> str:
        kinds = {bool: "boolean", str: "text"}
        types = {type(value) for value in self.different}
        kind = kinds.get(next(iter(types)), "value") if len(types) == 1 else "value"
        if not self.others:
            kind = "whole number" if self.whole else "number"
        names = {name_of(value, whole=self.whole) for value in self.different}
        return f"has {counted(len(names), f'different {kind}')}"

    def _find_task(self) -> TrainingTask:
        """Decide between classes and amounts; OptionError or InputError if that is unclear."""
        if self.others:
            self._refuse_stray()
            return "single"
        if self.whole and len(self.different) <= MAX_WHOLE:
            return "single"
        if not self.whole and len(self.different) >= MIN_DECIMALS:
            return "regression"
        low, high = _range(self.numbers)
        raise OptionError(
            f"{self.where} {self._count()} from {low} to {high}, which may be classes or amounts. "
            "Choose the task: --task single for classes, --task regression for amounts"
        )

    def _refuse_stray(self) -> None:
        """Raise an InputError for a text that makes a column of amounts one of texts."""
        if len(self.different) > MAX_WHOLE and len(self.numbers) > 9 * len(self.others):
            value = self.others[0]
            raise InputError(
                f"{self.first[type(value), value]}: the label {_shown(value)} is not a number, but "
                f"nearly all others of {self.where} are. Fix it, or, if they are classes, choose "
                "--task single"
            )

    def _refuse_multi(self) -> None:
        value, place = self.different[0], next(iter(self.first.values()))
        separator = next((mark for mark in ";|," if mark in str(value)), ";")
        raise OptionError(
            f"{self.where} has single values, such as {_shown(value)} ({place}), but the task is "
            "multi. Write JSON lists, name one column of 0 and 1 for each label, or split texts "
            f"with --label-separator {shlex.quote(separator)}"
        )

    def _names(self) -> tuple[str, ...]:
        mixed = {type(value) for value in self.different} - {str}
        if bool in mixed and self.numbers:
            value = next(each for each in self.different if isinstance(each, bool))
            raise InputError(
                f"{self.first[bool, value]}: {self.where} has booleans and numbers. Write all "
                "labels in one form"
            )
        names = {name_of(value, whole=self.whole) for value in self.different}
        if len(names) > MAX_LABELS or len(names) > max(MAX_WHOLE, self.size // 2):
            amounts = "" if self.others else ", or choose --task regression for amounts"
            if all(_DECIMAL_COMMA.fullmatch(name) for name in names):
                amounts = ", or write decimal points instead of commas for amounts"
            raise InputError(
                f"{next(iter(self.first.values()))}: {self.where} {self._count()} in "
                f"{counted(self.size, 'row')}: these are not labels. Use another column with "
                f"--label-column{amounts}{self._advice(names)}"
            )
        return natural_order(list(names))


def _separator(names: Collection[str]) -> str | None:
    """Return the mark at which names can be split into fewer names than they are."""
    for mark in ";|,":
        parts = {part.strip() for name in names for part in name.split(mark)}
        joined = sum(mark in name for name in names)
        if joined > 1 and "" not in parts and len(parts) < len(names):
            return mark
    return None


def _list_scheme(
    values: Sequence[object],
    places: Sequence[str],
    task: TrainingTask | Literal["auto"],
    columns: Sequence[str],
) -> LabelScheme:
    where = _where(columns)
    if task not in ("auto", "multi"):
        raise OptionError(
            f"{where} has lists, such as {_shown(values[0])} ({places[0]}), but the task is "
            f"{task}. Choose --task multi, or specify a column with one value for each text"
        )
    found: dict[_Key, PlainValue] = {}
    sizes: Counter[int] = Counter()
    for value, place in zip(values, places, strict=True):
        assert isinstance(value, list)
        _refuse_flags(value, place)
        for item in value:
            plain = list_item(item, place)
            found.setdefault((type(plain), plain), plain)
        sizes[len(value)] += 1
    numbers = [number_of(value) for value in found.values()]
    whole = all(number is not None and number.is_integer() for number in numbers)
    names = natural_order(list({name_of(value, whole=whole) for value in found.values()}))
    if len(names) > MAX_LABELS:
        number = counted(len(names), "different value")
        raise InputError(
            f"{places[0]}: {where} has lists of {number}: these are not labels. Use another "
            "column with --label-column"
        )
    chosen = "" if task == "auto" else ", as chosen"
    low, high = min(sizes), max(sizes)
    each = f"{low} in each" if low == high else f"{low} to {high} in each"
    return LabelScheme(
        "multi",
        names,
        f"multiple labels{chosen}: {where} has lists of {counted(len(names), 'different label')} "
        f"({_listed(names)}), {each}",
    )


def list_item(item: object, place: str) -> PlainValue:
    """Return a label of a list as a plain value; InputError if it is missing or no label."""
    plain = plain_value(item, place)
    if plain is None:
        raise InputError(f"{place}: a list has an empty label. Remove it; [] means no label")
    return plain


def _refuse_flags(value: list[object], place: str) -> None:
    """Raise an InputError for a list such as [0, 1, 0], which has no names of labels."""
    if len(value) > 2 and all(flag_of(each) is not None for each in value):
        raise InputError(
            f"{place}: the list {_shown(value)} has a 0 or 1 for each label, but not their names. "
            "Write lists of names, or a column of 0 and 1 for each label; in Python, pass a "
            "two-dimensional array"
        )


def _columns_scheme(
    values: Sequence[object],
    places: Sequence[str],
    task: TrainingTask | Literal["auto"],
    columns: Sequence[str],
) -> LabelScheme:
    names = tuple(columns)
    where = f"the {len(names)} columns {_listed(names)}"
    if task == "single":
        raise OptionError(
            f"--task single: {where} are given, but a text with one label has one column. Specify "
            "it with --label-column"
        )
    chosen = "" if task == "auto" else ", as chosen"
    if task == "regression":
        said = f"regression{chosen}: {where} have a number each"
        return LabelScheme("regression", names, said)
    for value, place in zip(values, places, strict=True):
        assert isinstance(value, tuple)
        for name, cell in zip(names, value, strict=True):
            if flag_of(cell) is None:
                number = "" if number_of(cell) is None else ", or choose --task regression"
                raise InputError(
                    f"{place}: the column {name!r} has {_shown(cell)}, but a column of one of "
                    f"several labels has 0 or 1. Fix it{number}"
                )
    return LabelScheme("multi", names, f"multiple labels{chosen}: {where} have 0 or 1")


def _where(columns: Sequence[str]) -> str:
    return f"the column {columns[0]!r}" if columns else "the list of labels"


def _range(numbers: Sequence[float]) -> tuple[str, str]:
    return f"{min(numbers):g}", f"{max(numbers):g}"


def _listed(names: Sequence[str]) -> str:
    shown = [one_line(name, 40) for name in names[:6]]
    return ", ".join(shown) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
