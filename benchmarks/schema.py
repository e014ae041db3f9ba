"""The schema of a result file, as types.

Invariant: JSON gives everything here back unchanged, so a table rendered from the file equals the
one printed by the run that wrote it.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

Precision = Literal["fp32", "bf16", "int8"]


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
    after_bulk_mb: float


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
    """All figures of one engine on one checkpoint."""

    label: str
    precision: Precision
    batch_size: int  # 0: chosen by the engine
    batch_size_seconds: dict[str, float]  # seconds of each size tried before the run
    settings: str
    details: dict[str, Any]
    difference_from_reference: float | None  # maximum over all logits
    error_over_spread: float | None  # as `equivalence` defines it
    bulk: Bulk
    one_text: OneText
    memory: Memory
    bits: Bits
    idle: Idle


class CriterionResult(TypedDict):
    """An acceptance criterion: `got` is None where an engine that it needs was left out."""

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
    bars: list[CriterionResult]


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
    bars: list[CriterionResult]


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
    bars: list[CriterionResult]


class Result(TypedDict):
    """A result file; None and an empty `checkpoints` mean parts left out."""

    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    protocol: dict[str, Any]
    checkpoints: dict[str, CheckpointResult]
    accuracy: AccuracyResult | None
    scaling: ScalingResult | None


EngineResults = Mapping[str, EngineResult]
