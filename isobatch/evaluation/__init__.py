"""Evaluation on labelled texts: metrics, calibration, mistakes, and an HTML report.

Its libraries come with `pip install "isobatch[evaluate]"`.
"""

from isobatch.evaluation.evaluator import Evaluator, check_task
from isobatch.evaluation.html_report import render_report
from isobatch.evaluation.label_column import LabelOptions
from isobatch.evaluation.labelled import LabelledFiles, evaluate_files
from isobatch.evaluation.labels import match_labels, parse_label_map
from isobatch.evaluation.records import (
    ClassMetrics,
    Evaluation,
    Example,
    Mistake,
    ReliabilityBin,
    RowError,
    Slice,
)
from isobatch.evaluation.scored import evaluate_scored

__all__ = [
    "ClassMetrics",
    "Evaluation",
    "Evaluator",
    "Example",
    "LabelOptions",
    "LabelledFiles",
    "Mistake",
    "ReliabilityBin",
    "RowError",
    "Slice",
    "check_task",
    "evaluate_files",
    "evaluate_scored",
    "match_labels",
    "parse_label_map",
    "render_report",
]
