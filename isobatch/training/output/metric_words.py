"""Names and values of the metrics of a training, as a reader sees them."""

from isobatch.drawing.display_text import percent

_SHARES = ("accuracy", "macro_f1", "micro_f1", "multi_macro_f1", "exact_match")
"""Metrics that are shown as percentages."""


def spoken_metric(name: str) -> str:
    """Return the name of a metric as words: "macro F1", "log loss"."""
    words = name.removeprefix("multi_").replace("_", " ").replace("f1", "F1")
    return words.replace("rmse", "RMSE").replace("mae", "mean absolute error")


def format_metric(name: str, value: float) -> str:
    """Format the value of a metric: shares as percentages."""
    if name in _SHARES and value == value:
        return percent(value)
    return format_number(value)


def format_number(value: float) -> str:
    """Format a number with four significant digits; a dash for NaN."""
    return "–" if value != value else f"{value:.4g}"
