"""Matching of the label column of a file with the labels of the checkpoint.

Invariant: one rule holds for a whole column, so that no value is read as a name in one row and as
an index in another; a value that fits no rule is refused, never guessed.
"""

from collections.abc import Callable, Sequence
from numbers import Integral

from isobatch.errors import InputError

LabelRule = tuple[Callable[[str], str], dict[str, int]]
"""How a value is normalized, and the label index of each normalized value."""

MAX_UNKNOWN, MAX_LABELS = 5, 20
"""How many an error message names before it only counts."""


def match_labels(
    given: Sequence[object], labels: Sequence[str], places: Sequence[str]
) -> list[int]:
    """Turn the label column of a file into indices of the checkpoint's labels.

    Tried in turn, each for the whole column: the exact names; the names in any case; integers (or
    their text, such as "0") as indices. A number that names a label is that label, and where any
    label is a number, none is an index. `places` locates each value, for the messages. InputError
    for a missing value, and for a column that fits none of the three.
    """
    if len(given) != len(places):
        raise InputError(f"{len(given)} label values, but {len(places)} places; pass one for each")
    _refuse_missing(given, labels, places)
    columns: list[list[int | None]] = []
    for rule in _rules(labels):
        column = [_index(value, rule) for value in given]
        known = [index for index in column if index is not None]
        if len(known) == len(given):
            return known
        columns.append(column)
    nearest = min(columns, key=lambda column: column.count(None))
    raise InputError(_describe_unknown(given, nearest, labels, places))


def _refuse_missing(given: Sequence[object], labels: Sequence[str], places: Sequence[str]) -> None:
    for value, place in zip(given, places, strict=True):
        # Only NaN differs from itself: it is how many tables write a missing value.
        if value is None or value == "" or (isinstance(value, float) and value != value):
            raise InputError(
                f"{place}: the label is missing. Write one of {_listed(labels)}, or remove the row"
            )


def _rules(labels: Sequence[str]) -> list[LabelRule]:
    rules: list[LabelRule] = [(str, {label: index for index, label in enumerate(labels)})]
    folded = {label.casefold(): index for index, label in enumerate(labels)}
    if len(folded) == len(labels):
        rules.append((str.casefold, folded))
    if _allows_indices(labels):
        rules.append((str, {str(index): index for index in range(len(labels))}))
    return rules


def _allows_indices(labels: Sequence[str]) -> bool:
    """Refuse indices for labels such as "1" to "5", where 1 could be the name or the index."""
    return not any(label.strip().isdecimal() for label in labels)


def _index(value: object, rule: LabelRule) -> int | None:
    if not isinstance(value, str | Integral):
        return None
    normalize, indices = rule
    return indices.get(normalize(str(value)))


def _describe_unknown(
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
    expected = f"one of {_listed(labels)}"
    if _allows_indices(labels):
        expected += f", or their indices 0 to {len(labels) - 1}, consistently in the whole column"
    return f"labels are not the checkpoint's (got {', '.join(named)}; expected {expected})"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listed(labels: Sequence[str]) -> str:
    named = list(labels[:MAX_LABELS])
    if len(labels) > MAX_LABELS:
        named.append(f"{len(labels) - MAX_LABELS} more")
    return ", ".join(named)
