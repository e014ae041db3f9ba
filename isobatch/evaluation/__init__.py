"""How well the answers fit labelled texts: an Evaluation, and its report in HTML.

It knows neither files nor models: whoever calls brings the answers and the labels. What it needs
beside the package comes with `pip install isobatch[evaluate]`.
"""

from isobatch.evaluation.accumulator import Evaluator, check_task, evaluate
from isobatch.evaluation.labels import match_labels
from isobatch.evaluation.report import render_report
from isobatch.evaluation.result import (
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
    "Mistake",
    "ReliabilityBin",
    "RowError",
    "check_task",
    "evaluate",
    "match_labels",
    "render_report",
]
