"""Scoring of table rows: column selection, chunking, predictions, counts and progress."""

from isobatch.scoring.chunks import cut_chunks
from isobatch.scoring.columns import InputColumns, OutputColumns, ScoringOptions, choose_columns
from isobatch.scoring.counts import ProgressCallback, RowCounts, ScoringProgress
from isobatch.scoring.predictions import (
    RowPrediction,
    ScoredRows,
    column_values,
    count_rows,
    score_inputs,
    score_rows,
)

__all__ = [
    "InputColumns",
    "OutputColumns",
    "ProgressCallback",
    "RowCounts",
    "RowPrediction",
    "ScoredRows",
    "ScoringOptions",
    "ScoringProgress",
    "choose_columns",
    "column_values",
    "count_rows",
    "cut_chunks",
    "score_inputs",
    "score_rows",
]
