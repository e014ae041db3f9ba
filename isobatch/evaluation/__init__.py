"""How well the answers fit labelled texts: an Evaluation, and its report in HTML.

`labelled` reads files and asks the classifier; everything else knows neither files nor models. What
is needed beside the package comes with `pip install isobatch[evaluate]`.
"""

from isobatch.evaluation.accumulator import Evaluator, check_task, evaluate
from isobatch.evaluation.labelled import LabelledFiles, evaluate_files
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
    "LabelledFiles",
    "Mistake",
    "ReliabilityBin",
    "RowError",
    "check_task",
    "evaluate",
    "evaluate_files",
    "match_labels",
    "render_report",
]
