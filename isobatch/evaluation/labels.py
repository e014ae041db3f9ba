"""Matching of the label column of a file with the labels of the checkpoint.

Invariant: one rule holds for a whole column, so that no value is read as a name in one row and as
an index in another; a value that fits no rule is refused, never guessed.
"""

import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral

from isobatch.errors import InputError, OptionError
from isobatch.tables.values import is_number

MAX_UNKNOWN, MAX_LABELS = 5, 20
"""How many an error message names before it only counts."""

_WHOLE = re.compile(r"\s*([+-]?\d+)\.0*\s*")
"""A whole number as a float: pandas writes a column of integers so if one of them is missing."""

_NUMBERED = re.compile(r"label_(\d+)", re.IGNORECASE)
"""The names of transformers where a config.json has none."""


@dataclass(frozen=True, slots=True)
class MatchedLabels:
    """The index of each given value, None for one that fits no rule; and what was read how.

    unknown: the message for the values without an index, "" if there is none.
    """

    indices: list[int | None]
    note: str
    unknown: str


@dataclass(frozen=True, slots=True)
class LabelRule:
    """`normalize` turns a value into a key of `indices`, or None; `note` tells what it assumes."""

    normalize: Callable[[object], str | None]
    indices: dict[str, int]
    note: str = ""

    def index(self, value: object) -> int | None:
        key = self.normalize(value)
        return None if key is None else self.indices.get(key)


def match_labels(
    given: Sequence[object],
    labels: Sequence[str],
    places: Sequence[str],
    label_map: Mapping[str, int] | None = None,
    *,
    indices: bool = True,
) -> MatchedLabels:
    """Turn the different values of a label column into indices of the checkpoint's labels.

    A value of `label_map`, by its `spelled` form, is what that says. The others are tried by one
    rule after the other, each for the whole column: the exact names; the names in any case and
    with spaces around them; integers (or their text, such as "0") as indices, unless `indices` is
    False; whole floats, such as 1.0, as integers. A number that names a label is that label, and
    where any label is a number, none is an index. `places` locates each value, for the message.
    """
    if len(given) != len(places):
        raise InputError(f"{len(given)} label values, but {len(places)} places; pass one for each")
    label_map = label_map or {}
    mapped = [label_map.get(spelled(value)) for value in given]
    others = [value for value, index in zip(given, mapped, strict=True) if index is None]
    indices = indices and _allows_indices(labels)
    columns = [(rule, [rule.index(value) for value in others]) for rule in _rules(labels, indices)]
    rule, found = min(columns, key=lambda column: column[1].count(None))
    rest = iter(found)
    matched = [next(rest) if index is None else index for index in mapped]
    unknown = {
        spelled(value): (value, place)
        for value, index, place in reversed(list(zip(given, matched, places, strict=True)))
        if index is None
    }
    note = rule.note if any(index is not None for index in found) else ""
    message = _describe_unknown(dict(reversed(unknown.items())), labels, indices) if unknown else ""
    return MatchedLabels(matched, note, message)


def parse_label_map(given: Sequence[str], labels: Sequence[str]) -> dict[str, int]:
    """Read mappings such as "pos=POSITIVE"; OptionError for one whose label does not exist."""
    index_of = {label: index for index, label in enumerate(labels)}
    found: dict[str, int] = {}
    for each in given:
        # Either side may contain "=": the right one is a label.
        ends = [place for place, letter in enumerate(each) if letter == "=" and place]
        index = next((index_of[each[p + 1 :]] for p in ends if each[p + 1 :] in index_of), None)
        if index is None:
            raise OptionError(
                f"--label-map {each}: expected VALUE=LABEL, where LABEL is one of {_listed(labels)}"
            )
        value = each[: -len(labels[index]) - 1]
        if found.setdefault(value, index) != index:
            raise OptionError(
                f"--label-map {each}: {value} is {labels[found[value]]} already. Map it once"
            )
    return found


def is_missing(value: object) -> bool:
    """Return whether a cell holds no label: null, NaN (as many tables write), or a blank text."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def spelled(value: object) -> str:
    """Spell a value as --label-map does: as it is in a file, with JSON's true and false."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rules(labels: Sequence[str], indices: bool) -> list[LabelRule]:
    names = {label: index for index, label in enumerate(labels)}
    rules = [LabelRule(_text, names)]
    folded = {label.strip().casefold(): index for index, label in enumerate(labels)}
    if len(folded) == len(labels):
        note = "labels were matched in any case, without the spaces around them"
        rules.append(LabelRule(lambda value: _fold(_text(value)), folded, note))
    numbers = {str(index): index for index in range(len(labels))} if indices else names
    if indices:
        rules.append(LabelRule(_text, numbers))
    meaning = "the index 1" if indices else "the label 1"
    note = f"whole numbers that are written as floats were read as integers: 1.0 as {meaning}"
    return [*rules, LabelRule(_whole, numbers, note)]


def python_number(value: Decimal) -> int | float:
    """Return a number of a Parquet column of decimals as an integer, if it is one, or a float."""
    number = float(value)
    return int(number) if number.is_integer() else number


def _text(value: object) -> str | None:
    if isinstance(value, Decimal):
        value = python_number(value)
    return str(value) if isinstance(value, str | Integral | float) else None


def _fold(text: str | None) -> str | None:
    return None if text is None else text.strip().casefold()


def _whole(value: object) -> str | None:
    """Return an integer's text for 1, 1.0, "1" and "1.0"; None for anything else."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    text = _text(value)
    found = _WHOLE.fullmatch(text) if text is not None else None
    return str(int(found[1])) if found else text and text.strip()


def _allows_indices(labels: Sequence[str]) -> bool:
    """Refuse indices for labels such as "1" or "2.5", where 1 could be the name or the index."""
    return not any(map(is_number, labels))


def _describe_unknown(
    unknown: Mapping[str, tuple[object, str]], labels: Sequence[str], indices: bool
) -> str:
    shown = list(unknown.values())[:MAX_UNKNOWN]
    named = [f"{_shown(value)} ({place})" for value, place in shown]
    if len(unknown) > MAX_UNKNOWN:
        named.append(f"{len(unknown) - MAX_UNKNOWN} more")
    expected = f"one of {_listed(labels)}"
    if indices:
        expected += f", or their indices 0 to {len(labels) - 1}, consistently in the whole column"
    fix = _fix([value for value, _ in shown], labels)
    if len(unknown) > 2 * len(labels) + MAX_LABELS:
        many = f"The column has {len(unknown):,} such values"
        fix = f"{many}: specify the column of the labels. {fix}"
    return f"labels are not the checkpoint's (got {', '.join(named)}; expected {expected}). {fix}"


def _fix(unknown: Sequence[object], labels: Sequence[str]) -> str:
    """Suggest a --label-map for each of the values: its likely meaning, or an example."""
    guesses = [(value, _guess(value, labels)) for value in unknown]
    pairs = [(spelled(value), guess or _example(value, labels)) for value, guess in guesses]
    options = " ".join(f"--label-map {shlex.quote('='.join(pair))}" for pair in pairs)
    if all(guess is not None for _, guess in guesses):
        return f"If that is what they mean: {options}"
    return (
        f"Map each to its label, for example {options}; or count such rows as errors with "
        "--on-bad-label row"
    )


def _guess(value: object, labels: Sequence[str]) -> str | None:
    """Return the label that a value seems to mean: by its number, or the only one akin."""
    text = spelled(value).strip().casefold()
    if len(labels) == 2 and text in ("false", "true", "no", "yes"):
        return labels[text in ("true", "yes")]
    if (numbered := _NUMBERED.fullmatch(text)) and int(numbered[1]) < len(labels):
        return labels[int(numbered[1])]
    akin = [
        label
        for label in labels
        if text
        and (
            label.casefold().startswith(text)
            or (text[0].isalpha() and text.startswith(label.casefold()))
        )
    ]
    return akin[0] if len(akin) == 1 else None


def _example(value: object, labels: Sequence[str]) -> str:
    """Return a label for a value of unknown meaning."""
    whole = _whole(value) or ""
    return labels[int(whole)] if whole.isdecimal() and int(whole) < len(labels) else labels[0]


def _shown(value: object) -> str:
    text = repr(value)
    kind = " as a float" if isinstance(value, float) else ""
    kind = " as a boolean" if isinstance(value, bool) else kind
    return (text if len(text) <= 60 else f"{text[:57]}...") + kind


def _listed(labels: Sequence[str]) -> str:
    named = list(labels[:MAX_LABELS])
    if len(labels) > MAX_LABELS:
        named.append(f"{len(labels) - MAX_LABELS} more")
    return ", ".join(named)
