"""Events of a run, as plain data: for the log, the progress display and a callback."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step of the optimizer; steps and epochs count from 1.

    loss: the mean of its texts. seconds: since the run began.
    """

    step: int
    num_steps: int
    epoch: int
    loss: float
    gradient_norm: float
    learning_rate: float
    texts: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation. weights: "raw" or "average", whichever was better.

    loss: the mean of the training texts since the last evaluation. best: whether it is the best so
    far. digest: SHA-256 of the raw weights.
    """

    step: int
    num_steps: int
    epoch: int
    weights: str
    metric: str
    value: float
    metrics: dict[str, float]
    other_metrics: dict[str, float]
    loss: float
    best: bool
    evaluations_without_better: int
    digest: str
    seconds: float


Event = StepDone | Evaluated
EventCallback = Callable[[Event], None]


def event_fields(event: Event) -> dict[str, Any]:
    """Return an event as plain values, with its kind under "event"."""
    kind = "step" if isinstance(event, StepDone) else "evaluation"
    return {"event": kind, **asdict(event)}


def plain_json(value: Any) -> Any:
    """Return plain values for JSON, which has no NaN: null, as an undefined metric has no value."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
