"""Evaluation of a file that `isobatch run` has written: no weights are loaded.

Invariant: row n of the scored file belongs to row n of the labelled one; rows that differ in one of
the columns that are compared are refused.
"""

from collections.abc import Iterator, Mapping, Sequence

from isobatch.drawing.display_text import counted
from isobatch.errors import InputError, OptionError
from isobatch.evaluation.evaluator import NUM_MISTAKES
from isobatch.evaluation.label_column import read_label_column
from isobatch.evaluation.labelled import LabelledFiles, slices
from isobatch.evaluation.metrics import check_libraries
from isobatch.evaluation.records import Evaluation, Example
from isobatch.evaluation.same_rows import ComparedRows, compared_rows
from isobatch.evaluation.scored_columns import (
    ADDED,
    ScoredColumns,
    find_scored_columns,
    read_prediction,
)
from isobatch.evaluation.slices import SlicedEvaluator
from isobatch.scoring import InputColumns, choose_columns
from isobatch.scoring.chunks import MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.scoring.predictions import is_empty, read_inputs
from isobatch.tables import Table, TableChunk, TableFile, TableScan, open_table, scan_tables
from isobatch.types import TextInput

NO_ORDER = (
    ". The scored file does not contain all labels and their order: specify its checkpoint with "
    "--model (only its config.json is read), or score with --scores"
)

ScoredRow = tuple[str, dict[str, object], tuple[object, ...]]
"""The place of a row of the scored file, its added cells, and its cells to be compared."""


def evaluate_scored(
    files: LabelledFiles,
    scored: Sequence[TableFile],
    *,
    labels: Sequence[str] | None = None,
    prefix: str | None = None,
    facts: Mapping[str, str] | None = None,
    num_mistakes: int = NUM_MISTAKES,
) -> Evaluation:
    """Compare the predictions in `scored` with the labels in `files`, which may be the same files.

    labels: the checkpoint's, in order; default: those of the columns score_LABEL, else those that
    are predicted or named by the label map. prefix: of the added columns; default: found. Raises as
    `evaluate_files`, OptionError where the two have no column in common, and InputError where they
    have not the same rows.
    """
    check_libraries()
    tables, others = list(map(open_table, files.tables)), list(map(open_table, scored))
    scan, found = scan_tables(tables), scan_tables(others)
    added = find_scored_columns(found.columns, prefix, labels)
    _check_same_rows(files, scan, scored, found, added)
    columns, label = _text_columns(scan.columns, files), files.label
    ordered = tuple(labels or added.labels)
    names = ordered or _predicted_labels(others, added, label.label_map)
    known = read_label_column(
        tables,
        scan.columns,
        label,
        names,
        indices=bool(ordered),
        hint="" if ordered else NO_ORDER,
    )
    evaluator = SlicedEvaluator(names, num_mistakes=num_mistakes, by=label.by)
    compared = compared_rows(files, scan.columns, scored, found.columns, added)
    rows_of_scored = _scored_rows(others, added, compared)
    for rows in _chunks(tables):
        texts = read_inputs(rows, columns) if columns else [""] * len(rows)
        own = compared.cells(rows)
        cells, by = rows.cells(label.column), slices(rows, label.by)
        for index, (cell, slice) in enumerate(zip(cells, by, strict=True)):
            place = columns.place(rows, index) if columns else rows.place(index)
            other_place, prediction_cells, content = next(rows_of_scored)
            compared.check(place, own[index], other_place, content)
            expected, text = known.read(cell), texts[index]
            prediction = read_prediction(prediction_cells, names, ordered=bool(ordered))
            if expected is None:
                evaluator.add_unlabelled(slice)
            elif isinstance(expected, str):
                evaluator.add_error(place, expected, slice)
            elif isinstance(prediction, str):
                evaluator.add_error(place, prediction, slice)
            else:
                shown = "" if isinstance(text, InputError) else text
                empty = _is_empty(text if columns else None, prediction_cells)
                evaluator.add(Example(place, shown, expected, prediction, slice, empty))
    return evaluator.finish(facts or {}, known.notes)


def _is_empty(text: TextInput | InputError | None, cells: Mapping[str, object]) -> bool:
    """Whether the text is empty or white space, by the mark of `run` where it is not there."""
    if text is None or isinstance(text, InputError):
        return cells.get("empty") in (True, "true")
    return is_empty(text)


def _check_same_rows(
    files: LabelledFiles,
    scan: TableScan,
    scored: Sequence[TableFile],
    found: TableScan,
    added: ScoredColumns,
) -> None:
    column = files.label.column
    if list(files.tables) == list(scored) and column in [added.prefix + name for name in ADDED]:
        raise OptionError(
            f"--label-column {column}: in the scored file that is the prediction. Specify the "
            "column of the expected labels, or pass the file with them as INPUT"
        )
    if scan.num_rows != found.num_rows:
        raise InputError(
            f"{files.tables[0].path.name} has {counted(scan.num_rows, 'row')}, but the scored file "
            f"{scored[0].path.name} has {found.num_rows:,}. Pass the file that was scored"
        )


def _text_columns(columns: Sequence[str], files: LabelledFiles) -> InputColumns | None:
    """Choose the columns of the texts that are shown; None where `run` has not kept them."""
    try:
        named = files.text_column, files.pair_column, files.id_column, files.label.column
        return choose_columns(columns, *named)
    except OptionError:
        if any((files.text_column, files.pair_column, files.id_column)):
            raise
        return None


def _predicted_labels(
    tables: Sequence[Table], added: ScoredColumns, label_map: Sequence[str]
) -> tuple[str, ...]:
    """Return the labels that occur as predictions, and those that the label map names."""
    found = {
        str(cells["label"])
        for rows in _chunks(tables)
        for cells in added.cells(rows)
        if cells["label"] is not None
    }
    return tuple(sorted(found | {each.rpartition("=")[2] for each in label_map}))


def _scored_rows(
    tables: Sequence[Table], added: ScoredColumns, compared: ComparedRows
) -> Iterator[ScoredRow]:
    for rows in _chunks(tables):
        pairs = zip(added.cells(rows), compared.cells(rows), strict=True)
        for index, (cells, content) in enumerate(pairs):
            yield rows.place(index), cells, content


def _chunks(tables: Sequence[Table]) -> Iterator[TableChunk]:
    for table in tables:
        yield from table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS)
