"""Scoring of table rows: column selection, chunking, predictions, counts and progress."""

from isobatch.scoring.chunks import cut_chunks
from isobatch.scoring.columns import InputColumns, OutputColumns, ScoringOptions, choose_columns
from isobatch.scoring.counts import ProgressCallback, RowCounts, ScoringProgress
from isobatch.scoring.predictions import (
    Predictor,
    RowPrediction,
    ScoredRows,
    column_values,
    count_rows,
    score_inputs,
    score_rows,
)
from isobatch.scoring.row_scorer import RowScorer, load_scorer
from isobatch.scoring.task_options import TaskOptions, recorded_options

__all__ = [
    "InputColumns",
    "OutputColumns",
    "Predictor",
    "ProgressCallback",
    "RowCounts",
    "RowPrediction",
    "RowScorer",
    "ScoredRows",
    "ScoringOptions",
    "ScoringProgress",
    "TaskOptions",
    "choose_columns",
    "column_values",
    "count_rows",
    "cut_chunks",
    "load_scorer",
    "recorded_options",
    "score_inputs",
    "score_rows",
]
