"""A result file as Markdown: a table for each checkpoint and part, machine and versions.

`python -m benchmarks.table FILE` prints it; docs/benchmarks.md and RESULTS.md show the newest of
each kind of machine.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.acceptance import (
    INT8_OVER_FP32,
    SPEED_TARGETS,
    bulk_speed,
    judge,
    judge_accuracy,
    judge_scaling,
    speed_target,
)
from benchmarks.comparison import TURN_TITLES, TURNS, Comparison, compare_engines, title
from benchmarks.engines import OURS, PRECISIONS
from benchmarks.kernel_tables import bits_table, cold_start_table, roof_table
from benchmarks.machine_kinds import MACHINE_KINDS, MachineKind, kind_of
from benchmarks.schema import (
    AccuracyResult,
    Bits,
    CheckpointResult,
    EngineResult,
    Precision,
    Result,
    ScalingResult,
)
from benchmarks.system_info import NOT_INSTALLED
from benchmarks.table_rows import row, target, verdict, with_criteria

_ENGINES_HEAD = (
    "| engine | precision | bulk, texts/s | Isobatch ÷ this | one text p50 / p95, ms "
    "| peak memory, MB | rows whose bits changed |\n|---|---|---:|---:|---:|---:|---:|"
)
_COMPARISON_HEAD = (
    "| compared with the best other engine | Isobatch | best other | Isobatch ÷ best other "
    "| target | |\n|---|---:|---:|---:|---:|---|"
)
_ACCURACY_HEAD = (
    "| precision | accuracy, % | points from fp32 | same label as fp32, % "
    "| largest logit difference from fp32 |\n|---|---:|---:|---:|---:|"
)
_SCALING_HEAD = (
    "| texts | tokens | seconds | µs per token | peak memory, MB |\n|---:|---:|---:|---:|---:|"
)


def render_kinds(results: Iterable[tuple[MachineKind, Result]]) -> str:
    """Render the whole result of each kind of machine, under a heading of its own."""
    return "\n\n".join(f"### {kind.title}\n\n{render(result)}" for kind, result in results)


def render_kinds_engines(results: Iterable[tuple[MachineKind, Result]]) -> str:
    """Render the engines on the first checkpoint of each kind of machine."""
    return "\n\n".join(f"## {kind.title}\n\n{render_engines(each)}" for kind, each in results)


def render_targets() -> str:
    """Render the targets of the comparison with the best other engine."""
    columns = [(precision, turn) for precision in PRECISIONS for turn in TURNS]
    names = [f"{precision}, {TURN_TITLES[turn]}" for precision, turn in columns]
    rows = [
        row(kind.title, *(target(speed_target(kind, *column)) for column in columns))
        for kind in MACHINE_KINDS
        if kind.name in SPEED_TARGETS
    ]
    rows.append(row("each: int8 over fp32", *["–"] * 4, *[target(INT8_OVER_FP32)] * 2))
    return "\n".join([row("", *names), "|---|" + "---:|" * len(names), *rows])


def render(result: Result) -> str:
    """Render every table with its acceptance criteria, without a final newline."""
    return "\n\n".join([*_parts(result), _footnote(result)])


def _parts(result: Result) -> Iterator[str]:
    kind = kind_of(result["machine"])
    for name, checkpoint in result["checkpoints"].items():
        yield _checkpoint(kind, name, checkpoint)
    if kernels := result.get("kernels"):
        yield roof_table(kernels)
    if bits := result.get("bits"):
        yield bits_table(bits)
    if cold_start := result.get("cold_start"):
        yield cold_start_table(cold_start)
    if accuracy := result["accuracy"]:
        yield _accuracy(accuracy)
    if scaling := result["scaling"]:
        yield _scaling(scaling)


def render_engines(result: Result) -> str:
    """Render the engines on the first checkpoint, without acceptance criteria."""
    checkpoint = next(iter(result["checkpoints"].values()))
    return f"{_engines(checkpoint)}\n\n{_footnote(result)}"


def _checkpoint(kind: MachineKind, name: str, checkpoint: CheckpointResult) -> str:
    engines, left_out = checkpoint["engines"], checkpoint.get("left_out", {})
    parts = [_engines(checkpoint)]
    if left_out:
        reasons = "; ".join(f"{each}: {reason}" for each, reason in left_out.items())
        parts.append(f"Left out: {reasons}.")
    # Targets are set for this shape only: the other checkpoints have no column of them.
    if name == "base" and (compared := compare_engines(kind, engines)):
        parts.append("\n".join([_COMPARISON_HEAD, *map(_comparison, compared)]))
    return with_criteria("\n\n".join(parts), judge(name, engines))


def _comparison(each: Comparison) -> str:
    unit = "texts/s" if each.turn == "bulk" else "ms"
    return row(
        each.name,
        f"{each.ours:.1f} {unit}",
        f"{each.best}: {each.theirs:.1f} {unit}",
        f"{each.ratio:.2f}×",
        target(each.target),
        verdict(each.is_met),
    )


def _engines(checkpoint: CheckpointResult) -> str:
    engines = checkpoint["engines"]
    mix = " and ".join(f"{count} {corpus} texts" for corpus, count in checkpoint["mix"].items())
    rows = []
    for precision in PRECISIONS:
        ours = engines.get(OURS[precision])
        rows += [_engine(engine, ours) for engine in _group(engines, precision)]
    return "\n".join([f"**{checkpoint['title']}**, {mix}", "", _ENGINES_HEAD, *rows])


def _group(engines: dict[str, EngineResult], precision: Precision) -> list[EngineResult]:
    """Return the engines of one precision, Isobatch first."""
    names = sorted(engines, key=lambda name: name != OURS[precision])
    return [engines[name] for name in names if engines[name]["precision"] == precision]


def _engine(engine: EngineResult, ours: EngineResult | None) -> str:
    speed, one_text = bulk_speed(engine), engine["one_text"]
    our_speed = None if ours is None else bulk_speed(ours)
    memory = engine["memory"]["after_bulk_mb"]
    return row(
        title(engine),
        engine["precision"],
        "–" if speed is None else f"{speed:.1f}",
        "–" if our_speed is None or speed is None else f"{our_speed / speed:.2f}×",
        "–" if one_text is None else f"{one_text['p50']:.1f} / {one_text['p95']:.1f}",
        "–" if memory is None else f"{memory:.0f}",
        "–" if engine["bits"] is None else _changed(engine["bits"]),
    )


def _changed(bits: Bits) -> str:
    count = f"{bits['changed']} of {bits['rows']}"
    if not bits["changed"]:
        return count
    flips = f", {bits['label_flips']} labels flip" if bits["label_flips"] else ""
    return f"{count} (by up to {bits['largest_difference']:.0e}{flips})"


def _accuracy(accuracy: AccuracyResult) -> str:
    rows = []
    for name, one in accuracy["precisions"].items():
        if name == "fp32":
            rows.append(row(name, f"{one['accuracy_percent']:.2f}", "–", "–", "–"))
            continue
        rows.append(
            row(
                name,
                f"{one['accuracy_percent']:.2f}",
                f"{one['points_from_fp32']:+.2f}",
                f"{one['same_label_percent']:.2f}",
                f"{one['largest_difference']:.2g}",
            )
        )
    title = f"**Accuracy of the bundled model**, {accuracy['texts']:,} labelled SST-2 texts"
    table = "\n".join([title, "", _ACCURACY_HEAD, *rows])
    return with_criteria(table, judge_accuracy(accuracy["precisions"]))


def _scaling(scaling: ScalingResult) -> str:
    rows = [
        row(
            f"{size['texts']:,}",
            f"{size['tokens']:,}",
            f"{size['median_seconds']:.2f}",
            f"{size['microseconds_per_token']:.1f}",
            f"{size['peak_memory_mb']:.0f}",
        )
        for size in scaling["sizes"]
    ]
    title = (
        "**Scaling**: an increasing number of distinct SST-2 texts through `Classifier.stream`, "
        f"the bundled model in {scaling['precision']}"
    )
    table = "\n".join([title, "", _SCALING_HEAD, *rows])
    return with_criteria(table, judge_scaling(scaling["sizes"]))


def _footnote(result: Result) -> str:
    machine, protocol = result["machine"], result["protocol"]
    threads = protocol["threads"]
    versions = ", ".join(
        f"{name} {version}"
        for name, version in result["versions"].items()
        if version != NOT_INSTALLED
    )
    return (
        f"{result['date']}, {machine['cpu']} ({kind_of(machine).title}), {threads} "
        f"thread{'s' if threads > 1 else ''}, medians of {protocol['rounds']} rounds."
        f"{_kernels(result)} {versions}."
    )


def _kernels(result: Result) -> str:
    """Name the kernels of Isobatch's blocks in each precision, if they were recorded."""
    used: dict[str, str] = {}
    for checkpoint in result["checkpoints"].values():
        for engine in checkpoint["engines"].values():
            details = engine["details"]
            if name := details.get("instruction_set"):
                used.setdefault(engine["precision"], f"{name}, arithmetic {details['arithmetic']}")
    named = "; ".join(f"{precision} {kernels}" for precision, kernels in used.items())
    return f" Isobatch's kernels: {named}." if used else ""


def main() -> None:
    """Print the table of a result file."""
    result: Result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(render(result))


if __name__ == "__main__":
    main()
