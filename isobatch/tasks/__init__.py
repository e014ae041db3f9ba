"""Tasks: texts in, predictions out. Each is a pipeline; classification is the first."""

from isobatch.tasks.classification import Classifier, Prediction
from isobatch.tasks.embedding import Embedder, Embedding
from isobatch.tasks.entities import AGGREGATIONS, Aggregation, Entity
from isobatch.tasks.machine_options import DEVICES
from isobatch.tasks.pipeline import Pipeline
from isobatch.tasks.pipeline_loading import PipelineTask, load_pipeline
from isobatch.tasks.reranking import Ranked, Reranker
from isobatch.tasks.row_format import Column, RowFormat
from isobatch.tasks.scores import rank_logits, score_logits
from isobatch.tasks.token_classification import TokenClassifier, TokenPrediction
from isobatch.tasks.zero_shot import ZeroShotClassifier, ZeroShotPrediction

__all__ = [
    "AGGREGATIONS",
    "DEVICES",
    "Aggregation",
    "Classifier",
    "Column",
    "Embedder",
    "Embedding",
    "Entity",
    "Pipeline",
    "PipelineTask",
    "Prediction",
    "Ranked",
    "Reranker",
    "RowFormat",
    "TokenClassifier",
    "TokenPrediction",
    "ZeroShotClassifier",
    "ZeroShotPrediction",
    "load_pipeline",
    "rank_logits",
    "score_logits",
]
