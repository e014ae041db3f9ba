"""The shape of a result file, as types: what `measure` writes, `bars` and `table` read.

It holds no logic. Invariant: everything here is what JSON gives back unchanged, so a table rendered
from the file equals the one printed by the run that wrote it.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

Precision = Literal["fp32", "bf16", "int8"]


class Bulk(TypedDict):
    """Passes over the whole job, one a round."""

    seconds: list[float]
    median_seconds: float
    texts_per_second: float


class OneText(TypedDict):
    """Texts asked one at a time: a list of milliseconds for each round."""

    milliseconds: list[list[float]]
    p50: float
    p95: float


class Memory(TypedDict):
    """Peak resident memory of the process: once loaded, and after all bulk rounds."""

    after_load_mb: float
    after_bulk_mb: float


class Bits(TypedDict):
    """Rows whose float32 bits in some batch were not those of the text alone."""

    rows: int
    changed: int
    largest_difference: float
    label_flips: int


class Idle(TypedDict):
    """Time spent waiting while others worked, and the processor time that went into it."""

    seconds: float
    cpu_seconds: float


class EngineResult(TypedDict):
    """All figures of one engine on one checkpoint."""

    label: str
    precision: Precision
    batch_size: int  # 0: the engine plans its own batches
    batch_size_seconds: dict[str, float]  # of the sizes tried before the run
    settings: str
    details: dict[str, Any]
    difference_from_reference: float | None  # the largest, of all logits
    error_over_spread: float | None  # of the logits, as `answers` defines it
    bulk: Bulk
    one_text: OneText
    memory: Memory
    bits: Bits
    idle: Idle


class BarResult(TypedDict):
    """One thing to be reached: `got` is None where an engine that it needs was left out."""

    name: str
    direction: str
    wanted: float
    got: float | None
    met: bool | None


class CheckpointResult(TypedDict):
    """One checkpoint, one mix of texts, every engine."""

    title: str
    sha256: str
    mix: dict[str, int]
    engines: dict[str, EngineResult]
    bars: list[BarResult]


class PrecisionAccuracy(TypedDict):
    """Isobatch's answers to labelled texts in one precision, beside its answers in fp32."""

    accuracy_percent: float
    points_from_fp32: float
    same_label_percent: float
    largest_difference: float


class AccuracyResult(TypedDict):
    """The bundled model on labelled texts, in every precision asked for; fp32 is always there."""

    texts: int
    precisions: dict[str, PrecisionAccuracy]
    bars: list[BarResult]


class ScalingSize(TypedDict):
    """One number of texts through `Classifier.stream`: a run is a process of its own."""

    texts: int
    tokens: int
    seconds: list[float]
    median_seconds: float
    microseconds_per_token: float
    peak_memory_mb: float  # the median of the runs


class ScalingResult(TypedDict):
    """The bundled model on ever more texts."""

    precision: Precision
    sizes: list[ScalingSize]
    bars: list[BarResult]


class Result(TypedDict):
    """A whole result file; None and an empty `checkpoints` stand for parts left out."""

    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    protocol: dict[str, Any]
    checkpoints: dict[str, CheckpointResult]
    accuracy: AccuracyResult | None
    scaling: ScalingResult | None


EngineResults = Mapping[str, EngineResult]
