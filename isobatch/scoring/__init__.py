"""Scoring of table rows: column selection, chunking, predictions, counts and progress."""

from isobatch.scoring.chunks import cut_chunks
from isobatch.scoring.columns import InputColumns, OutputColumns, ScoringOptions, choose_columns
from isobatch.scoring.counts import ProgressCallback, RowCounts, ScoringProgress
from isobatch.scoring.predictions import (
    RowPrediction,
    column_values,
    count_rows,
    empty_rows,
    score_rows,
)

__all__ = [
    "InputColumns",
    "OutputColumns",
    "ProgressCallback",
    "RowCounts",
    "RowPrediction",
    "ScoringOptions",
    "ScoringProgress",
    "choose_columns",
    "column_values",
    "count_rows",
    "cut_chunks",
    "empty_rows",
    "score_rows",
]
