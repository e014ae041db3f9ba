"""The schema of a result file, as types.

Invariant: JSON gives everything here back unchanged, so a table rendered from the file equals the
one printed by the run that wrote it.
"""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

Precision = Literal["fp32", "bf16", "int8"]
Turn = Literal["bulk", "one"]
"""A timed task: the whole workload in one call, or one text a call."""


class Bulk(TypedDict):
    """Passes over the whole workload, one a round."""

    seconds: list[float]
    median_seconds: float
    texts_per_second: float


class OneText(TypedDict):
    """Texts classified one at a time: a list of milliseconds for each round."""

    milliseconds: list[list[float]]
    p50: float
    p95: float


class Memory(TypedDict):
    """Peak resident memory of the process: after loading, and after all bulk rounds."""

    after_load_mb: float
    after_bulk_mb: float | None


class Bits(TypedDict):
    """Rows whose float32 bits in some batch differ from those of the text alone."""

    rows: int
    changed: int
    largest_difference: float
    label_flips: int


class Idle(TypedDict):
    """Time spent waiting while others worked, and the processor time used meanwhile."""

    seconds: float
    cpu_seconds: float


class EngineResult(TypedDict):
    """All figures of one engine on one checkpoint; None: not selected by --only."""

    label: str
    precision: Precision
    batch_size: int  # 0: chosen by the engine
    batch_size_seconds: dict[str, float]  # seconds of each size tried before the run
    settings: str
    details: dict[str, Any]
    difference_from_reference: float | None  # maximum over all logits
    error_over_spread: float | None  # as `equivalence` defines it
    bulk: Bulk | None
    one_text: OneText | None
    memory: Memory
    bits: Bits | None
    idle: Idle


class CriterionResult(TypedDict):
    """An acceptance criterion; `got` is None where something that it needs was not measured."""

    name: str
    direction: str
    wanted: float
    got: float | None
    met: bool | None


class CheckpointResult(TypedDict):
    """Every engine on one checkpoint and one mix of texts."""

    title: str
    sha256: str
    mix: dict[str, int]
    engines: dict[str, EngineResult]
    left_out: NotRequired[dict[str, str]]  # engine: why this machine does not support it


class PrecisionAccuracy(TypedDict):
    """Isobatch on labelled texts in one precision, compared with fp32."""

    accuracy_percent: float
    points_from_fp32: float
    same_label_percent: float
    largest_difference: float


class AccuracyResult(TypedDict):
    """The bundled model on labelled texts, in fp32 and in every requested precision."""

    texts: int
    precisions: dict[str, PrecisionAccuracy]


class ScalingSize(TypedDict):
    """A number of texts through `Classifier.stream`; each run is a process of its own."""

    texts: int
    tokens: int
    seconds: list[float]
    median_seconds: float
    microseconds_per_token: float
    peak_memory_mb: float  # the median of the runs


class ScalingResult(TypedDict):
    """The bundled model on an increasing number of texts."""

    precision: Precision
    sizes: list[ScalingSize]


class Rates(TypedDict):
    """The rates of one precision with one number of threads."""

    peak: float  # 10^9 operations a second of the instructions alone
    fp32_peak: float  # the same of fp32's instructions, in which attention is computed
    products: dict[str, float]  # shape: 10^9 operations a second
    block_seconds: float


class InstructionSetRates(TypedDict):
    """One precision with one instruction set: the instructions, and rates by number of threads."""

    instructions: str
    threads: dict[str, Rates]


class KernelRates(TypedDict):
    """Products and blocks of each instruction set that the machine has: set, precision, rates."""

    block: str
    sets: dict[str, dict[str, InstructionSetRates]]
    left_out: dict[str, str]  # set, or set and precision: why


class EqualBits(TypedDict):
    """Texts whose bits differ from those of the first instruction set with this arithmetic."""

    arithmetic: str
    rows: int
    changed: int


class InstructionSetBits(TypedDict):
    """Each instruction set and precision in several batches, orders and numbers of threads."""

    passes: str
    sets: dict[str, dict[str, EqualBits]]
    left_out: dict[str, str]


class ColdStart(TypedDict):
    """Seconds of new processes: the command with one text, and `import torch` alone."""

    command: str
    classify: list[float]
    import_torch: list[float]


class Result(TypedDict):
    """A result file; None, an empty `checkpoints` or no key mean parts left out."""

    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    protocol: dict[str, Any]
    checkpoints: dict[str, CheckpointResult]
    accuracy: AccuracyResult | None
    scaling: ScalingResult | None
    kernels: NotRequired[KernelRates | None]
    bits: NotRequired[InstructionSetBits | None]
    cold_start: NotRequired[ColdStart | None]


EngineResults = Mapping[str, EngineResult]
