"""Predictions for rows: reads the text columns, calls the classifier, and fills output columns."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from isobatch.batching.cache import OutputCache
from isobatch.batching.plan import count_padding
from isobatch.errors import InputError
from isobatch.scoring.columns import InputColumns, OnEmpty, OutputColumns
from isobatch.scoring.counts import RowCounts
from isobatch.tables import MISSING, TableChunk, Unreadable
from isobatch.tasks import Classifier, Prediction, RowFormat
from isobatch.types import TextInput, Truncation

RowPrediction = Prediction | InputError
"""The prediction for one row, or the reason why there is none."""


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """A result for each row, and whether its text, or one of its pair, is empty or white space.

    `empty` is None for a row without a text.
    """

    results: list[RowPrediction]
    empty: list[bool | None]


def score_rows(
    rows: TableChunk,
    columns: InputColumns,
    classifier: Classifier,
    truncation: Truncation,
    cache: OutputCache,
    on_empty: OnEmpty = "score",
) -> ScoredRows:
    """Predict one result for each row, in their order. The texts are read once."""
    inputs = read_inputs(rows, columns)
    return score_inputs(inputs, columns, classifier, truncation, cache, on_empty)


def score_inputs(
    inputs: Sequence[TextInput | InputError],
    columns: InputColumns,
    classifier: Classifier,
    truncation: Truncation,
    cache: OutputCache,
    on_empty: OnEmpty = "score",
) -> ScoredRows:
    """Predict one result for each input that `read_inputs` has read from `columns`, in order."""
    places = [None if isinstance(each, InputError) else _empty_at(each) for each in inputs]
    if on_empty == "error":
        inputs = [
            InputError(f"{columns.texts[at]} is empty or white space")
            if at is not None and at >= 0
            else each
            for each, at in zip(inputs, places, strict=True)
        ]
    texts = [each for each in inputs if not isinstance(each, InputError)]
    found = iter(classifier.predict_or_errors(texts, truncation=truncation, cache=cache))
    results = [each if isinstance(each, InputError) else next(found) for each in inputs]
    return ScoredRows(results, [None if at is None else at >= 0 for at in places])


def is_empty(texts: TextInput) -> bool:
    """Return whether a text, or one of a pair, is empty or white space."""
    return _empty_at(texts) >= 0


def _empty_at(texts: TextInput) -> int:
    """Return which text is empty or white space, or -1."""
    pair = (texts,) if isinstance(texts, str) else texts
    return next((index for index, text in enumerate(pair) if not text.strip()), -1)


def read_inputs(rows: TableChunk, columns: InputColumns) -> list[TextInput | InputError]:
    """Read the text or pair of texts of each row, or the reason why it has none."""
    cells = [[_text(cell, name) for cell in rows.cells(name)] for name in columns.texts]
    if columns.pair is None:
        return list(cells[0])
    return [
        next((cell for cell in pair if isinstance(cell, InputError)), pair)
        for pair in zip(*cells, strict=True)
    ]


def _text(cell: object, column: str) -> str | InputError:
    # These reasons are written into output files: the same input must keep giving the same bytes.
    if isinstance(cell, str):
        return cell
    if cell is None:
        return InputError(f"{column} is null")
    if cell is MISSING:
        return InputError(f"has no {column}")
    if isinstance(cell, Unreadable):
        return InputError(f"{column} cannot be read: {cell.reason}")
    return InputError(f"{column} must be a string, got {type(cell).__name__}: {str(cell)[:40]}")


def column_values(
    scored: ScoredRows, columns: OutputColumns, row_format: RowFormat[Prediction]
) -> list[list[object]]:
    """Return the values of each added column, row by row."""
    rows = [
        _added_values(each, is_empty, columns, row_format)
        for each, is_empty in zip(scored.results, scored.empty, strict=True)
    ]
    return [[row[index] for row in rows] for index in range(len(columns.added))]


def _added_values(
    prediction: RowPrediction,
    is_empty: bool | None,
    columns: OutputColumns,
    row_format: RowFormat[Prediction],
) -> list[object]:
    if isinstance(prediction, InputError):
        return [None] * (len(columns.added) - 1) + [prediction.reason]
    values = row_format.values(prediction, raw=columns.has_logits, all_scores=columns.has_scores)
    return [*values, prediction.truncated, is_empty, None]


def count_rows(scored: ScoredRows, duplicates: int) -> RowCounts:
    """Count rows, errors, tokens and labels; `duplicates` came from the cache."""
    results = scored.results
    predictions = [each for each in results if isinstance(each, Prediction)]
    lengths = [prediction.num_tokens for prediction in predictions]
    return RowCounts(
        rows=len(results),
        errors=len(results) - len(predictions),
        truncated=sum(prediction.truncated for prediction in predictions),
        empty=sum(map(bool, scored.empty)),
        duplicates=duplicates,
        tokens=sum(lengths),
        pads=count_padding(lengths),
        labels=dict(Counter(prediction.label for prediction in predictions)),
    )
