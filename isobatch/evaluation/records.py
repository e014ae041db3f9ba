"""Records of an evaluation: its inputs Example and RowError, its result Evaluation.

Invariant: an Evaluation holds plain values only, without NaN, so that it can be written as JSON.
"""

from dataclasses import dataclass

from isobatch.tasks import Prediction
from isobatch.types import TextInput


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled text and its prediction; `expected` is an index of the checkpoint's labels.

    place: file and line, such as "dev.csv:17". slice: the row's value in the column by which the
    metrics are also computed, if there is one. empty: the text is empty or white space.
    """

    place: str
    text: TextInput
    expected: int
    prediction: Prediction
    slice: str | None = None
    empty: bool = False


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that could not be classified, and the reason."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Metrics of one label; None is a ratio whose denominator is 0 texts.

    support: number of texts that were expected to have the label. roc_auc: of this label against
    the rest.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    num_predicted: int
    roc_auc: float | None = None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The texts with a confidence above `lower` and at most `upper`; None for ratios of no texts.

    The first bin also holds a confidence of 0.
    """

    lower: float
    upper: float
    count: int
    mean_confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """A text with a wrong prediction; `score` is that of the predicted label."""

    place: str
    text: TextInput
    expected: str
    predicted: str
    score: float


@dataclass(frozen=True, slots=True)
class Slice:
    """The metrics over the rows with one `value` in the column of --by, as in Evaluation.

    Without a text that was classified, each metric is None.
    """

    value: str
    num_texts: int
    num_errors: int
    num_unlabelled: int
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    macro_f1: float | None
    weighted_f1: float | None
    mcc: float | None
    roc_auc: float | None
    mean_confidence: float | None
    calibration_error: float | None
    undefined: dict[str, str]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics over the `num_texts` texts that were classified.

    num_errors counts the rows that were not, and num_unlabelled those that were left out as they
    have no label; neither enter any other number. errors: the first of them.
    num_truncated, num_empty: texts that were truncated, and that are empty or white space.
    accuracy_interval: 95 % confidence, Wilson's, for texts drawn independently.
    macro_f1: over the labels that were expected or predicted at all, as scikit-learn has it;
    weighted_f1: by the number of texts of each label; micro_f1: equal to the accuracy.
    mcc: Matthews' correlation coefficient. roc_auc: area under the ROC curve, by logits where there
    are logits; of several labels the mean of each against the rest, over those that have one.
    undefined: why a metric is None, by its name. notes: how the labels were read.
    confusion: counts, [labels, labels]; rows are expected, columns predicted.
    calibration_error: Naeini et al. 2015, over `reliability`; see isobatch.evaluation.metrics.
    mistakes: the most confident first; of two alike, the earlier.
    facts: checkpoint, file and versions by the caller, as the report shows them. task: the task
    that was evaluated, as in the results of others.
    """

    labels: tuple[str, ...]
    num_texts: int
    num_errors: int
    num_unlabelled: int
    num_truncated: int
    num_empty: int
    num_correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    micro_f1: float
    weighted_f1: float
    mcc: float | None
    roc_auc: float | None
    mean_confidence: float
    calibration_error: float
    undefined: dict[str, str]
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    mistakes: tuple[Mistake, ...]
    errors: tuple[RowError, ...]
    facts: dict[str, str]
    notes: tuple[str, ...] = ()
    slice_column: str | None = None
    slices: tuple[Slice, ...] = ()
    task: str = "classification"
