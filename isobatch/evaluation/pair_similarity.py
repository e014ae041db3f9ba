"""Similarity of pairs of texts, by their vectors, compared with what people say of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isobatch.batching.cache import OutputCache
from isobatch.errors import InputError, OptionError
from isobatch.evaluation.correlations import correlate
from isobatch.evaluation.evaluator import NUM_MISTAKES
from isobatch.evaluation.labelled import LabelledFiles
from isobatch.evaluation.metrics import check_libraries
from isobatch.evaluation.number_column import checked_number
from isobatch.evaluation.row_tally import RowTally
from isobatch.evaluation.task_records import PairResult, SimilarityEvaluation
from isobatch.extras import needs_extra
from isobatch.scoring import (
    InputColumns,
    ProgressCallback,
    RowCounts,
    ScoringProgress,
    choose_columns,
    cut_chunks,
)
from isobatch.scoring.chunks import MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.scoring.predictions import is_empty, read_inputs
from isobatch.tables import Table, TableChunk, open_table, scan_tables
from isobatch.tasks.embedding import Embedder

MAX_POINTS = 2000
"""Of the chart; of more pairs this many are drawn, evenly spread over the files."""


@dataclass(frozen=True, slots=True)
class ComparedPair:
    """A pair with both similarities."""

    place: str
    texts: tuple[str, str]
    expected: float
    found: float


def evaluate_similarity(
    files: LabelledFiles,
    embedder: Embedder,
    *,
    facts: Mapping[str, str] | None = None,
    num_mistakes: int = NUM_MISTAKES,
    on_progress: ProgressCallback = lambda progress: None,
) -> SimilarityEvaluation:
    """Embed both texts of every pair, and correlate their similarity with the label column.

    The similarity is that which the checkpoint is made for, the cosine where it says none.
    OptionError for columns that do not exist, InputError for a similarity that is missing or not a
    number, and for a column with only one; TableError for a file that cannot be read. The pairs
    are kept in memory.
    """
    if files.pair_column is None:
        raise OptionError(
            "similarities need two texts in each row. Specify the column of the second: "
            "--pair-column"
        )
    check_libraries()
    tables = [open_table(each) for each in files.tables]
    scan, label = scan_tables(tables), files.label
    named = files.text_column, files.pair_column, files.id_column, label.column
    columns = choose_columns(scan.columns, *named)
    for table in tables:
        for name in columns.texts:
            table.check_text(name)
    _check_numbers(tables, files)
    pairs: list[ComparedPair] = []
    tally, start, cache, done = RowTally(), time.monotonic(), OutputCache(), 0
    for rows in cut_chunks(tables, columns):
        pairs += _compare(rows, columns, files, embedder, tally, cache)
        done += len(rows)
        counts, seconds = RowCounts(rows=done, tokens=tally.num_tokens), time.monotonic() - start
        on_progress(ScoringProgress(scan.num_rows, RowCounts(), counts, seconds))
    if not pairs:
        raise tally.absence("pair")
    return _evaluation(pairs, tally, num_mistakes, facts, embedder.similarity_function)


def _check_numbers(tables: Sequence[Table], files: LabelledFiles) -> None:
    """Read all expected similarities; InputError if one is wrong, or if all are the same."""
    column, different, first = files.label.column, set[float](), ""
    for table in tables:
        for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS):
            for index, cell in enumerate(rows.cells(column)):
                place = rows.place(index)
                number = checked_number(cell, place, files.label)
                if isinstance(number, float) and len(different) < 2:
                    different.add(number)
                    first = first or place
    if len(different) == 1:
        raise InputError(
            f"{first}: every row has the similarity {different.pop():g} in the column {column!r}, "
            "so no correlation is defined. Specify another with --label-column"
        )


def _compare(
    rows: TableChunk,
    columns: InputColumns,
    files: LabelledFiles,
    embedder: Embedder,
    tally: RowTally,
    cache: OutputCache,
) -> list[ComparedPair]:
    """Return the pairs of a chunk that have both similarities, and count the others."""
    inputs = read_inputs(rows, columns)
    texts = list(dict.fromkeys(text for each in inputs if isinstance(each, tuple) for text in each))
    results = embedder.predict_or_errors(texts, truncation=files.truncation, cache=cache)
    vectors = dict(zip(texts, results, strict=True))
    found = []
    for index, (pair, cell) in enumerate(zip(inputs, rows.cells(files.label.column), strict=True)):
        place = columns.place(rows, index)
        expected = checked_number(cell, place, files.label)
        if expected is None:
            tally.num_unlabelled += 1
        elif isinstance(expected, str):
            tally.add_error(place, expected)
        elif not isinstance(pair, tuple):
            tally.add_error(place, pair.reason if isinstance(pair, InputError) else "no pair")
        elif files.on_empty == "error" and is_empty(pair):
            tally.add_error(place, "a text is empty or white space")
        else:
            first, second = (vectors[text] for text in pair)
            if isinstance(first, InputError) or isinstance(second, InputError):
                wrong = first if isinstance(first, InputError) else second
                tally.add_error(place, getattr(wrong, "reason", ""))
                continue
            truncated, size = first.truncated or second.truncated, first.num_tokens
            size += second.num_tokens
            tally.add(truncated=truncated, empty=is_empty(pair), num_tokens=size)
            similarity = float(embedder.similarity(first.vector, second.vector)[0, 0])
            found.append(ComparedPair(place, pair, expected, similarity))
    return found


def _evaluation(
    pairs: Sequence[ComparedPair],
    tally: RowTally,
    num_worst: int,
    facts: Mapping[str, str] | None,
    similarity: str,
) -> SimilarityEvaluation:
    expected, found = [pair.expected for pair in pairs], [pair.found for pair in pairs]
    known = correlate(expected, found)
    step = max(1.0, len(pairs) / MAX_POINTS)
    shown = [pairs[int(place * step)] for place in range(min(MAX_POINTS, len(pairs)))]
    return SimilarityEvaluation(
        task="similarity",
        spearman=known.spearman,
        pearson=known.pearson,
        spearman_interval=known.spearman_interval,
        pearson_interval=known.pearson_interval,
        undefined=known.undefined,
        points=tuple((pair.expected, pair.found) for pair in shown),
        worst=_worst(pairs, expected, found, num_worst),
        **tally.fields({**(facts or {}), "similarity": similarity}),
    )


def _worst(
    pairs: Sequence[ComparedPair], expected: Sequence[float], found: Sequence[float], number: int
) -> tuple[PairResult, ...]:
    """Return the pairs that the two orders place furthest apart, the earlier first of equals."""
    with needs_extra("evaluate", "evaluation"):
        from scipy.stats import rankdata  # type: ignore[import-untyped]
    most = max(len(pairs) - 1, 1)
    places = [(rankdata(numbers) - 1) / most for numbers in (expected, found)]
    order = np.argsort(-np.abs(places[0] - places[1]), kind="stable")[:number]
    return tuple(
        PairResult(
            place=pairs[index].place,
            texts=pairs[index].texts,
            expected=pairs[index].expected,
            similarity=pairs[index].found,
            expected_place=float(places[0][index]),
            similarity_place=float(places[1][index]),
        )
        for index in map(int, order)
    )
