"""The README's table of speed: a row for each engine and precision, a column for each machine.

Each engine has its best setting of a run: of those of one library in one precision, the fastest.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

from benchmarks.acceptance import bulk_speed
from benchmarks.engines import PRECISIONS
from benchmarks.machine_kinds import MachineKind
from benchmarks.schema import EngineResult, Precision, Result
from benchmarks.table_rows import row

Line = tuple[str, Precision]
"""A library and a precision: a line of the table."""


def render_summary(results: Sequence[tuple[MachineKind, Result]]) -> str:
    """Render texts/s on the first checkpoint of each result, with machines and dates below."""
    columns = [_best(result) for _, result in results]
    lines = dict.fromkeys(chain.from_iterable(columns))
    ordered = sorted(lines, key=lambda line: PRECISIONS.index(line[1]))  # stable
    head = row("engine", "precision", *(f"texts/s, {kind.title}" for kind, _ in results))
    rule = "|---|---|" + "---:|" * len(results)
    rows = [row(*line, *(_speed(column, line) for column in columns)) for line in ordered]
    return "\n".join([head, rule, *rows, "", _note(results)])


def _best(result: Result) -> dict[Line, EngineResult]:
    """Return the fastest setting of each library in each precision, Isobatch first."""
    engines = next(iter(result["checkpoints"].values()))["engines"]
    found: dict[Line, EngineResult] = {}
    for name, engine in sorted(engines.items(), key=lambda item: "isobatch" not in item[0]):
        line = (engine["label"].partition(",")[0], engine["precision"])
        speed, best = bulk_speed(engine), found.get(line)
        if speed is not None and (best is None or speed > (bulk_speed(best) or 0)):
            found[line] = engines[name]
    return found


def _speed(column: Mapping[Line, EngineResult], line: Line) -> str:
    """Show texts/s, and how many times as fast Isobatch is."""
    ours, engine = column.get(("Isobatch", line[1])), column.get(line)
    if engine is None:
        return "–"
    speed, own = bulk_speed(engine), ours and bulk_speed(ours)
    if engine is ours or not own or not speed:
        return f"**{speed:.0f}**"
    return f"{speed:.0f} ({own / speed:.2f}×)"


def _note(results: Sequence[tuple[MachineKind, Result]]) -> str:
    first = next(iter(results[0][1]["checkpoints"].values()))
    machines = "; ".join(
        f"{kind.title}: {result['machine']['cpu']}, {result['date'][:10]}, "
        f"{result['protocol']['threads']} threads"
        for kind, result in results
    )
    return (
        f"{first['title']}; short and long texts mixed; in brackets, how many times as fast "
        f"Isobatch is. {machines}."
    )
