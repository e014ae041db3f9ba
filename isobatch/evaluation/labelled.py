"""Evaluation of labelled files.

The files are read three times: to scan them, for their labels alone, so that an unknown label is
reported before anything is computed, and for the predictions.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import cast

from isobatch.batching.cache import OutputCache
from isobatch.errors import InputError
from isobatch.evaluation.evaluator import NUM_MISTAKES, Evaluator, check_task
from isobatch.evaluation.labels import match_labels
from isobatch.evaluation.records import Evaluation, Example
from isobatch.scoring import (
    InputColumns,
    ProgressCallback,
    RowCounts,
    ScoringProgress,
    choose_columns,
    count_rows,
    cut_chunks,
    score_rows,
)
from isobatch.scoring.predictions import read_inputs
from isobatch.tables import MISSING, Table, TableFile, open_table, scan_tables
from isobatch.tasks import Classifier
from isobatch.types import TextInput, Truncation

LabelKey = tuple[type, str]
"""A label as it is in a file: 1, "1" and True are three."""


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Labelled files, and which of their columns are read."""

    tables: tuple[TableFile, ...]
    label_column: str
    text_column: str | None = None
    pair_column: str | None = None
    id_column: str | None = None
    truncation: Truncation = "cut"


def evaluate_files(
    files: LabelledFiles,
    classifier: Classifier,
    *,
    facts: Mapping[str, str] | None = None,
    num_mistakes: int = NUM_MISTAKES,
    on_progress: ProgressCallback = lambda progress: None,
) -> Evaluation:
    """Predict every row, and compare the predictions with the labels.

    OptionError for a checkpoint without single labels, and for columns that do not exist;
    InputError for labels that are not the checkpoint's; TableError for a file that cannot be read.
    A row without a prediction is counted as an error.
    """
    check_task(classifier.config.head.score_activation)
    tables = [open_table(each) for each in files.tables]
    scan = scan_tables(tables)
    columns = choose_columns(
        scan.columns, files.text_column, files.pair_column, files.id_column, files.label_column
    )
    for table, name in product(tables, columns.texts):
        table.check_text(name)
    index_of = _match_labels(tables, columns, files.label_column, classifier.labels)
    evaluator = Evaluator(classifier.labels, num_mistakes=num_mistakes)
    start, done, cache = time.monotonic(), RowCounts(), OutputCache()
    for rows in cut_chunks(tables, columns):
        results = score_rows(rows, columns, classifier, files.truncation, cache)
        expected = [index_of[_key(cell)] for cell in rows.cells(files.label_column)]
        texts = read_inputs(rows, columns)
        for index, result in enumerate(results):
            place = columns.place(rows, index)
            if isinstance(result, InputError):
                evaluator.add_error(place, result.reason)
            else:
                text = cast("TextInput", texts[index])
                evaluator.add(Example(place, text, expected[index], result))
        done += count_rows(results, duplicates=0)
        seconds = time.monotonic() - start
        on_progress(ScoringProgress(scan.num_rows, RowCounts(), done, seconds))
    return evaluator.finish(facts)


def _match_labels(
    tables: Sequence[Table], columns: InputColumns, label_column: str, labels: Sequence[str]
) -> dict[LabelKey, int]:
    """Match every label in the files with its index, by one rule for the whole column."""
    first: dict[LabelKey, tuple[object, str]] = {}
    for rows in cut_chunks(tables, columns):
        for index, cell in enumerate(rows.cells(label_column)):
            if (key := _key(cell)) not in first:
                value = None if cell is MISSING else cell
                first[key] = (value, columns.place(rows, index))
    values = [value for value, _ in first.values()]
    places = [place for _, place in first.values()]
    return dict(zip(first, match_labels(values, labels, places), strict=True))


def _key(cell: object) -> LabelKey:
    return type(cell), str(cell)
