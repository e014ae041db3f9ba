"""The labels in somebody's file, matched with those of the checkpoint.

It knows no answers. Invariant: one rule holds for a whole column, so that no value is read in the
one way on this row and in another on that; what fits no rule is refused, never guessed.
"""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral

from isobatch.errors import InputError

Rule = Callable[[object], int | None]
"""The label index of a value, or None where the rule does not know it."""

MAX_UNKNOWN, MAX_LABELS = 5, 20
"""How many an error message names before it only counts."""


def match_labels(
    given: Sequence[object], labels: Sequence[str], places: Sequence[str]
) -> list[int]:
    """Turn the label column of a file into indices of the checkpoint's labels.

    Tried in turn, each for the whole column: the exact names; the names in any case; integers (or
    their text, such as "0") as indices. A number that names a label is that label, and where any
    label is a number, none is an index. `places` says where each value stands, for the messages.
    InputError for a value that is missing, and for a column that fits none of the three.
    """
    if len(given) != len(places):
        raise InputError(f"{len(given)} label values, but {len(places)} places; give one for each")
    _refuse_missing(given, labels, places)
    columns: list[list[int | None]] = []
    for rule in _rules(labels):
        column = [rule(value) for value in given]
        known = [index for index in column if index is not None]
        if len(known) == len(given):
            return known
        columns.append(column)
    nearest = min(columns, key=lambda column: column.count(None))
    raise InputError(_unknown(given, nearest, labels, places))


def _refuse_missing(given: Sequence[object], labels: Sequence[str], places: Sequence[str]) -> None:
    for value, place in zip(given, places, strict=True):
        # Only NaN differs from itself: it is how many tables write a missing value.
        if value is None or value == "" or (isinstance(value, float) and value != value):
            raise InputError(
                f"{place}: the label is missing; write one of {_listed(labels)}, or leave the row "
                "out"
            )


def _rules(labels: Sequence[str]) -> list[Rule]:
    exact = {label: index for index, label in enumerate(labels)}
    folded = {label.casefold(): index for index, label in enumerate(labels)}
    rules: list[Rule] = [lambda value: _look_up(exact, _name(value))]
    if len(folded) == len(labels):
        rules.append(lambda value: _look_up(folded, _name(value, fold=True)))
    if _offers_indices(labels):
        by_index = {str(index): index for index in range(len(labels))}
        rules.append(lambda value: _look_up(by_index, _name(value)))
    return rules


def _offers_indices(labels: Sequence[str]) -> bool:
    """Not beside labels such as "1" to "5", where 1 would be now the name and now the index."""
    return not any(label.strip().isdecimal() for label in labels)


def _look_up(indices: Mapping[str, int], name: str | None) -> int | None:
    return None if name is None else indices.get(name)


def _name(value: object, *, fold: bool = False) -> str | None:
    """The value as a label's name; None for what is neither a text nor an integer nor a truth."""
    if not isinstance(value, str | Integral):
        return None
    return str(value).casefold() if fold else str(value)


def _unknown(
    given: Sequence[object],
    indices: Sequence[int | None],
    labels: Sequence[str],
    places: Sequence[str],
) -> str:
    first: dict[str, str] = {}
    for value, index, place in zip(given, indices, places, strict=True):
        if index is None:
            first.setdefault(_shown(value), place)
    named = [f"{value} ({place})" for value, place in list(first.items())[:MAX_UNKNOWN]]
    if len(first) > MAX_UNKNOWN:
        named.append(f"{len(first) - MAX_UNKNOWN} more")
    cure = "name these in the file"
    if _offers_indices(labels):
        cure += f", or their indices 0 to {len(labels) - 1}, in one way for the whole column"
    return (
        f"labels that do not fit the checkpoint's: {', '.join(named)}; "
        f"it knows {_listed(labels)}: {cure}"
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listed(labels: Sequence[str]) -> str:
    named = list(labels[:MAX_LABELS])
    if len(labels) > MAX_LABELS:
        named.append(f"{len(labels) - MAX_LABELS} more")
    return ", ".join(named)
