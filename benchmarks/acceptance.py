"""The acceptance criteria: targets for Isobatch's figures, and how each is taken from a run.

Judged when a result is shown, by the targets of its kind of machine. Invariant: a criterion is
judged only where everything that it names was measured; "the best of" is the best of these engines
on that figure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.engines import OURS
from benchmarks.machine_kinds import MachineKind
from benchmarks.schema import (
    CriterionResult,
    EngineResult,
    EngineResults,
    InstructionSetBits,
    Precision,
    PrecisionAccuracy,
    ScalingSize,
    Turn,
)

_TRANSFORMERS = ("transformers-arrival", "transformers-sorted")

SPEED_TARGETS: dict[str, dict[tuple[Precision, Turn], float]] = {
    "avx512-vnni-bf16": {
        ("fp32", "bulk"): 1.30,
        ("fp32", "one"): 1.05,
        ("bf16", "bulk"): 1.40,
        ("bf16", "one"): 1.10,
        ("int8", "bulk"): 1.60,
        ("int8", "one"): 1.05,
    },
    "avx2": {
        ("fp32", "bulk"): 1.20,
        ("fp32", "one"): 1.10,
        ("int8", "bulk"): 1.40,
        ("int8", "one"): 1.05,
    },
}
"""Times as fast as the best of ONNX Runtime, OpenVINO and CTranslate2, by kind of machine."""

INT8_OVER_FP32 = 1.0
"""int8 is never slower than fp32."""

PRODUCT_SHARE, BLOCK_SHARE = 0.90, 0.85
"""Of the peak of the instructions: of a product alone, and of a whole block."""

COLD_START_SECONDS = 0.6
"""`isobatch classify` in a new process, over `import torch` in a new process."""

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
    got: Callable[[EngineResult, list[EngineResult]], float | None]
    precision: Precision = "fp32"
    only: str | None = "base"


def bulk_speed(result: EngineResult) -> float | None:
    """Return texts a second in bulk."""
    return result["bulk"]["texts_per_second"] if result["bulk"] else None


def one_text_latency(result: EngineResult) -> float | None:
    """Return the p50 of one text in milliseconds."""
    return result["one_text"]["p50"] if result["one_text"] else None


def _times_as_fast(ours: EngineResult, theirs: list[EngineResult]) -> float | None:
    return _ratio(bulk_speed(ours), _best(max, map(bulk_speed, theirs)))


def _latency_ratio(ours: EngineResult, theirs: list[EngineResult]) -> float | None:
    return _ratio(one_text_latency(ours), _best(min, map(one_text_latency, theirs)))


def _memory_ratio(ours: EngineResult, theirs: list[EngineResult]) -> float | None:
    memory = [each["memory"]["after_bulk_mb"] for each in (ours, *theirs)]
    return _ratio(memory[0], _best(min, memory[1:]))


def _changed_rows(ours: EngineResult, _theirs: list[EngineResult]) -> float | None:
    return ours["bits"]["changed"] if ours["bits"] else None


def _best(choose: Callable[[list[float]], float], figures: Iterable[float | None]) -> float | None:
    measured = [figure for figure in figures if figure is not None]
    return choose(measured) if measured else None


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours / theirs


def _bits_criterion(precision: Precision) -> Criterion:
    name = f"{precision}, rows whose bits changed in a batch"
    return Criterion(name, "at most", 0, (), _changed_rows, precision, only=None)


CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        "fp32, bulk, times as fast as transformers in arrival order",
        "at least",
        2.5,
        _TRANSFORMERS[:1],
        _times_as_fast,
    ),
    Criterion(
        "fp32, bulk, times as fast as transformers sorted",
        "at least",
        1.3,
        _TRANSFORMERS[1:],
        _times_as_fast,
    ),
    Criterion(
        "fp32, one text, p50 over that of transformers",
        "at most",
        1.0,
        _TRANSFORMERS,
        _latency_ratio,
    ),
    Criterion(
        "fp32, bulk, peak memory over transformers", "at most", 1.0, _TRANSFORMERS, _memory_ratio
    ),
    _bits_criterion("fp32"),
    _bits_criterion("bf16"),
    _bits_criterion("int8"),
)


def speed_target(kind: MachineKind, precision: Precision, turn: Turn) -> float | None:
    """Return the target of Isobatch ÷ the best other engine; None where none is set."""
    return SPEED_TARGETS.get(kind.name, {}).get((precision, turn))


def judge(checkpoint: str, engines: EngineResults) -> list[CriterionResult]:
    """Judge every criterion that applies to the checkpoint; not those of left out precisions."""
    return [
        _judge(each, engines)
        for each in CRITERIA
        if each.only in (None, checkpoint) and OURS[each.precision] in engines
    ]


def judge_accuracy(precisions: Mapping[str, PrecisionAccuracy]) -> list[CriterionResult]:
    """Judge the accuracy of bf16 and int8 compared with fp32, where they were measured."""
    results = []
    for name in ("bf16", "int8"):
        if one := precisions.get(name):
            points, same = abs(one["points_from_fp32"]), one["same_label_percent"]
            results += [
                compare(
                    f"{name}, points of accuracy from fp32", "at most", _LARGEST_POINTS, points
                ),
                compare(f"{name}, same label as fp32, %", "at least", _SMALLEST_SAME_LABEL, same),
            ]
    return results


def judge_scaling(sizes: Sequence[ScalingSize]) -> list[CriterionResult]:
    """Judge how time and memory grow with the number of texts."""
    per_token = [size["microseconds_per_token"] for size in sizes]
    by_texts = sorted(sizes, key=lambda size: size["texts"])
    smallest, largest = by_texts[0], by_texts[-1]
    return [
        compare(
            "time a token, the slowest size over the fastest",
            "at most",
            _LARGEST_GROWTH,
            max(per_token) / min(per_token),
        ),
        compare(
            f"peak memory, {largest['texts']:,} texts over {smallest['texts']:,}",
            "at most",
            _LARGEST_GROWTH,
            largest["peak_memory_mb"] / smallest["peak_memory_mb"],
        ),
    ]


def judge_bits(bits: InstructionSetBits) -> CriterionResult:
    """Judge that no text has other bits with any instruction set, batch, order or threads."""
    changed = [each["changed"] for of in bits["sets"].values() for each in of.values()]
    name = "rows with other bits between instruction sets, batches, orders and numbers of threads"
    return compare(name, "at most", 0, sum(changed) if changed else None)


def judge_cold_start(seconds: float) -> CriterionResult:
    """Judge the seconds of `isobatch classify` over `import torch`."""
    name = "cold `isobatch classify`, seconds over `import torch`"
    return compare(name, "at most", COLD_START_SECONDS, seconds)


def _judge(criterion: Criterion, engines: EngineResults) -> CriterionResult:
    got, ours = None, OURS[criterion.precision]
    if all(name in engines for name in (ours, *criterion.against)):
        got = criterion.got(engines[ours], [engines[name] for name in criterion.against])
    return compare(criterion.name, criterion.direction, criterion.target, got)


def compare(name: str, direction: str, target: float, got: float | None) -> CriterionResult:
    """Compare a figure with its target."""
    met = None
    if got is not None:
        met = got >= target if direction == "at least" else got <= target
    return {"name": name, "direction": direction, "wanted": target, "got": got, "met": met}
