"""Rows of a finished output next to the predictions that were computed again.

Cells are compared as the output's format spells them: text for CSV, raw JSON for JSON Lines, Python
values for Parquet. Invariant: two spellings are equal only if the values have the same bits, since
floats are written by repr.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from isobatch.errors import InputError
from isobatch.jobs.prepare import PreparedJob
from isobatch.scoring import ScoredRows
from isobatch.scoring.chunks import MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.scoring.predictions import read_inputs
from isobatch.tables import AddedField, Format, Table, TableChunk
from isobatch.tables.values import key_prefix
from isobatch.types import TextInput

BINARY: tuple[Format, ...] = ("parquet", "npy")
"""Formats whose cells are values."""

ABSENT = "absent"
"""In the place of a cell that the output does not have."""


@dataclass(frozen=True, slots=True)
class CellDifference:
    """A cell that is not reproduced, as the output's format spells it: as written, and as computed.

    `computed` of a text column is the text of the input.
    """

    column: str
    written: str
    computed: str


@dataclass(frozen=True, slots=True)
class DifferentRow:
    """A row that is not reproduced: its number in the output, from 1, its file and its line."""

    row: int
    place: str
    input_place: str
    cells: tuple[CellDifference, ...]


@dataclass(frozen=True, slots=True)
class PairedRow:
    """A row of the input, and the spelled cells of the same row of the output.

    texts: those of the text columns that are kept, by their names; None for another kind of value.
    """

    row: int
    place: str
    input_place: str
    input: TextInput | InputError
    input_texts: dict[str, str]
    added: tuple[str, ...]
    texts: dict[str, object]


class UnequalRowsError(Exception):
    """The output has more or fewer rows than its input; `args` are both numbers."""


def pair_rows(prepared: PreparedJob, output: Table, chosen: Container[int]) -> Iterator[PairedRow]:
    """Yield the rows whose index is in `chosen`; both files are read to their ends.

    UnequalRowsError at the end of the shorter one, TableError for an output that cannot be read.
    """
    read, kept = prepared.columns.read, _kept_texts(prepared)
    written = _written_rows(output, prepared.columns.added, kept, chosen)
    index = 0
    for rows in prepared.chunks():
        wanted = [place for place in range(len(rows)) if index + place in chosen]
        inputs = read_inputs(rows, read) if wanted else []
        cells = {name: rows.cells(name) for name in kept} if wanted else {}
        for place in range(len(rows)):
            try:
                found = next(written)
            except StopIteration:
                raise UnequalRowsError(index, prepared.num_rows) from None
            if found is not None:
                texts = {name: cell for name in kept if isinstance(cell := cells[name][place], str)}
                where = read.place(rows, place)
                yield PairedRow(index + 1, found[0], where, inputs[place], texts, *found[1:])
            index += 1
    if extra := sum(1 for _ in written):
        raise UnequalRowsError(index + extra, prepared.num_rows)


def different_cells(
    prepared: PreparedJob, rows: Sequence[PairedRow], scored: ScoredRows
) -> Iterator[tuple[CellDifference, ...]]:
    """Yield for each row the cells that are not reproduced by `scored`."""
    added, format = prepared.columns.added, prepared.job.output.format
    columns = [
        _spelled_values(format, field, values)
        for field, values in zip(added, prepared.added_values(scored), strict=True)
    ]
    for row, computed in zip(rows, zip(*columns, strict=True), strict=True):
        other_texts = [
            CellDifference(name, ABSENT if (found := row.texts[name]) is None else str(found), text)
            for name, text in row.input_texts.items()
            if row.texts[name] != text
        ]
        other_values = [
            CellDifference(field.name, was, now)
            for field, was, now in zip(added, row.added, computed, strict=True)
            if was != now
        ]
        yield (*other_texts, *other_values)


def _kept_texts(prepared: PreparedJob) -> tuple[str, ...]:
    return tuple(name for name in prepared.columns.read.texts if name in prepared.columns.kept)


def _written_rows(
    output: Table, added: Sequence[AddedField], kept: Sequence[str], chosen: Container[int]
) -> Iterator[tuple[str, tuple[str, ...], dict[str, object]] | None]:
    """Yield place, added cells and texts of each chosen row, and None for each other one."""
    start = 0
    for rows in output.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS):
        indices = [index for index in range(len(rows)) if start + index in chosen]
        columns = [_spelled_cells(output.file.format, rows, field) for field in added if indices]
        texts = {name: rows.cells(name) for name in kept if indices}
        start += len(rows)
        wanted = {*indices}
        for index in range(len(rows)):
            if index not in wanted:
                yield None
                continue
            cells = tuple(column[index] for column in columns)
            strings: dict[str, object] = {
                name: cell if isinstance(cell := texts[name][index], str) else None for name in kept
            }
            yield rows.place(index), cells, strings


def _spelled_values(format: Format, field: AddedField, values: Sequence[object]) -> list[str]:
    """Spell computed values as a file of this format has them."""
    if format in BINARY:
        return [_spelled(field.plain(value)) for value in values]
    if format == "jsonl":
        return [value.decode() for value in field.json(values)]
    return field.texts(values)


def _spelled_cells(format: Format, rows: TableChunk, field: AddedField) -> list[str]:
    """Spell the cells of a written column in the same way."""
    if format in BINARY:
        return [_spelled(value) for value in rows.cells(field.name)]
    if format == "jsonl":
        prefix = key_prefix(field.name)
        members = (member.removeprefix(prefix).decode() for member in rows.members([field.name]))
        return [member or ABSENT for member in members]
    return rows.texts(field.name)


def _spelled(value: object) -> str:
    """Spell a value of Parquet so that other bits are another text, of NaN excepted."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_spelled, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_spelled(each)}' for name, each in value.items())}}}"
    names: dict[object, str] = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value)
