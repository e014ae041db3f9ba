"""Labelled files → Evaluation: every row is asked, and its answer held against its label.

It knows the classifier and how jobs read rows; nothing is written. Invariant: the files are read
twice, first for the labels alone, so that an unknown label is told before anything is computed.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from isobatch.batching.cache import OutputCache
from isobatch.errors import InputError
from isobatch.evaluation.accumulator import NUM_MISTAKES, Evaluator, check_task
from isobatch.evaluation.labels import match_labels
from isobatch.evaluation.result import Evaluation, Example
from isobatch.jobs import (
    Answer,
    Counts,
    OnProgress,
    Progress,
    ReadColumns,
    answer_rows,
    choose_columns,
    count_answers,
    cut_chunks,
    read_texts,
)
from isobatch.tables import MISSING, Rows, Table, TableFile, open_table, scan_all
from isobatch.tasks import Classifier
from isobatch.types import TextInput, Truncation

LabelKey = tuple[type, str]
"""A label as it stands in a file: 1, "1" and True are three."""


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """What to evaluate on: files, and which of their columns are read."""

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
    on_progress: OnProgress = lambda progress: None,
) -> Evaluation:
    """Ask the classifier for every row, and hold the answers against the labels.

    OptionError for a checkpoint without single labels, and for columns that are not there;
    InputError for labels that are none of the checkpoint's; TableError for a file that cannot be
    read. A row that has no answer is counted as an error.
    """
    check_task(classifier.config.head.score_activation)
    tables = [open_table(each) for each in files.tables]
    scanned = scan_all(tables)
    read = choose_columns(
        scanned.columns, files.text_column, files.pair_column, files.id_column, files.label_column
    )
    index_of = _match_labels(tables, read, files.label_column, classifier.labels)
    evaluator = Evaluator(classifier.labels, num_mistakes=num_mistakes)
    began, done, cache = time.monotonic(), Counts(), OutputCache()
    for chunk in cut_chunks(tables, read):
        answers = answer_rows(chunk.rows, read, classifier, files.truncation, cache)
        keys = [_key(cell) for cell in chunk.rows.cells(files.label_column)]
        _add(evaluator, chunk.rows, read, answers, [index_of[key] for key in keys])
        done += count_answers(answers, duplicates=0)
        seconds = time.monotonic() - began
        on_progress(Progress(scanned.num_rows, Counts(), done, seconds))
    return evaluator.finish(facts)


def _match_labels(
    tables: Sequence[Table], read: ReadColumns, column: str, labels: Sequence[str]
) -> dict[LabelKey, int]:
    """The index of every label that the files hold, matched for the whole column."""
    first: dict[LabelKey, tuple[object, str]] = {}
    for chunk in cut_chunks(tables, read):
        for index, cell in enumerate(chunk.rows.cells(column)):
            if (key := _key(cell)) not in first:
                value = None if cell is MISSING else cell
                first[key] = (value, read.place(chunk.rows, index))
    values = [value for value, _ in first.values()]
    places = [place for _, place in first.values()]
    return dict(zip(first, match_labels(values, labels, places), strict=True))


def _key(cell: object) -> LabelKey:
    return type(cell), str(cell)


def _add(
    evaluator: Evaluator,
    rows: Rows,
    read: ReadColumns,
    answers: Sequence[Answer],
    expected: Sequence[int],
) -> None:
    """Add the rows to what was evaluated; as many answers and expected labels as rows."""
    texts = read_texts(rows, read)
    for index, answer in enumerate(answers):
        place = read.place(rows, index)
        if isinstance(answer, InputError):
            evaluator.add_error(place, answer.reason)
        else:
            text = cast("TextInput", texts[index])
            evaluator.add(Example(place, text, expected[index], answer))
