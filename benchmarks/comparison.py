"""Isobatch compared with the best other engine, for each precision in bulk and one text at a time.

All ratios are speeds of one run: above 1, Isobatch is faster. Invariant: the best engine is chosen
separately for each figure, so that one engine's batches are never compared with another's latency.
"""

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.acceptance import INT8_OVER_FP32, bulk_speed, one_text_latency, speed_target
from benchmarks.engines import OURS, PEERS, PRECISIONS
from benchmarks.machine_kinds import MachineKind
from benchmarks.schema import EngineResult, Precision, Turn

TURNS: tuple[Turn, ...] = ("bulk", "one")
TURN_TITLES: dict[Turn, str] = {"bulk": "bulk", "one": "one text"}


class Comparison(NamedTuple):
    """Isobatch's figure and that of the best other: texts a second, or milliseconds of a text."""

    name: str
    turn: Turn
    ours: float
    best: str
    theirs: float
    target: float | None

    @property
    def ratio(self) -> float:
        """Isobatch's speed over the other's."""
        return self.ours / self.theirs if self.turn == "bulk" else self.theirs / self.ours

    @property
    def is_met(self) -> bool | None:
        """None where no target is set."""
        return None if self.target is None else self.ratio >= self.target


def compare_engines(kind: MachineKind, engines: Mapping[str, EngineResult]) -> list[Comparison]:
    """Compare each precision with the best of its peers, then int8 with fp32."""
    found = [
        _with_peers(kind, engines, precision, turn) for precision in PRECISIONS for turn in TURNS
    ]
    found += [_int8_with_fp32(engines, turn) for turn in TURNS]
    return [each for each in found if each is not None]


def _with_peers(
    kind: MachineKind, engines: Mapping[str, EngineResult], precision: Precision, turn: Turn
) -> Comparison | None:
    ours = _figure(engines.get(OURS[precision]), turn)
    figures = {name: _figure(engines.get(name), turn) for name in PEERS[precision]}
    measured = {name: figure for name, figure in figures.items() if figure is not None}
    if ours is None or not measured:
        return None
    best = (max if turn == "bulk" else min)(measured, key=lambda name: measured[name])
    target = speed_target(kind, precision, turn)
    name = f"{precision}, {TURN_TITLES[turn]}"
    return Comparison(name, turn, ours, title(engines[best]), measured[best], target)


def _int8_with_fp32(engines: Mapping[str, EngineResult], turn: Turn) -> Comparison | None:
    int8 = _figure(engines.get(OURS["int8"]), turn)
    fp32 = _figure(engines.get(OURS["fp32"]), turn)
    if int8 is None or fp32 is None:
        return None
    name = f"int8 compared with fp32, {TURN_TITLES[turn]}"
    return Comparison(name, turn, int8, "Isobatch in fp32", fp32, INT8_OVER_FP32)


def title(engine: EngineResult) -> str:
    """Return an engine's name with its batch size."""
    batch = f", batch {engine['batch_size']}" if engine["batch_size"] else ""
    return engine["label"] + batch


def _figure(engine: EngineResult | None, turn: Turn) -> float | None:
    if engine is None:
        return None
    return bulk_speed(engine) if turn == "bulk" else one_text_latency(engine)
