"""The acceptance criteria: targets for Isobatch's figures, and how each is taken from a run.

Invariant: a criterion is judged only where everything that it names was measured; "the best of" is
the best of these engines on that figure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.engines import OURS
from benchmarks.schema import (
    CriterionResult,
    EngineResult,
    EngineResults,
    Precision,
    PrecisionAccuracy,
    ScalingSize,
)

_TRANSFORMERS = ("transformers-arrival", "transformers-sorted")
_FP32_PEERS = ("onnxruntime", "openvino", "ctranslate2")
_BF16_PEERS = ("openvino-bf16",)
_INT8_PEERS = ("onnxruntime-int8", "ctranslate2-int8")

_LARGEST_POINTS = 0.3
_SMALLEST_SAME_LABEL = 99.0
_LARGEST_GROWTH = 1.1


@dataclass(frozen=True)
class Criterion:
    """A target for one figure; `only` is the checkpoint it applies to, None for all."""

    name: str
    direction: str  # "at least" or "at most"
    target: float
    against: tuple[str, ...]
    got: Callable[[EngineResult, list[EngineResult]], float]
    precision: Precision = "fp32"
    only: str | None = "base"


def _bulk_speed(result: EngineResult) -> float:
    return result["bulk"]["texts_per_second"]


def _latency(result: EngineResult) -> float:
    return result["one_text"]["p50"]


def _memory(result: EngineResult) -> float:
    return result["memory"]["after_bulk_mb"]


def _times_as_fast(ours: EngineResult, theirs: list[EngineResult]) -> float:
    return _bulk_speed(ours) / max(_bulk_speed(result) for result in theirs)


def _latency_ratio(ours: EngineResult, theirs: list[EngineResult]) -> float:
    return _latency(ours) / min(_latency(result) for result in theirs)


def _memory_ratio(ours: EngineResult, theirs: list[EngineResult]) -> float:
    return _memory(ours) / min(_memory(result) for result in theirs)


def _changed_rows(ours: EngineResult, _theirs: list[EngineResult]) -> float:
    return ours["bits"]["changed"]


def _speed_criterion(
    target: float, what: str, against: tuple[str, ...], precision: Precision = "fp32"
) -> Criterion:
    name = f"{precision}, bulk, times as fast as {what}"
    return Criterion(name, "at least", target, against, _times_as_fast, precision)


def _latency_criterion(
    what: str, against: tuple[str, ...], precision: Precision = "fp32"
) -> Criterion:
    name = f"{precision}, one text, p50 over {what}"
    return Criterion(name, "at most", 1.0, against, _latency_ratio, precision)


def _bits_criterion(precision: Precision) -> Criterion:
    name = f"{precision}, rows whose bits changed"
    return Criterion(name, "at most", 0, (), _changed_rows, precision, only=None)


_BEST_FP32 = "the best of ONNX Runtime, OpenVINO and CTranslate2"
_BEST_BF16 = "OpenVINO in bf16"
_BEST_INT8 = "the best of ONNX Runtime and CTranslate2 in int8"

CRITERIA: tuple[Criterion, ...] = (
    _speed_criterion(2.5, "transformers in arrival order", _TRANSFORMERS[:1]),
    _speed_criterion(1.3, "transformers sorted", _TRANSFORMERS[1:]),
    _speed_criterion(1.15, _BEST_FP32, _FP32_PEERS),
    _latency_criterion("that of transformers", _TRANSFORMERS),
    _latency_criterion(_BEST_FP32, _FP32_PEERS),
    Criterion(
        "fp32, bulk, peak memory over transformers", "at most", 1.0, _TRANSFORMERS, _memory_ratio
    ),
    _bits_criterion("fp32"),
    _speed_criterion(1.4, _BEST_BF16, _BF16_PEERS, "bf16"),
    _latency_criterion(_BEST_BF16, _BF16_PEERS, "bf16"),
    _bits_criterion("bf16"),
    _speed_criterion(1.5, _BEST_INT8, _INT8_PEERS, "int8"),
    _latency_criterion(_BEST_INT8, _INT8_PEERS, "int8"),
    _bits_criterion("int8"),
)


def judge(checkpoint: str, engines: EngineResults) -> list[CriterionResult]:
    """Judge every criterion that applies to the checkpoint."""
    return [_judge(each, engines) for each in CRITERIA if each.only in (None, checkpoint)]


def judge_accuracy(precisions: Mapping[str, PrecisionAccuracy]) -> list[CriterionResult]:
    """Judge the accuracy of bf16 and int8 compared with fp32."""
    results = []
    for name in ("bf16", "int8"):
        one = precisions.get(name)
        points = None if one is None else abs(one["points_from_fp32"])
        same = None if one is None else one["same_label_percent"]
        results += [
            _compare(f"{name}, points of accuracy from fp32", "at most", _LARGEST_POINTS, points),
            _compare(f"{name}, same label as fp32, %", "at least", _SMALLEST_SAME_LABEL, same),
        ]
    return results


def judge_scaling(sizes: Sequence[ScalingSize]) -> list[CriterionResult]:
    """Judge how time and memory grow with the number of texts."""
    per_token = [size["microseconds_per_token"] for size in sizes]
    by_texts = sorted(sizes, key=lambda size: size["texts"])
    smallest, largest = by_texts[0], by_texts[-1]
    return [
        _compare(
            "time a token, the slowest size over the fastest",
            "at most",
            _LARGEST_GROWTH,
            max(per_token) / min(per_token),
        ),
        _compare(
            f"peak memory, {largest['texts']:,} texts over {smallest['texts']:,}",
            "at most",
            _LARGEST_GROWTH,
            largest["peak_memory_mb"] / smallest["peak_memory_mb"],
        ),
    ]


def _judge(criterion: Criterion, engines: EngineResults) -> CriterionResult:
    got, ours = None, OURS[criterion.precision]
    if all(name in engines for name in (ours, *criterion.against)):
        got = criterion.got(engines[ours], [engines[name] for name in criterion.against])
    return _compare(criterion.name, criterion.direction, criterion.target, got)


def _compare(name: str, direction: str, target: float, got: float | None) -> CriterionResult:
    met = None
    if got is not None:
        met = got >= target if direction == "at least" else got <= target
    return {"name": name, "direction": direction, "wanted": target, "got": got, "met": met}
