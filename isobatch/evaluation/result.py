"""The nouns of evaluation: Example and RowError go in, an Evaluation comes out.

No library here beside the standard one, and no arithmetic. Invariant: all are immutable, and an
Evaluation holds plain values only, so that it goes into JSON as it is, without NaN.
"""

from dataclasses import asdict, dataclass

from isobatch.tasks import Prediction
from isobatch.types import TextInput


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text and its answer; `expected` is an index of the checkpoint's labels.

    place: where it came from, as its reader would look for it, such as "dev.csv:17".
    """

    place: str
    text: TextInput
    expected: int
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that could not be classified, and why."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One label. None is a ratio without a denominator: 0 texts expected, or 0 predicted.

    support: how many texts were expected to have the label.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    num_predicted: int


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The texts whose confidence is above `lower` and at most `upper`; None where there are none.

    The first bin also holds a confidence of 0.
    """

    lower: float
    upper: float
    count: int
    mean_confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """A text whose answer is not the expected label; `score` is that of the predicted one."""

    place: str
    text: TextInput
    expected: str
    predicted: str
    score: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the answers are worth, over the `num_texts` that were classified.

    num_errors counts rows that were not; they are in no other number. errors: the first of them.
    accuracy_interval: 95 % confidence, Wilson's, for texts drawn independently.
    macro_f1: over the labels that were expected or predicted at all, as scikit-learn has it.
    confusion: counts, [labels, labels]; rows are expected, columns predicted.
    calibration_error: Naeini et al. 2015, over `reliability`; see isobatch.evaluation.calibration.
    mistakes: the most confident first; of two alike, the earlier.
    facts: what the caller knows of checkpoint, file and versions, as the report shows it.
    """

    labels: tuple[str, ...]
    num_texts: int
    num_errors: int
    num_truncated: int
    num_correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    mean_confidence: float
    calibration_error: float
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    mistakes: tuple[Mistake, ...]
    errors: tuple[RowError, ...]
    facts: dict[str, str]

    def as_dict(self) -> dict[str, object]:
        """The evaluation as plain values, for JSON."""
        return asdict(self)
