"""Labelled texts, from files or from Python: the one form that every training begins with.

Invariant: every row is a text with its label, or is left out and counted because the caller asked
for that, or is an error with file and line.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isobatch.checkpoint.text_encoder import input_error
from isobatch.drawing.display_text import counted
from isobatch.errors import InputError, OptionError
from isobatch.scoring.chunks import MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.scoring.columns import InputColumns, check_column, choose_columns
from isobatch.scoring.label_names import column_names, find_label_column
from isobatch.scoring.predictions import is_empty, read_inputs
from isobatch.tables import MISSING, TableChunk, TableFile, Unreadable, open_table
from isobatch.tables.text_files import FileHasher
from isobatch.training.data.label_values import (
    number_of,
    plain_value,
    read_json_lists,
    split_label_text,
)
from isobatch.types import TextInput


@dataclass(frozen=True, slots=True)
class LabelledColumns:
    """Which columns hold texts, labels and weights, and what is done with incomplete rows.

    text: None finds the one obvious column. labels: None finds it, too; several are one column of
    0 and 1 for each of several labels, or of numbers for a regression with several outputs; () are
    texts without labels. separator: splits texts such as "sport;politics" into labels. id: names a
    row in messages. skip_unlabelled, skip_empty: leave out rows without a label, or with an empty
    text, which are errors otherwise.
    """

    text: str | None = None
    pair: str | None = None
    labels: tuple[str, ...] | None = None
    weight: str | None = None
    id: str | None = None
    separator: str | None = None
    skip_unlabelled: bool = False
    skip_empty: bool = False

    def __post_init__(self) -> None:
        if self.separator is not None and not self.separator:
            raise OptionError("the separator of labels is empty. Specify a character, such as ;")
        roles = [self.text, self.pair, *(self.labels or ()), self.weight]
        named = [name for name in roles if name is not None]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise OptionError(
                f"the column {twice!r} is named twice among text, pair, labels and weight. "
                "Specify a column of its own for each"
            )


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts with their labels, as read; one entry for each text.

    values: a text, number or boolean; or a list of these; or a tuple of the cells of several
    `label_columns`; None only where no labels were read. weights: None if there are none. places:
    of the texts, for messages. files: name, path, rows, bytes and SHA-256 of each. num_unlabelled,
    num_empty: of the rows that were left out.
    """

    texts: list[TextInput]
    values: list[object]
    weights: list[float] | None
    places: list[str]
    label_columns: tuple[str, ...] = ()
    files: tuple[Mapping[str, Any], ...] = ()
    num_unlabelled: int = 0
    num_empty: int = 0

    def __len__(self) -> int:
        return len(self.texts)


def read_labelled(
    files: Sequence[TableFile], columns: LabelledColumns, *, is_training: bool = True
) -> LabelledTexts:
    """Read all rows of `files` as one set; they may be of different formats.

    is_training: otherwise weights are not read, and ids only of files that have their column.
    OptionError for a column that does not exist; TableError for a file that cannot be read;
    InputError, with file and line, for an incomplete row and for files without rows.
    """
    reader = _Reader(columns, is_training)
    for file in files:
        reader.read(file)
    if not reader.texts:
        left = reader.num_unlabelled + reader.num_empty
        why = "all rows were left out" if left else "no rows"
        raise InputError(f"{', '.join(str(file.path) for file in files)}: {why}. Use other files")
    return reader.finish()


@dataclass(slots=True)
class _Reader:
    """Collects the rows of files; `columns` get their names with the first one."""

    columns: LabelledColumns
    is_training: bool
    texts: list[TextInput] = field(default_factory=list)
    values: list[object] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    files: list[Mapping[str, Any]] = field(default_factory=list)
    num_unlabelled: int = 0
    num_empty: int = 0

    def read(self, file: TableFile) -> None:
        table, before = open_table(file), self._num_rows
        hasher = FileHasher()
        names = column_names(table)
        read = self._choose(file, names) if names else None
        for name in read.texts if read else ():
            table.check_text(name)
        for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS, hasher):
            read = read or self._choose(file, names)  # rows without any key, which lack a label
            self._add(rows, read)
        digest = hasher.digest()
        name, path = ("-", "-") if file.is_stdin else (file.path.name, str(file.path))
        fact = {"name": name, "path": path, "rows": self._num_rows - before}
        self.files.append(fact | {"bytes": digest.bytes, "sha256": digest.sha256})

    def finish(self) -> LabelledTexts:
        labels = self.columns.labels or ()
        return LabelledTexts(
            self.texts,
            read_json_lists(self.values) if len(labels) == 1 else self.values,
            self.weights if self._weight is not None else None,
            self.places,
            labels,
            tuple(self.files),
            self.num_unlabelled,
            self.num_empty,
        )

    @property
    def _num_rows(self) -> int:
        return len(self.texts) + self.num_unlabelled + self.num_empty

    @property
    def _weight(self) -> str | None:
        """The column of weights that is read; metrics are not weighted."""
        return self.columns.weight if self.is_training else None

    def _choose(self, file: TableFile, names: Sequence[str]) -> InputColumns:
        """Find the columns of a file, which has those of the files before it."""
        columns = self.columns
        try:
            if columns.labels is None:
                taken = columns.text, columns.pair, columns.weight
                columns = replace(columns, labels=(find_label_column(names, taken),))
            labels = columns.labels or ()
            id = columns.id if self.is_training or columns.id in names else None
            for name in filter(None, (*labels, self._weight, id)):
                check_column(name, names)
            others = [name for name in names if name not in {*labels, columns.weight} - {id}]
            if columns.text is not None:
                check_column(columns.text, names)
            if not others:
                raise OptionError(
                    f"there is no column of texts, only {', '.join(names)}. Use another file, or "
                    "other columns for the labels"
                )
            read = choose_columns(others, columns.text, columns.pair, id)
        except OptionError as error:
            raise OptionError(f"{file.path}: {error}") from error
        self.columns = replace(columns, text=read.text)
        return read

    def _add(self, rows: TableChunk, read: InputColumns) -> None:
        columns = self.columns
        labels = [rows.cells(name) for name in columns.labels or ()]
        weights = rows.cells(self._weight) if self._weight is not None else None
        ids = rows.cells(read.id) if read.id is not None else None
        for index, text in enumerate(read_inputs(rows, read)):
            place = rows.place(index) + (f" ({read.id} {ids[index]})" if ids else "")
            if isinstance(text, InputError):
                raise InputError(f"{place}: {text.reason}. Fix this row, or leave it out")
            if is_empty(text):
                if not columns.skip_empty:
                    raise InputError(
                        f"{place}: the text is empty or white space. Fix this row, or leave such "
                        "rows out with --skip-empty"
                    )
                self.num_empty += 1
                continue
            value = self._value([cells[index] for cells in labels], place)
            if value is None and labels:
                self.num_unlabelled += 1
                continue
            if weights is not None:
                self.weights.append(check_weight(weights[index], place))
            self.texts.append(text)
            self.values.append(value)
            self.places.append(place)

    def _value(self, cells: Sequence[object], place: str) -> object:
        """Return what is in the label columns of a row; None if it is to be left out."""
        separator, names = self.columns.separator, self.columns.labels or ()
        if not cells:
            return None
        if len(cells) == 1 and isinstance(cells[0], list):
            return cells[0]
        if len(cells) == 1 and separator is not None and isinstance(cells[0], str):
            blank = not cells[0].strip()
            skipped = blank and self.columns.skip_unlabelled
            return None if skipped else split_label_text(cells[0], separator)
        values = [plain_value(cell, place) for cell in cells]
        if None in values:
            if self.columns.skip_unlabelled:
                return None
            raise InputError(
                f"{place}: the label is missing in the column {names[values.index(None)]!r}. Add "
                "it, or leave such rows out with --skip-unlabelled"
            )
        if len(values) > 1:
            return tuple(values)
        return values if separator is not None else values[0]


def labelled_texts(
    texts: Iterable[object],
    labels: Iterable[object],
    weights: Iterable[object] | None = None,
) -> LabelledTexts:
    """Take texts, labels and weights from Python: lists, NumPy arrays, or columns of a data frame.

    labels: one of text, number or boolean for each text, or a list of these; or a two-dimensional
    array, or a data frame, with a column for each of several labels. InputError, with the index,
    for a text, label or weight that is missing, empty or of another type.
    """
    if isinstance(texts, str) or isinstance(labels, str):
        raise InputError("texts and labels must be lists, got a string. Write [text] for one")
    taken = [_text(text, index) for index, text in enumerate(texts)]
    places = [f"text {index}" for index in range(len(taken))]
    columns = _frame_columns(labels)
    rows = labels.to_numpy() if hasattr(labels, "to_numpy") else labels
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and not columns:
        columns = tuple(str(number) for number in range(rows.shape[1]))
    given = list(rows)
    if len(given) != len(taken):
        number, labelled = counted(len(taken), "text"), counted(len(given), "label")
        raise InputError(f"{number}, but {labelled}. Pass one for each")
    values = [
        _given_value(value, place, columns) for value, place in zip(given, places, strict=True)
    ]
    found = None
    if weights is not None:
        listed = list(weights)
        if len(listed) != len(taken):
            number, weighted = counted(len(taken), "text"), counted(len(listed), "weight")
            raise InputError(f"{number}, but {weighted}. Pass one for each")
        found = [check_weight(each, place) for each, place in zip(listed, places, strict=True)]
    return LabelledTexts(taken, values, found, places, columns)


def unlabelled_texts(texts: Iterable[object]) -> LabelledTexts:
    """Take texts without labels from Python; InputError as `labelled_texts` raises it."""
    taken = [_text(text, index) for index, text in enumerate(texts)]
    places = [f"unlabelled text {index}" for index in range(len(taken))]
    return LabelledTexts(taken, [None] * len(taken), None, places)


def check_weight(cell: object, place: str) -> float:
    """Return the weight of a text. InputError unless it is a finite number, and not negative."""
    if cell is MISSING or cell is None or isinstance(cell, Unreadable):
        raise InputError(f"{place}: the weight is missing. Add it; 1 is that of an ordinary text")
    plain = plain_value(cell, place)
    number = math.nan if plain is None else number_of(plain)
    if number is None or not 0.0 <= number < math.inf:
        raise InputError(
            f"{place}: the weight {str(cell)[:40]!r} is not a finite number of 0 or more. Fix it"
        )
    return number


def _text(text: object, index: int) -> TextInput:
    if isinstance(text, tuple) and len(text) == 2:
        text = tuple(str(part) if isinstance(part, str) else part for part in text)
    elif isinstance(text, str):
        text = str(text)  # NumPy's own strings are a subclass
    if error := input_error(text, index):
        raise error
    valid: TextInput = text  # type: ignore[assignment]
    if is_empty(valid):
        raise InputError("is empty or white space. Fix it, or leave it out", index)
    return valid


def _given_value(value: object, place: str, columns: Sequence[str]) -> object:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if len(columns) > 1:
        assert isinstance(value, list)
        return tuple(_given_label(cell, place) for cell in value)
    if columns and isinstance(value, list):
        return _given_label(value[0], place)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, list | tuple):
        return list(value)
    return _given_label(value, place)


def _given_label(value: object, place: str) -> object:
    plain = plain_value(value, place)
    if plain is None:
        raise InputError(f"{place}: the label is missing. Add it, or leave this text out")
    return plain


def _frame_columns(labels: object) -> tuple[str, ...]:
    """Return the names of the columns of a data frame; () for anything else."""
    names = getattr(labels, "columns", None)
    if names is None or not hasattr(labels, "to_numpy"):
        return ()
    return tuple(str(name) for name in names)
