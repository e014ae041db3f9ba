"""The labels of config.json: `id2label`, `label2id` and `num_labels`, which must not disagree.

Invariant: the number of labels is that of the head's rows; an entry that contradicts it, or another
entry, is rejected with the text to write in its place.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from isobatch.errors import CheckpointError

_DEFAULT = 2
"""The number of labels of a config.json that states none, as in transformers."""


def read_labels(raw: Mapping[str, object], rows: int | None = None) -> tuple[str, ...]:
    """Return the labels in the order of the logits.

    rows: those of the stored head, for the text of the fix; None if they are not available.
    """
    id2label, stated = raw.get("id2label"), _num_labels(raw)
    if id2label is None:
        return default_labels(_DEFAULT if stated is None else stated)
    labels = _by_id(id2label, rows)
    if stated is not None and stated != len(labels):
        raise CheckpointError(
            f"config.json: num_labels is {stated}, but id2label has {len(labels)} labels. "
            + _count_fix(labels, rows, stated)
        )
    if len(set(labels)) < len(labels):
        raise CheckpointError(
            f"config.json: id2label has a label twice: {list(labels)}. Give each its own name: "
            + write_labels(_distinct(labels))
        )
    _check_label2id(raw.get("label2id"), labels)
    return labels


def default_labels(count: int) -> tuple[str, ...]:
    """Return the labels of a checkpoint that names none."""
    return tuple(f"LABEL_{index}" for index in range(count))


def write_labels(labels: Sequence[str]) -> str:
    """Return the instruction to write these labels into config.json."""
    text = json.dumps({str(index): label for index, label in enumerate(labels)}, ensure_ascii=False)
    return f'write "id2label": {text}'


def describe_rows(rows: int) -> str:
    """Return the instruction that makes config.json fit a head of `rows` rows."""
    return (
        f'delete "num_labels" if it is there, and {write_labels(default_labels(rows))} with the '
        "names that were used in training, in their order"
    )


def _count_fix(labels: Sequence[str], rows: int | None, stated: int) -> str:
    if rows is None or rows == len(labels):
        return (
            'The head has as many as id2label: delete "num_labels"'
            if rows
            else (f'Write "num_labels": {len(labels)}')
        )
    return f"The head has {rows}: {describe_rows(rows)}"


def _by_id(id2label: object, rows: int | None) -> tuple[str, ...]:
    """Return the labels of a map with the keys 0 to n - 1."""
    if not isinstance(id2label, Mapping):
        labels = (
            [each for each in id2label if isinstance(each, str)]
            if isinstance(id2label, list)
            else []
        )
        fix = f". Instead, {write_labels(labels)}" if labels else ""
        raise CheckpointError(
            f"config.json: id2label must map ids to labels, got {id2label!r}{fix}"
        )
    if not id2label:
        fix = f"The head has {rows}: {describe_rows(rows)}" if rows else 'Delete "id2label"'
        raise CheckpointError(f"config.json: id2label is empty. {fix}")
    named = {key: _label(label) for key, label in id2label.items()}
    try:
        by_id = {int(key): label for key, label in named.items()}
    except ValueError as error:
        raise CheckpointError(
            f"config.json: id2label has a key that is not a number: {error}. "
            f"If the labels are in order, {write_labels(list(named.values()))}"
        ) from None
    if sorted(by_id) != list(range(len(by_id))) or len(by_id) < len(named):
        raise CheckpointError(
            f"config.json: id2label must have the keys 0 to {len(named) - 1}, got "
            f"{sorted(map(int, named))}. " + _gap_fix(by_id, rows)
        )
    return tuple(by_id[index] for index in range(len(by_id)))


def _label(label: object) -> str:
    """Return a label as text; integers are ids in place of names."""
    if isinstance(label, str) or (isinstance(label, int) and not isinstance(label, bool)):
        return str(label)
    raise CheckpointError(
        f"config.json: id2label has the label {json.dumps(label)}, which is not a text. Write it "
        "in double quotes"
    )


def _gap_fix(by_id: Mapping[int, str], rows: int | None) -> str:
    """Fill the gaps if the head has a row for each, else number the labels in their order."""
    if rows is not None and rows > max(by_id) and min(by_id) >= 0:
        filled = [by_id.get(index, f"LABEL_{index}") for index in range(rows)]
        return f"The head has {rows}: {write_labels(filled)}"
    ordered = [by_id[key] for key in sorted(by_id)]
    return f"If these are the labels in order, {write_labels(ordered)}"


def _distinct(labels: Iterable[str]) -> list[str]:
    """Append the index to each label that occurred before."""
    distinct: list[str] = []
    for index, label in enumerate(labels):
        distinct.append(f"{label}_{index}" if label in distinct else label)
    return distinct


def _check_label2id(label2id: object, labels: Sequence[str]) -> None:
    """Reject a label2id that gives a label of id2label another id.

    Labels that only one of the two has are placeholders of old files, which transformers ignores.
    """
    if not isinstance(label2id, Mapping):
        return
    for index, label in enumerate(labels):
        other = label2id.get(label, index)
        if str(other) != str(index):
            right = json.dumps({each: at for at, each in enumerate(labels)}, ensure_ascii=False)
            raise CheckpointError(
                f"config.json: {label!r} has the id {index} in id2label, but {other} in label2id. "
                f'If id2label is right, write "label2id": {right}; else correct id2label'
            )


def _num_labels(raw: Mapping[str, object]) -> int | None:
    count = raw.get("num_labels")
    if count is None:
        return None
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise CheckpointError(
            f"config.json: num_labels must be a positive integer, got {count!r}. Write the number "
            "of the head's labels"
        )
    return count
