"""The metrics of a validation, each with its direction: the closed table that "best" goes by.

Computed from all logits at once, never as a mean of batches. Ties go to the earliest evaluation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.errors import OptionError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """compute: (targets, logits), both [texts, outputs], → a number; higher: the direction."""

    compute: Callable[[Numbers, Numbers], float]
    higher: bool
    tasks: tuple[str, ...]

    def is_better(self, value: float, than: float | None) -> bool:
        """Return whether `value` beats the best so far; any number beats NaN."""
        if math.isnan(value):
            return False
        return than is None or math.isnan(than) or (value > than if self.higher else value < than)


def _accuracy(targets: Numbers, logits: Numbers) -> float:
    return float(np.mean(targets.argmax(axis=1) == logits.argmax(axis=1)))


def _f1(true: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """F1 of each column that occurs at all, averaged."""
    hits = (true & found).sum(axis=0)
    size = true.sum(axis=0) + found.sum(axis=0)
    occurs = size > 0
    return float(np.mean(2 * hits[occurs] / size[occurs])) if occurs.any() else math.nan


def _macro_f1(targets: Numbers, logits: Numbers) -> float:
    labels = np.arange(targets.shape[1])
    return _f1(targets.argmax(axis=1)[:, None] == labels, logits.argmax(axis=1)[:, None] == labels)


def _multi_macro_f1(targets: Numbers, logits: Numbers) -> float:
    return _f1(targets > 0.5, logits > 0.0)


def _micro_f1(targets: Numbers, logits: Numbers) -> float:
    return _f1((targets > 0.5).reshape(-1, 1), (logits > 0.0).reshape(-1, 1))


def _exact_match(targets: Numbers, logits: Numbers) -> float:
    return float(np.mean(((targets > 0.5) == (logits > 0.0)).all(axis=1)))


def log_loss(targets: Numbers, logits: Numbers) -> float:
    """Mean cross-entropy in nats of softmax(logits), without smoothing or weights."""
    highest = logits.max(axis=1, keepdims=True)
    shifted = logits - highest
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(targets * logs).sum(axis=1).mean())


def _binary_log_loss(targets: Numbers, logits: Numbers) -> float:
    losses = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    return float(losses.mean())


def _rmse(targets: Numbers, logits: Numbers) -> float:
    return float(np.sqrt(np.mean((targets - logits) ** 2)))


def _mae(targets: Numbers, logits: Numbers) -> float:
    return float(np.mean(np.abs(targets - logits)))


def _pearson(targets: Numbers, logits: Numbers) -> float:
    return _mean_correlation(targets, logits, lambda column: column)


def _spearman(targets: Numbers, logits: Numbers) -> float:
    return _mean_correlation(targets, logits, _ranks)


def _mean_correlation(
    targets: Numbers, logits: Numbers, transform: Callable[[Numbers], Numbers]
) -> float:
    """Mean over the outputs, whose numbers may be of different sizes."""
    columns = zip(targets.T, logits.T, strict=True)
    return float(np.mean([_correlation(transform(x), transform(y)) for x, y in columns]))


def _correlation(x: Numbers, y: Numbers) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size > 0 else math.nan


def _ranks(values: Numbers) -> Numbers:
    """Ranks from 0; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Numbers = ends - (counts + 1) / 2
    return means[places]


METRICS = {
    "accuracy": Metric(_accuracy, True, ("single",)),
    "macro_f1": Metric(_macro_f1, True, ("single",)),
    "log_loss": Metric(log_loss, False, ("single",)),
    "multi_macro_f1": Metric(_multi_macro_f1, True, ("multi",)),
    "micro_f1": Metric(_micro_f1, True, ("multi",)),
    "exact_match": Metric(_exact_match, True, ("multi",)),
    "binary_log_loss": Metric(_binary_log_loss, False, ("multi",)),
    "rmse": Metric(_rmse, False, ("regression",)),
    "mae": Metric(_mae, False, ("regression",)),
    "pearson": Metric(_pearson, True, ("regression",)),
    "spearman": Metric(_spearman, True, ("regression",)),
}
"""By name. A new metric needs its direction here; none is ever guessed from a name."""


DEFAULT_METRICS = {"single": "accuracy", "multi": "micro_f1", "regression": "rmse"}
"""The metric that the best evaluation is chosen by where none is named, by task."""


def compute_metrics(task: str, targets: NDArray[Any], logits: NDArray[Any]) -> dict[str, float]:
    """Compute every metric of the task, in float64; [texts, outputs] both."""
    wide = targets.astype(np.float64), logits.astype(np.float64)
    return {name: metric.compute(*wide) for name, metric in METRICS.items() if task in metric.tasks}


def check_metric(metric: str, targets: NDArray[Any]) -> None:
    """Raise OptionError for a metric that no prediction could have on these validation targets."""
    wide = targets.astype(np.float64)
    if math.isnan(METRICS[metric].compute(wide, wide)):
        raise OptionError(
            f"metric {metric}: is not defined on the validation texts, as all their targets are "
            "equal. Choose a different one with --metric, or different validation texts"
        )
