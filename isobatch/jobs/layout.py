"""Which columns of the input are read as text, which are kept, and which are added.

It knows names of columns and of labels, no rows. Invariant: no two columns of the output share a
name, and every kept column is one of the input's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from isobatch.errors import OptionError
from isobatch.jobs.options import AnswerOptions
from isobatch.tables import AddedField, Rows

TEXT_COLUMN = "text"
USUAL_NAMES = ("sentence", "content", "review", "comment", "message", "document", "body", "tweet")
"""What people call the column, if not "text"."""


@dataclass(frozen=True, slots=True)
class ReadColumns:
    """The columns that are read: of the text, of a pair's second text, of what names the row."""

    text: str
    pair: str | None = None
    id: str | None = None

    def place(self, rows: Rows, index: int) -> str:
        """Where a row stands, and its id where there is a column of ids."""
        place = rows.place(index)
        if self.id is None:
            return place
        return f"{place} ({self.id} {rows.part(index, index + 1).cells(self.id)[0]})"


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns that are read, columns that are kept, and fields that are added, in their order."""

    read: ReadColumns
    kept: tuple[str, ...]
    added: tuple[AddedField, ...]
    labels: tuple[str, ...]
    has_logits: bool
    has_scores: bool


def lay_out(columns: Sequence[str], labels: tuple[str, ...], options: AnswerOptions) -> Layout:
    """Settle the columns of one output.

    OptionError for a column that the input lacks, for none that is the obvious text, and for an
    added name that the input has already.
    """
    named = (options.text_column, options.pair_column, options.id_column)
    if columns:
        read = choose_columns(columns, *named)
    else:  # only a file of no JSON objects, such as an empty shard, tells none
        read = ReadColumns(named[0] or TEXT_COLUMN, *named[1:])
    kept = _kept_columns(columns, options)
    added = tuple(_added_fields(labels, options))
    if taken := [field.name for field in added if field.name in kept]:
        raise OptionError(
            f"the input has a column {taken[0]!r} already, which would be overwritten: put "
            "something before the added names (--prefix), or leave it out (--columns)"
        )
    return Layout(
        read=read,
        kept=kept,
        added=added,
        labels=labels,
        has_logits=options.logits,
        has_scores=options.scores,
    )


def choose_columns(
    columns: Sequence[str],
    text: str | None,
    pair: str | None = None,
    id: str | None = None,
    label: str | None = None,
) -> ReadColumns:
    """The columns that are read, of those there are; OptionError for one that is not there.

    Where no text is named, it is the one obvious column among those that are nothing else.
    """
    for name in (text, pair, id, label):
        if name is not None:
            check_column(name, columns)
    others = [name for name in columns if name not in (pair, id, label)]
    return ReadColumns(text or find_text_column(others), pair, id)


def find_text_column(columns: Sequence[str]) -> str:
    """The one obvious column of text. OptionError lists the columns where there is none."""
    if len(columns) == 1:
        return columns[0]
    by_name = {name.strip().lower(): name for name in columns}
    if TEXT_COLUMN in by_name:
        return by_name[TEXT_COLUMN]
    usual = [by_name[name] for name in USUAL_NAMES if name in by_name]
    if len(usual) == 1:
        return usual[0]
    doubt = f"{' or '.join(usual)}?" if usual else "none has a usual name."
    raise OptionError(
        f"which column is the text? {doubt} Name it (--text-column); {_listed(columns)}"
    )


def _kept_columns(columns: Sequence[str], options: AnswerOptions) -> tuple[str, ...]:
    if options.columns is None or not columns:
        return tuple(columns)
    for name in options.columns:
        check_column(name, columns)
    wanted = {*options.columns, options.id_column}
    return tuple(name for name in columns if name in wanted)


def _added_fields(labels: Sequence[str], options: AnswerOptions) -> list[AddedField]:
    fields = [AddedField("label", "text"), AddedField("score", "number")]
    if options.logits:
        fields.append(AddedField("logits", "numbers"))
    if options.scores:
        fields.extend(AddedField(f"score_{label}", "number") for label in labels)
    fields += [AddedField("truncated", "flag"), AddedField("error", "text")]
    return [AddedField(options.prefix + field.name, field.kind) for field in fields]


def check_column(name: str, columns: Sequence[str]) -> None:
    """OptionError, which lists the columns, if `name` is none of them."""
    if name not in columns:
        raise OptionError(f"the input has no column {name!r}; {_listed(columns)}")


def _listed(columns: Sequence[str]) -> str:
    return f"it has {', '.join(columns)}" if columns else "it has no columns"
