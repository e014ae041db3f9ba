"""Evaluation on labelled texts: metrics, calibration, mistakes, and an HTML report.

Its libraries come with `pip install isobatch[evaluate]`.
"""

from isobatch.evaluation.evaluator import Evaluator, check_task
from isobatch.evaluation.html_report import render_report
from isobatch.evaluation.labelled import LabelledFiles, evaluate_files
from isobatch.evaluation.labels import match_labels
from isobatch.evaluation.records import (
    ClassMetrics,
    Evaluation,
    Example,
    Mistake,
    ReliabilityBin,
    RowError,
)

__all__ = [
    "ClassMetrics",
    "Evaluation",
    "Evaluator",
    "Example",
    "LabelledFiles",
    "Mistake",
    "ReliabilityBin",
    "RowError",
    "check_task",
    "evaluate_files",
    "match_labels",
    "render_report",
]
