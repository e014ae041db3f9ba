"""Predictions for rows: reads the text columns, calls the pipeline, and fills output columns."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from isobatch.batching.cache import OutputCache
from isobatch.batching.plan import count_padding
from isobatch.errors import InputError
from isobatch.scoring.columns import InputColumns, OnEmpty, OutputColumns
from isobatch.scoring.counts import RowCounts
from isobatch.scoring.row_labels import labels_of_row
from isobatch.tables import MISSING, TableChunk, Unreadable
from isobatch.tasks import RowFormat
from isobatch.types import TextInput, Truncation

RowPrediction = Any | InputError
"""The prediction for one row, or the reason why there is none.

A prediction of any task has `num_tokens`, `num_windows` and `truncated`.
"""


class Predictor(Protocol):
    """A RowScorer, or a pipeline that needs no options."""

    def predict_or_errors(
        self, texts: Iterable[object], *, truncation: Truncation, cache: OutputCache
    ) -> Sequence[RowPrediction]:
        """Return for each text, in order, its prediction, or the error that it causes."""


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
    predictor: Predictor,
    truncation: Truncation,
    cache: OutputCache,
    on_empty: OnEmpty = "score",
) -> ScoredRows:
    """Predict one result for each row, in their order. The texts are read once."""
    inputs = read_inputs(rows, columns)
    return score_inputs(inputs, columns, predictor, truncation, cache, on_empty)


def score_inputs(
    inputs: Sequence[TextInput | InputError],
    columns: InputColumns,
    predictor: Predictor,
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
    found = iter(predictor.predict_or_errors(texts, truncation=truncation, cache=cache))
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
    """Read the text or pair of texts of each row, or the reason why it has none.

    Where rows have labels of their own, a pair is a text and its labels as JSON.
    """
    cells: list[list[str | InputError]]
    cells = [[_text(cell, name) for cell in rows.cells(name)] for name in columns.texts]
    if columns.labels is not None:
        labels = rows.cells(columns.labels)
        cells.append([labels_of_row(cell, columns.labels) for cell in labels])
    if len(cells) == 1:
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
    scored: ScoredRows, columns: OutputColumns, row_format: RowFormat[Any]
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
    row_format: RowFormat[Any],
) -> list[object]:
    """Return the values of one row; an array has only the first of them."""
    num_columns = len(columns.added)
    if isinstance(prediction, InputError):
        reason = prediction.reason if num_columns > 1 else None
        return [*[None] * (num_columns - 1), reason]
    found = row_format.values(prediction, raw=columns.has_logits, all_scores=columns.has_scores)
    windows = [prediction.num_windows] if columns.has_windows else []
    return [*found, prediction.truncated, *windows, is_empty, None][:num_columns]


def _label(prediction: Any) -> Iterable[str]:
    return (prediction.label,)


def count_rows(
    scored: ScoredRows, duplicates: int, labels_of: Callable[[Any], Iterable[str]] = _label
) -> RowCounts:
    """Count rows, errors, tokens and labels; `duplicates` came from the cache."""
    predictions = [each for each in scored.results if not isinstance(each, InputError)]
    lengths = [prediction.num_tokens for prediction in predictions]
    return RowCounts(
        rows=len(scored.results),
        errors=len(scored.results) - len(predictions),
        truncated=sum(prediction.truncated for prediction in predictions),
        windowed=sum(prediction.num_windows > 1 for prediction in predictions),
        empty=sum(map(bool, scored.empty)),
        duplicates=duplicates,
        tokens=sum(lengths),
        pads=count_padding(lengths),
        labels=dict(Counter(label for each in predictions for label in labels_of(each))),
    )
