"""What Isobatch has to reach, as data, and how each figure is taken from a run.

It knows the result's shape and no engine's code. Invariant: a bar is judged only where every engine
that it names was measured; "the best of" is the fastest of them on that figure.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.schema import BarResult, EngineResult, EngineResults

_TRANSFORMERS = ("transformers-arrival", "transformers-sorted")
_OTHERS = ("onnxruntime", "openvino", "ctranslate2")

Figure = Callable[[EngineResult], float]


@dataclass(frozen=True)
class Bar:
    """One bar. `only` names the checkpoint that it holds for; None means every one."""

    name: str
    direction: str  # "at least" or "at most"
    wanted: float
    against: tuple[str, ...]
    got: Callable[[EngineResult, list[EngineResult]], float]
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


BARS: tuple[Bar, ...] = (
    Bar(
        "bulk, times as fast as transformers in arrival order",
        "at least",
        2.5,
        _TRANSFORMERS[:1],
        _times_as_fast,
    ),
    Bar(
        "bulk, times as fast as transformers sorted",
        "at least",
        1.3,
        _TRANSFORMERS[1:],
        _times_as_fast,
    ),
    Bar(
        "bulk, times as fast as the best of ONNX Runtime, OpenVINO and CTranslate2",
        "at least",
        1.05,
        _OTHERS,
        _times_as_fast,
    ),
    Bar("one text, p50 over that of transformers", "at most", 1.0, _TRANSFORMERS, _latency_ratio),
    Bar(
        "one text, p50 over the best of ONNX Runtime, OpenVINO and CTranslate2",
        "at most",
        1.15,
        _OTHERS,
        _latency_ratio,
    ),
    Bar("bulk, peak memory over transformers", "at most", 1.0, _TRANSFORMERS, _memory_ratio),
    Bar("rows whose bits changed", "at most", 0, (), _changed_rows, only=None),
)


def judge(checkpoint: str, engines: EngineResults) -> list[BarResult]:
    """Judge every bar that holds for the checkpoint."""
    return [_judge(bar, engines) for bar in BARS if bar.only in (None, checkpoint)]


def _judge(bar: Bar, engines: EngineResults) -> BarResult:
    got, met = None, None
    if all(name in engines for name in ("isobatch", *bar.against)):
        got = bar.got(engines["isobatch"], [engines[name] for name in bar.against])
        met = got >= bar.wanted if bar.direction == "at least" else got <= bar.wanted
    return {
        "name": bar.name,
        "direction": bar.direction,
        "wanted": bar.wanted,
        "got": got,
        "met": met,
    }
