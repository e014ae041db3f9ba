"""Tasks: texts in, predictions out. Each is a pipeline; classification is the first."""

from isobatch.tasks.classification import Classifier, Prediction
from isobatch.tasks.pipeline import DEVICES, Column, Pipeline, RowFormat
from isobatch.tasks.scores import rank_logits, score_logits

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
