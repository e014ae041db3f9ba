"""Column selection: which input columns are read as text, which are kept, and which are added."""

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from isobatch.checkpoint.truncation import check_truncation, windows_of
from isobatch.errors import OptionError
from isobatch.tables import AddedField, Format, TableChunk
from isobatch.tables.values import is_number
from isobatch.tasks import Column, RowFormat
from isobatch.types import Truncation

TEXT_COLUMN = "text"
USUAL_NAMES = ("sentence", "content", "review", "comment", "message", "document", "body", "tweet")
"""Common names of the text column, other than "text"."""

OnEmpty = Literal["score", "error"]

MARKS = (Column("truncated", "flag"), Column("empty", "flag"), Column("error", "text"))
"""The last columns of every task, with NUM_WINDOWS after the first for texts in windows."""

NUM_WINDOWS = Column("num_windows", "integer")


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """Which columns are read, kept and added, and how texts without a prediction are treated.

    text_column: None finds the one obvious column. columns: those to keep; None keeps all.
    id_column: always kept, and names a row in messages. logits, scores: add all logits as one
    column, and one column for the score of each class. prefix: prepended to the added columns'
    names. truncation: "error" makes a text too long for the model a row with an error; None leaves
    it to the task. on_empty: "score" predicts empty texts and white space like others, "error"
    makes them rows with an error; both mark them. on_error: "row" writes the reason into the row,
    "stop" ends the job there; None is "stop" for .npy, which has no place for a reason, and "row"
    else. query_column: each row is the pair of its query and its text. labels_column: each row has
    its own labels to choose from.
    """

    text_column: str | None = None
    pair_column: str | None = None
    id_column: str | None = None
    columns: tuple[str, ...] | None = None
    logits: bool = False
    scores: bool = False
    prefix: str = ""
    truncation: Truncation | None = None
    on_empty: OnEmpty = "score"
    on_error: Literal["row", "stop"] | None = None
    query_column: str | None = None
    labels_column: str | None = None

    def __post_init__(self) -> None:
        if self.labels_column is not None and self.pair_column is not None:
            raise OptionError(
                "--labels-column is for zero-shot classification, which reads one text per row. "
                "Leave --pair-column out"
            )
        if self.query_column is not None and self.pair_column is not None:
            raise OptionError(
                "--query-column makes pairs of query and text, --pair-column of text and a second "
                "text. Leave one out"
            )
        if self.truncation is not None:
            check_truncation(self.truncation)
        if self.on_empty not in ("score", "error"):
            raise OptionError(f"on_empty must be 'score' or 'error', got {self.on_empty!r}")
        if self.on_error not in (None, "row", "stop"):
            raise OptionError(f"on_error must be 'row', 'stop' or None, got {self.on_error!r}")


@dataclass(frozen=True, slots=True)
class InputColumns:
    """The columns that are read: the text, the second text of a pair, and the id of the row.

    labels: of the labels that a row is classified into.
    """

    text: str
    pair: str | None = None
    id: str | None = None
    labels: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns that hold texts."""
        return (self.text,) if self.pair is None else (self.text, self.pair)

    def place(self, rows: TableChunk, index: int) -> str:
        """Return file and line of a row, and its id where there is an id column."""
        place = rows.place(index)
        if self.id is None:
            return place
        return f"{place} ({self.id} {rows.part(index, index + 1).cells(self.id)[0]})"


@dataclass(frozen=True, slots=True)
class OutputColumns:
    """Columns that are read, columns that are kept, and fields that are added, in their order.

    It is part of every job's manifest: renaming a field makes saved work unusable.
    """

    read: InputColumns
    kept: tuple[str, ...]
    added: tuple[AddedField, ...]
    labels: tuple[str, ...]
    has_logits: bool
    has_scores: bool

    @property
    def has_windows(self) -> bool:
        """Whether one of the added columns is NUM_WINDOWS."""
        return any(field.kind == NUM_WINDOWS.kind for field in self.added)


def plan_columns(
    columns: Sequence[str],
    row_format: RowFormat[Any],
    options: ScoringOptions,
    output: Format = "jsonl",
) -> OutputColumns:
    """Choose the columns of one output of that format.

    OptionError for a column that the input lacks, if no column is the obvious text, and for an
    added name that the input has already. Invariant: no two output columns share a name.
    """
    read = _read_columns(columns, options)
    kept = _kept_columns(columns, options)
    added = _added_fields(row_format, options)
    if output == "npy":
        kept, added = _only_vectors(added, options)
    if taken := [field.name for field in added if field.name in kept]:
        raise OptionError(
            f"the input already has a column {taken[0]!r}, which would be overwritten. Add a "
            f"prefix to the added names: use --prefix {options.prefix or 'predicted'}_, or leave "
            "the column out (--columns)"
        )
    return OutputColumns(read, kept, added, row_format.labels, options.logits, options.scores)


def _read_columns(columns: Sequence[str], options: ScoringOptions) -> InputColumns:
    query, id, labels = options.query_column, options.id_column, options.labels_column
    named = options.text_column, query or options.pair_column, id
    if columns:
        read = replace(choose_columns(columns, *named, labels), labels=labels)
    else:  # only a file without JSON objects, such as an empty shard, has no columns
        read = InputColumns(named[0] or TEXT_COLUMN, *named[1:], labels)
    return read if query is None else InputColumns(query, read.text, id)


def _only_vectors(
    added: Sequence[AddedField], options: ScoringOptions
) -> tuple[tuple[str, ...], tuple[AddedField, ...]]:
    """Return the columns of an array; OptionError for those that it cannot have."""
    vectors = tuple(field for field in added if field.kind == "vector")
    if not vectors:
        raise OptionError(
            "a .npy file is an array of vectors, which `isobatch embed` writes. Use another "
            "format: .csv, .tsv, .jsonl or .parquet"
        )
    given = {"--columns": options.columns is not None, "--prefix": options.prefix != ""}
    if unused := [name for name, is_given in given.items() if is_given]:
        raise OptionError(
            f"{unused[0]}: a .npy file is an array of vectors, without columns. Leave it out, or "
            "write .parquet"
        )
    return (), vectors


def choose_columns(
    columns: Sequence[str],
    text: str | None,
    pair: str | None = None,
    id: str | None = None,
    label: str | None = None,
) -> InputColumns:
    """Choose the columns to read; OptionError for one that does not exist.

    If no text column is named, it is the one obvious column among those with no other role.
    """
    for name in (text, pair, id, label):
        if name is not None:
            check_column(name, columns)
    others = [name for name in columns if name not in (pair, id, label)]
    return InputColumns(text or _find_text_column(others), pair, id)


def _find_text_column(columns: Sequence[str]) -> str:
    if len(columns) == 1:
        return columns[0]
    by_name = {name.strip().lower(): name for name in columns}
    if TEXT_COLUMN in by_name:
        return by_name[TEXT_COLUMN]
    usual = [by_name[name] for name in USUAL_NAMES if name in by_name]
    if len(usual) == 1:
        return usual[0]
    if usual:
        raise OptionError(
            f"cannot find the text column: it could be {' or '.join(usual)} ({_listed(columns)}). "
            f"Choose it with --text-column {shlex.quote(usual[0])}"
        )
    likely = max(columns, key=len)
    if _is_row(columns):
        raise OptionError(
            f"cannot find the text column: the first line looks like a row, not like a header "
            f"({_listed(columns)}). If so, use --no-header --text-column "
            f"column_{columns.index(likely) + 1}; otherwise choose it with --text-column"
        )
    raise OptionError(
        f"cannot find the text column: none has a common name ({_listed(columns)}). Choose it with "
        f"--text-column {shlex.quote(columns[-1])}, or another one"
    )


def _is_row(names: Sequence[str]) -> bool:
    """Whether column names look like cells of a row: a number, or a sentence."""
    return any(is_number(name) or len(name.split()) > 3 for name in names)


def _kept_columns(columns: Sequence[str], options: ScoringOptions) -> tuple[str, ...]:
    if options.columns is None or not columns:
        return tuple(columns)
    for name in options.columns:
        check_column(name, columns)
    wanted = {*options.columns, options.id_column}
    return tuple(name for name in columns if name in wanted)


def _added_fields(row_format: RowFormat[Any], options: ScoringOptions) -> tuple[AddedField, ...]:
    plain = row_format.columns(raw=False, all_scores=False)
    for option, given, more in (
        ("--logits", options.logits, {"raw": True, "all_scores": False}),
        ("--scores", options.scores, {"raw": False, "all_scores": True}),
    ):
        if given and row_format.columns(**more) == plain:
            names = ", ".join(column.name for column in plain)
            raise OptionError(f"{option}: this task adds only {names}. Leave it out")
    columns = row_format.columns(raw=options.logits, all_scores=options.scores)
    windows = (NUM_WINDOWS,) if options.truncation and windows_of(options.truncation) else ()
    every = (*columns, MARKS[0], *windows, *MARKS[1:])
    return tuple(AddedField(options.prefix + each.name, each.kind, each.size) for each in every)


def check_column(name: str, columns: Sequence[str]) -> None:
    """Raise an OptionError, with a name that may be meant, for a column that does not exist."""
    if name in columns:
        return
    similar = [each for each in columns if _bare(each) == _bare(name)]
    similar = similar or difflib.get_close_matches(name, columns, n=1, cutoff=0.8)
    meant = f" Did you mean {shlex.quote(similar[0])}?" if similar else ""
    raise OptionError(f"the input has no column {name!r}; {_listed(columns)}.{meant}")


def _bare(name: str) -> str:
    return name.replace("\ufeff", "").strip().casefold()


def _listed(columns: Sequence[str]) -> str:
    return f"it has {', '.join(columns)}" if columns else "it has no columns"
