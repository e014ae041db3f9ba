"""The recipe: every value that decides the trained weights, besides base, data and versions.

Invariant: a Recipe is complete. Every value that the options leave open is decided here, from the
size of the base and of the data, before the first step, and is stored with the result.
"""

from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal

from isobatch.checkpoint import ModelConfig
from isobatch.drawing.display_text import counted
from isobatch.errors import OptionError
from isobatch.training.steps.validation_metrics import DEFAULT_METRICS, METRICS

TrainingTask = Literal["single", "multi", "regression"]
TASKS: tuple[TrainingTask, ...] = ("single", "multi", "regression")

TrainingPrecision = Literal["fp32", "bf16"]
PRECISIONS: tuple[TrainingPrecision, ...] = ("fp32", "bf16")

WANTED_STEPS = 1_000
MIN_EPOCHS, MAX_EPOCHS = 3, 20
"""Small data sets need more passes: Mosbach, Andriushchenko and Klakow 2021, "On the Stability of
Fine-tuning BERT"; Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning"."""

MAX_VALUE = 2**63


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained.

    batch_size: texts of a step. block_tokens: tokens of a gradient block, of which a step's
    gradient is the sum. learning_rate: the peak, of the head and the last block; each layer below
    has `layer_decay` times the rate of the one above. warm_up: share of the steps until the peak.
    clip_norm: the largest norm of a step's gradient. average_decay: of the exponential average of
    the weights, 0 for none. patience: evaluations without a better one until training ends.
    freeze: number of blocks, from the bottom, that keep their weights, with the embeddings.
    teacher_weight, teacher_temperature: of the soft targets of a teacher.
    """

    task: TrainingTask
    epochs: int
    batch_size: int
    block_tokens: int
    learning_rate: float
    layer_decay: float
    warm_up: float
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    clip_norm: float
    label_smoothing: float
    average_decay: float
    evaluations_per_epoch: int
    patience: int
    metric: str
    freeze: int
    seed: int
    precision: TrainingPrecision
    teacher_weight: float
    teacher_temperature: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def num_steps(self, num_texts: int) -> int:
        """Return the number of steps of all epochs."""
        return self.epochs * steps_per_epoch(num_texts, self.batch_size)


@dataclass(frozen=True, slots=True)
class RecipeOptions:
    """The values of a Recipe that a user may set; None leaves one to `complete_recipe`."""

    epochs: int | None = None
    batch_size: int = 32
    block_tokens: int = 256
    learning_rate: float | None = None
    layer_decay: float = 0.9
    warm_up: float = 0.1
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    average_decay: float | None = None
    evaluations_per_epoch: int = 2
    patience: int = 3
    metric: str | None = None
    freeze: int = 0
    seed: int = 0
    precision: TrainingPrecision = "fp32"
    teacher_weight: float = 0.7
    teacher_temperature: float = 2.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            number = _checked_number(name, getattr(self, name), low, high)
            object.__setattr__(self, name, number)
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision must be fp32 or bf16 in training, got {self.precision!r}")
        if self.metric is not None and self.metric not in METRICS:
            raise OptionError(
                f"metric {self.metric!r} is not known. Choose one of {', '.join(METRICS)}"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RecipeOptions":
        """Build options from the recipe of a train.json; OptionError for unknown names."""
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in values.items() if name != "task"}
        if unknown := sorted(given.keys() - known):
            raise OptionError(
                f"option {unknown[0]!r} is not supported. Use one of: {', '.join(sorted(known))}"
            )
        return cls(**given)


_BELOW_1 = 0.9999999

_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 10_000),
    "batch_size": (1, 65_536),
    "block_tokens": (16, 65_536),
    "learning_rate": (0.0, 1.0),
    "layer_decay": (0.0, 1.0),
    "warm_up": (0.0, 1.0),
    "weight_decay": (0.0, 1.0),
    "beta1": (0.0, _BELOW_1),
    "beta2": (0.0, _BELOW_1),
    "epsilon": (1e-30, 1.0),
    "clip_norm": (1e-30, 1e30),
    "label_smoothing": (0.0, 0.99),
    "average_decay": (0.0, _BELOW_1),
    "evaluations_per_epoch": (1, 10_000),
    "patience": (1, 10_000),
    "freeze": (0, 10_000),
    "seed": (0, MAX_VALUE),
    "teacher_weight": (0.0, 1.0),
    "teacher_temperature": (0.01, 100.0),
}
"""Smallest and largest value of each number."""

_WHOLE = (
    "epochs", "batch_size", "block_tokens", "evaluations_per_epoch", "patience", "freeze", "seed"
)  # fmt: skip


def steps_per_epoch(num_texts: int, batch_size: int) -> int:
    """Return the number of steps of an epoch, the last of which may have fewer texts."""
    return -(-num_texts // batch_size)


def complete_recipe(
    options: RecipeOptions, task: TrainingTask, config: ModelConfig, num_texts: int
) -> Recipe:
    """Decide what the options leave open.

    The rate of learning goes by the width: small encoders take 1e-4 to 3e-4 (Turc et al. 2019,
    "Well-Read Students Learn Better"), base ones 2e-5 to 5e-5 (Devlin et al. 2019).
    """
    layers = len(config.encoder.blocks)
    if options.freeze > layers:
        raise OptionError(
            f"freeze {options.freeze}: the model has only {counted(layers, 'block')}. Freeze "
            f"{layers} at most"
        )
    steps = steps_per_epoch(num_texts, options.batch_size)
    epochs = options.epochs or min(max(-(-WANTED_STEPS // steps), MIN_EPOCHS), MAX_EPOCHS)
    rate = options.learning_rate
    if rate is None:
        size = config.encoder.hidden_size
        rate = 1e-4 if size <= 384 else 5e-5 if size < 1024 else 2e-5
    decay = options.average_decay
    if decay is None:
        # The average covers about a tenth of an epoch, and of 1,000 steps at most.
        decay = 1.0 - 1.0 / min(max(steps // 10, 10), 1_000)
    metric = options.metric or DEFAULT_METRICS[task]
    usable = [name for name, each in METRICS.items() if not each.tasks or task in each.tasks]
    if metric not in usable:
        raise OptionError(
            f"metric {metric!r} is not defined for the task {task}. Choose one of "
            f"{', '.join(usable)}"
        )
    given = asdict(options) | {
        "task": task,
        "epochs": epochs,
        "learning_rate": rate,
        "average_decay": decay,
        "metric": metric,
    }
    return Recipe(**given)


def _checked_number(name: str, value: object, low: float, high: float) -> float | None:
    """Return a plain number, also for one of NumPy, as grids of parameters have them."""
    if value is None and name in ("epochs", "learning_rate", "average_decay"):
        return None
    is_whole = name in _WHOLE
    if not isinstance(value, bool) and isinstance(value, Integral if is_whole else Real):
        number = int(value) if isinstance(value, Integral) else float(value)
        if low <= number <= high:
            return number
    kind = "a whole number" if is_whole else "a number"
    limits = f"from {low:g} to {high:g}"
    if high == _BELOW_1:
        limits = f"of at least {low:g} and less than 1"
    raise OptionError(f"{name} must be {kind} {limits}, got {value!r}")
