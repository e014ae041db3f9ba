"""Whether a row of a scored file is that of the labelled file which it was scored from.

Cells are compared as the format of the scored file has them, since a format keeps no type that it
does not know: an integer of Parquet is a text in CSV, and its null an empty cell.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from isobatch.errors import InputError, OptionError
from isobatch.evaluation.labelled import LabelledFiles
from isobatch.evaluation.scored_columns import ScoredColumns
from isobatch.tables import DELIMITERS, Format, TableChunk, TableFile
from isobatch.tables.values import text_of


@dataclass(frozen=True, slots=True)
class ComparedRows:
    """The columns that are compared, and the format of the scored file."""

    columns: tuple[str, ...]
    format: Format

    def cells(self, rows: TableChunk) -> list[tuple[object, ...]]:
        """Return for each row its cells to be compared."""
        if not self.columns:
            return [()] * len(rows)
        return list(zip(*[self._cells(rows, name) for name in self.columns], strict=True))

    def check(
        self, place: str, cells: Sequence[object], scored_place: str, scored: Sequence[object]
    ) -> None:
        """Raise InputError where the cells of the rows at both places differ."""
        for name, cell, other in zip(self.columns, cells, scored, strict=True):
            if cell != other and text_of(cell) != text_of(other):
                raise InputError(
                    f"{place} and {scored_place} of the scored file differ in {name}. Pass the "
                    "file that was scored, in its order"
                )

    def _cells(self, rows: TableChunk, column: str) -> list[object]:
        if self.format in DELIMITERS:
            return [*rows.texts(column)]
        return [_json_value(member, column) for member in rows.members((column,))]


def compared_rows(
    files: LabelledFiles,
    columns: Sequence[str],
    scored: Sequence[TableFile],
    scored_columns: Sequence[str],
    added: ScoredColumns,
) -> ComparedRows:
    """Choose the columns that both have, without those that scoring added; none of one file.

    The column of labels, which may have been corrected since, is compared only where there is no
    other. OptionError where the two have no column in common.
    """
    if list(files.tables) == list(scored):
        return ComparedRows((), scored[0].format)
    own = {added.prefix + name for name in added.names}
    both = tuple(name for name in columns if name in scored_columns and name not in own)
    if not both:
        raise OptionError(
            f"{files.tables[0].path.name} and the scored file {scored[0].path.name} have no column "
            "in common, by which their rows could be compared. Score it again and keep one "
            "(isobatch run --columns COLUMN)"
        )
    others = tuple(name for name in both if name != files.label.column)
    return ComparedRows(others or both, scored[0].format)


def _json_value(member: bytes, column: str) -> object:
    """Read the member of an object; a key that is missing is null, as Parquet has it."""
    try:
        return _without_nulls(json.loads(b"{" + member + b"}").get(column))
    except (ValueError, RecursionError):
        return member


def _without_nulls(value: object) -> object:
    """Leave out members that are null: Parquet has them in every object of a column."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
