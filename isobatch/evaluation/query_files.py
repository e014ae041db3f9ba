"""Files of queries: a query and a text in each row, and how relevant the one is to the other.

Rows of one query need not follow one another. Invariant: before anything is computed, every
relevance has been read, and every query has a relevant text, or is left out and reported.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from isobatch.errors import InputError
from isobatch.evaluation.label_column import LabelOptions
from isobatch.evaluation.number_column import checked_number
from isobatch.evaluation.row_tally import RowTally
from isobatch.scoring import InputColumns, choose_columns, cut_chunks
from isobatch.scoring.columns import OnEmpty
from isobatch.scoring.predictions import read_inputs
from isobatch.tables import Table, TableFile, open_table, scan_tables
from isobatch.types import Truncation

NO_RELEVANT = "the query {!r} has no relevant text, so no metric is defined for it"


@dataclass(frozen=True, slots=True)
class QueryFiles:
    """The files, and which of their columns are read.

    relevance: the column of relevances, 0 or more; None where the text of every row is relevant.
    """

    tables: tuple[TableFile, ...]
    query_column: str
    relevance: LabelOptions | None = None
    text_column: str | None = None
    id_column: str | None = None
    truncation: Truncation = "cut"
    on_empty: OnEmpty = "score"


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A row with both texts; `relevance` is None for one that is left out."""

    place: str
    query: str
    text: str
    relevance: float | None


@dataclass(slots=True)
class QueryGroup:
    """One query: where it first is, and the rows of its texts so far."""

    place: str
    relevance: list[float] = field(default_factory=list)

    @property
    def is_answered(self) -> bool:
        """Whether one of its texts is relevant."""
        return any(each > 0 for each in self.relevance)


@dataclass(frozen=True)
class OpenedQueries:
    """The opened files. `columns`: the query's, the text's and that of ids."""

    files: QueryFiles
    tables: Sequence[Table]
    columns: InputColumns
    num_rows: int

    def chunks(self, tally: RowTally) -> Iterator[list[QueryRow]]:
        """Yield the rows in chunks, and count those without both texts as errors."""
        for rows in cut_chunks(self.tables, self.columns):
            inputs = read_inputs(rows, self.columns)
            cells: list[object] = [1.0] * len(rows)
            if self.files.relevance:
                cells = rows.cells(self.files.relevance.column)
            found = []
            for index, (texts, cell) in enumerate(zip(inputs, cells, strict=True)):
                place = self.columns.place(rows, index)
                relevance = self._relevance(cell, place)
                if isinstance(texts, InputError):
                    tally.add_error(place, texts.reason)
                elif isinstance(relevance, str):
                    tally.add_error(place, relevance)
                else:
                    found.append(QueryRow(place, texts[0], texts[1], relevance))
            yield found

    def _relevance(self, cell: object, place: str) -> float | str | None:
        options = self.files.relevance
        return 1.0 if options is None else checked_number(cell, place, options, least=0.0)

    def check(self) -> None:
        """Read all relevances; InputError for one that is wrong, and for a query without any."""
        groups: dict[str, QueryGroup] = {}
        for rows in self.chunks(RowTally()):
            for row in rows:
                if row.relevance is not None:
                    group = groups.setdefault(row.query, QueryGroup(row.place))
                    group.relevance.append(row.relevance)
        options = self.files.relevance
        if options is None or options.on_bad_label == "row":
            return
        for query, group in groups.items():
            if not group.is_answered:
                raise InputError(
                    f"{group.place}: {NO_RELEVANT.format(query[:60])}. Leave such queries out, and "
                    "count them as errors, with --on-bad-label row"
                )


def open_queries(files: QueryFiles) -> OpenedQueries:
    """Open and check the files.

    OptionError for a column that does not exist, InputError for a relevance that is missing or not
    a number of 0 or more, and for a query without a relevant text, unless the options let it pass.
    """
    tables = [open_table(each) for each in files.tables]
    scan = scan_tables(tables)
    relevance = files.relevance.column if files.relevance else None
    named = files.text_column, files.query_column, files.id_column, relevance
    chosen = choose_columns(scan.columns, *named)
    columns = InputColumns(files.query_column, chosen.text, chosen.id)
    for table in tables:
        for name in columns.texts:
            table.check_text(name)
    opened = OpenedQueries(files, tables, columns, scan.num_rows)
    opened.check()
    return opened
