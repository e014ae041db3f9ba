"""The label column of files: every different value is matched before anything is computed.

Invariant: a row is labelled, unlabelled or an error, the same for equal cells; none is guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from isobatch.errors import InputError, OptionError
from isobatch.evaluation.labels import is_missing, match_labels, parse_label_map
from isobatch.evaluation.slices import check_slices, slice_of
from isobatch.scoring.chunks import MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.tables import MISSING, Table

LabelKey = tuple[type, str]
"""A label as it is in a file: 1, "1" and True are three."""

MAX_VALUES = 10_000
"""Of a column: more different ones are not labels, and would fill the memory."""


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """How a label column is read.

    label_map: as `parse_label_map` takes it. skip_unlabelled: leave out rows without a label, which
    are otherwise an error. on_bad_label: for a value that is not a label, "stop" before anything is
    computed, or count the "row" as an error. by: a column whose values are evaluated apart.
    """

    column: str
    label_map: tuple[str, ...] = ()
    skip_unlabelled: bool = False
    on_bad_label: Literal["stop", "row"] = "stop"
    by: str | None = None


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """The index for each cell of the label column; and notes on how labels were read."""

    known: dict[LabelKey, int | None]
    bad: str
    notes: tuple[str, ...]

    def read(self, cell: object) -> int | str | None:
        """Return the index of a label, None for no label, or why it is none of the labels."""
        if is_missing(_plain(cell)):
            return None
        index = self.known[_key(cell)]
        return f"label {str(_plain(cell))[:60]!r}: {self.bad}" if index is None else index


def read_label_column(
    tables: Sequence[Table],
    columns: Sequence[str],
    options: LabelOptions,
    labels: Sequence[str],
    *,
    indices: bool = True,
    hint: str = "",
) -> LabelColumn:
    """Match every label in `tables` with its index among `labels`.

    OptionError for a column that does not exist, a --label-map without such a label, and a column
    `by` of too many values; InputError, which names the row, for a label that is missing or not one
    of them, unless the options let such rows pass. indices: whether the order of `labels` is known.
    hint: added to the message for such a label.
    """
    label_map = parse_label_map(options.label_map, labels)
    for name in filter(None, (options.column, options.by)):
        if name not in columns:
            raise OptionError(f"the input has no column {name!r}; it has {', '.join(columns)}")
    first = _different_values(tables, options)
    values = [value for value, _ in first.values()]
    places = [place for _, place in first.values()]
    matched = match_labels(values, labels, places, label_map, indices=indices)
    if matched.unknown and options.on_bad_label == "stop":
        raise InputError(f"{matched.unknown}{hint}")
    notes = (matched.note,) if matched.note else ()
    known = dict(zip(first, matched.indices, strict=True))
    return LabelColumn(known, f"not one of {', '.join(labels[:20])}", notes)


def _different_values(
    tables: Sequence[Table], options: LabelOptions
) -> dict[LabelKey, tuple[object, str]]:
    """Return each value that is not missing, with the place of its first row."""
    first: dict[LabelKey, tuple[object, str]] = {}
    slices: dict[str, None] = {}
    for table in tables:
        for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS):
            for index, cell in enumerate(rows.cells(options.column)):
                value = _plain(cell)
                if is_missing(value):
                    if not options.skip_unlabelled:
                        raise InputError(
                            f"{rows.place(index)}: the label is missing in the column "
                            f"{options.column!r}. Leave such rows out with --skip-unlabelled"
                        )
                elif (key := _key(cell)) not in first:
                    first[key] = value, rows.place(index)
            if len(first) > MAX_VALUES:
                raise InputError(
                    f"{rows.place(0)}: the column {options.column!r} has more than {MAX_VALUES:,} "
                    "different values, so it cannot be a column of labels. Specify another with "
                    "--label-column"
                )
            if options.by is not None:
                slices |= dict.fromkeys(slice_of(_plain(cell)) for cell in rows.cells(options.by))
                check_slices(list(slices), options.by)
    return first


def _plain(cell: object) -> object:
    return None if cell is MISSING else cell


def _key(cell: object) -> LabelKey:
    return type(cell), str(cell)
