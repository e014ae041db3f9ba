"""Evaluation on files with what is expected: metrics, mistakes, and an HTML report.

Its libraries come with `pip install "isobatch[evaluate]"`.
"""

from isobatch.evaluation.evaluator import Evaluator, check_task
from isobatch.evaluation.html_report import render_report
from isobatch.evaluation.label_column import LabelOptions
from isobatch.evaluation.labelled import LabelledFiles, evaluate_files, labels_of_column
from isobatch.evaluation.labels import match_labels, parse_label_map
from isobatch.evaluation.pair_similarity import evaluate_similarity
from isobatch.evaluation.query_files import QueryFiles
from isobatch.evaluation.ranked_queries import evaluate_ranking
from isobatch.evaluation.records import (
    ClassMetrics,
    Evaluation,
    Example,
    Mistake,
    ReliabilityBin,
    RowError,
    Slice,
)
from isobatch.evaluation.retrieval import evaluate_retrieval
from isobatch.evaluation.scored import evaluate_scored
from isobatch.evaluation.tagged_texts import EntityOptions, evaluate_entities
from isobatch.evaluation.task_records import (
    EntityEvaluation,
    RankingEvaluation,
    SimilarityEvaluation,
    TaskEvaluation,
)

__all__ = [
    "ClassMetrics",
    "EntityEvaluation",
    "EntityOptions",
    "Evaluation",
    "Evaluator",
    "Example",
    "LabelOptions",
    "LabelledFiles",
    "Mistake",
    "QueryFiles",
    "RankingEvaluation",
    "ReliabilityBin",
    "RowError",
    "SimilarityEvaluation",
    "Slice",
    "TaskEvaluation",
    "check_task",
    "evaluate_entities",
    "evaluate_files",
    "evaluate_ranking",
    "evaluate_retrieval",
    "evaluate_scored",
    "evaluate_similarity",
    "labels_of_column",
    "match_labels",
    "parse_label_map",
    "render_report",
]
