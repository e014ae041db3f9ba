"""Tasks: texts in, predictions out. Each is a pipeline; classification is the first."""

from isobatch.tasks.classification import Classifier, Prediction, rank_logits, score_logits
from isobatch.tasks.pipeline import DEVICES, Column, Pipeline, RowFormat

__all__ = [
    "DEVICES",
    "Classifier",
    "Column",
    "Pipeline",
    "Prediction",
    "RowFormat",
    "rank_logits",
    "score_logits",
]
