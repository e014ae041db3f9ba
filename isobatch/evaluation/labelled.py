"""Evaluation of labelled files.

The files are read three times: to scan them, for their labels alone, so that an unknown label is
reported before anything is computed, and for the predictions.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import cast

from isobatch.batching.cache import OutputCache
from isobatch.errors import InputError, OptionError
from isobatch.evaluation.evaluator import NUM_MISTAKES, check_task
from isobatch.evaluation.label_column import LabelOptions, read_label_column
from isobatch.evaluation.labels import is_missing, spelled
from isobatch.evaluation.metrics import check_libraries
from isobatch.evaluation.records import Evaluation, Example
from isobatch.evaluation.slices import SlicedEvaluator, slice_of
from isobatch.scoring import (
    ProgressCallback,
    RowCounts,
    ScoringProgress,
    choose_columns,
    count_rows,
    cut_chunks,
    score_inputs,
)
from isobatch.scoring.chunks import MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.scoring.columns import OnEmpty, check_column
from isobatch.scoring.predictions import read_inputs
from isobatch.tables import MISSING, TableChunk, TableFile, open_table, scan_tables
from isobatch.tasks import Classifier, ZeroShotClassifier
from isobatch.types import TextInput, Truncation

MAX_LABELS = 1000
"""That are taken from a column: a zero-shot model computes a pair for each text and label."""


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Labelled files, and which of their columns are read."""

    tables: tuple[TableFile, ...]
    label: LabelOptions
    text_column: str | None = None
    pair_column: str | None = None
    id_column: str | None = None
    truncation: Truncation = "cut"
    on_empty: OnEmpty = "score"


def evaluate_files(
    files: LabelledFiles,
    classifier: Classifier | ZeroShotClassifier,
    *,
    facts: Mapping[str, str] | None = None,
    num_mistakes: int = NUM_MISTAKES,
    on_progress: ProgressCallback = lambda progress: None,
) -> Evaluation:
    """Predict every labelled row, and compare the predictions with the labels.

    A ZeroShotClassifier predicts the labels of its `for_labels`.
    OptionError for a checkpoint without single labels, and for columns that do not exist;
    InputError for labels that are not the checkpoint's; TableError for a file that cannot be read.
    A row without a prediction is counted as an error.
    """
    labels = classifier.row_format.labels
    if isinstance(classifier, Classifier):
        check_task(classifier.score_activation)
    check_libraries()
    tables = [open_table(each) for each in files.tables]
    scan, label = scan_tables(tables), files.label
    columns = choose_columns(
        scan.columns, files.text_column, files.pair_column, files.id_column, label.column
    )
    for table, name in product(tables, columns.texts):
        table.check_text(name)
    known = read_label_column(tables, scan.columns, label, labels)
    evaluator = SlicedEvaluator(labels, num_mistakes=num_mistakes, by=label.by)
    start, done, cache = time.monotonic(), RowCounts(), OutputCache()
    for rows in cut_chunks(tables, columns):
        expected = [known.read(cell) for cell in rows.cells(label.column)]
        inputs = read_inputs(rows, columns)
        labelled = [index for index, each in enumerate(expected) if isinstance(each, int)]
        texts = [inputs[index] for index in labelled]
        reading = columns, classifier, files.truncation, cache, files.on_empty
        scored = score_inputs(texts, *reading)
        results = dict(zip(labelled, zip(scored.results, scored.empty, strict=True), strict=True))
        for index, (each, slice) in enumerate(zip(expected, slices(rows, label.by), strict=True)):
            place = columns.place(rows, index)
            if each is None:
                evaluator.add_unlabelled(slice)
            elif isinstance(each, str):
                evaluator.add_error(place, each, slice)
            elif isinstance(result := results[index][0], InputError):
                evaluator.add_error(place, result.reason, slice)
            else:
                text, empty = cast("TextInput", inputs[index]), bool(results[index][1])
                evaluator.add(Example(place, text, each, result, slice, empty))
        done += count_rows(scored, duplicates=0)
        done += RowCounts(rows=len(rows) - len(results))
        seconds = time.monotonic() - start
        on_progress(ScoringProgress(scan.num_rows, RowCounts(), done, seconds))
    return evaluator.finish(facts or {}, known.notes)


def labels_of_column(files: LabelledFiles) -> tuple[str, ...]:
    """Return the different values of the label column, sorted: the labels of a zero-shot model.

    OptionError for a column that does not exist and for more than MAX_LABELS values, InputError for
    a value that is not a text.
    """
    tables, column = [open_table(each) for each in files.tables], files.label.column
    check_column(column, scan_tables(tables).columns)
    mapped = {each.rpartition("=")[0]: each.rpartition("=")[2] for each in files.label.label_map}
    found: set[str] = set()
    for table in tables:
        for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS):
            for index, cell in enumerate(rows.cells(column)):
                if is_missing(None if cell is MISSING else cell):
                    continue
                name = mapped.get(spelled(cell), cell)
                if not isinstance(name, str):
                    raise InputError(
                        f"{rows.place(index)}: the label {spelled(cell)} is not a text, and means "
                        f"nothing to the model. Give it a name: --label-map {spelled(cell)}=NAME"
                    )
                found.add(name.strip())
            if len(found) > MAX_LABELS:
                raise OptionError(
                    f"the column {column!r} has more than {MAX_LABELS} different labels. Choose "
                    "another with --label-column, or specify the labels with --labels"
                )
    return tuple(sorted(found))


def slices(rows: TableChunk, by: str | None) -> list[str | None]:
    """Return the slice of each row; None if there is no column `by`."""
    if by is None:
        return [None] * len(rows)
    return [slice_of(None if cell is MISSING else cell) for cell in rows.cells(by)]
