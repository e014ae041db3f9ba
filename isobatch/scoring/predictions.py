"""Predictions for rows: reads the text columns, calls the classifier, and fills output columns."""

from collections import Counter
from collections.abc import Sequence

from isobatch.batching.cache import OutputCache
from isobatch.batching.plan import count_padding
from isobatch.errors import InputError
from isobatch.scoring.columns import InputColumns, OutputColumns
from isobatch.scoring.counts import RowCounts
from isobatch.tables import MISSING, TableChunk, Unreadable
from isobatch.tasks import Classifier, Prediction, RowFormat
from isobatch.types import TextInput, Truncation

RowPrediction = Prediction | InputError
"""The prediction for one row, or the reason why there is none."""


def score_rows(
    rows: TableChunk,
    columns: InputColumns,
    classifier: Classifier,
    truncation: Truncation,
    cache: OutputCache,
) -> list[RowPrediction]:
    """Predict one result for each row, in their order."""
    inputs = read_inputs(rows, columns)
    texts = [each for each in inputs if not isinstance(each, InputError)]
    results = iter(classifier.predict_or_errors(texts, truncation=truncation, cache=cache))
    return [each if isinstance(each, InputError) else next(results) for each in inputs]


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
    return InputError(f"{column} is no text but {type(cell).__name__}: {str(cell)[:40]}")


def column_values(
    predictions: Sequence[RowPrediction],
    columns: OutputColumns,
    row_format: RowFormat[Prediction],
) -> list[list[object]]:
    """Return the values of each added column, row by row."""
    rows = [_added_values(each, columns, row_format) for each in predictions]
    return [[row[index] for row in rows] for index in range(len(columns.added))]


def _added_values(
    prediction: RowPrediction, columns: OutputColumns, row_format: RowFormat[Prediction]
) -> list[object]:
    if isinstance(prediction, InputError):
        return [None] * (len(columns.added) - 1) + [prediction.reason]
    values = row_format.values(prediction, raw=columns.has_logits, all_scores=columns.has_scores)
    return [*values, prediction.truncated, None]


def count_rows(results: Sequence[RowPrediction], duplicates: int) -> RowCounts:
    """Count rows, errors, tokens and labels; `duplicates` came from the cache."""
    predictions = [each for each in results if isinstance(each, Prediction)]
    lengths = [prediction.num_tokens for prediction in predictions]
    return RowCounts(
        rows=len(results),
        errors=len(results) - len(predictions),
        truncated=sum(prediction.truncated for prediction in predictions),
        duplicates=duplicates,
        tokens=sum(lengths),
        pads=count_padding(lengths),
        labels=dict(Counter(prediction.label for prediction in predictions)),
    )
