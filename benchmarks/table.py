"""A result file as Markdown: a table for each checkpoint, accuracy, scaling, machine and versions.

`python -m benchmarks.table FILE` prints it; README.md and RESULTS.md show the newest.
"""

import json
import sys
from pathlib import Path

from benchmarks.engines import OURS, PRECISIONS
from benchmarks.schema import (
    AccuracyResult,
    Bits,
    CheckpointResult,
    CriterionResult,
    EngineResult,
    Precision,
    Result,
    ScalingResult,
)
from benchmarks.system_info import NOT_INSTALLED

_ENGINES_HEAD = (
    "| engine | precision | bulk, texts/s | Isobatch ÷ this | one text p50 / p95, ms "
    "| peak memory, MB | rows whose bits changed |\n|---|---|---:|---:|---:|---:|---:|"
)
_ACCURACY_HEAD = (
    "| precision | accuracy, % | points from fp32 | same label as fp32, % "
    "| largest logit difference from fp32 |\n|---|---:|---:|---:|---:|"
)
_SCALING_HEAD = (
    "| texts | tokens | seconds | µs per token | peak memory, MB |\n|---:|---:|---:|---:|---:|"
)


def render(result: Result) -> str:
    """Render every table with its acceptance criteria, without a final newline."""
    parts = [_checkpoint(checkpoint) for checkpoint in result["checkpoints"].values()]
    if result["accuracy"]:
        parts.append(_accuracy(result["accuracy"]))
    if result["scaling"]:
        parts.append(_scaling(result["scaling"]))
    return "\n\n".join([*parts, _footnote(result)])


def render_engines(result: Result) -> str:
    """Render the engines on the first checkpoint, without acceptance criteria."""
    checkpoint = next(iter(result["checkpoints"].values()))
    return f"{_engines(checkpoint)}\n\n{_footnote(result)}"


def _checkpoint(checkpoint: CheckpointResult) -> str:
    return _with_criteria(_engines(checkpoint), checkpoint["bars"])


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
    batch = f", batch {engine['batch_size']}" if engine["batch_size"] else ""
    speed = engine["bulk"]["texts_per_second"]
    one_text = engine["one_text"]
    return _row(
        engine["label"] + batch,
        engine["precision"],
        f"{speed:.1f}",
        "–" if ours is None else f"{ours['bulk']['texts_per_second'] / speed:.2f}×",
        f"{one_text['p50']:.1f} / {one_text['p95']:.1f}",
        f"{engine['memory']['after_bulk_mb']:.0f}",
        _changed(engine["bits"]),
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
            rows.append(_row(name, f"{one['accuracy_percent']:.2f}", "–", "–", "–"))
            continue
        rows.append(
            _row(
                name,
                f"{one['accuracy_percent']:.2f}",
                f"{one['points_from_fp32']:+.2f}",
                f"{one['same_label_percent']:.2f}",
                f"{one['largest_difference']:.2g}",
            )
        )
    title = f"**Accuracy of the bundled model**, {accuracy['texts']:,} labelled SST-2 texts"
    table = "\n".join([title, "", _ACCURACY_HEAD, *rows])
    return _with_criteria(table, accuracy["bars"])


def _scaling(scaling: ScalingResult) -> str:
    rows = [
        _row(
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
    return _with_criteria(table, scaling["bars"])


def _with_criteria(table: str, criteria: list[CriterionResult]) -> str:
    return "\n".join([table, "", *map(_criterion, criteria)])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _criterion(result: CriterionResult) -> str:
    target = f"target: {result['direction']} {result['wanted']:g}"
    if result["got"] is None:
        return f"- not measured: {result['name']} ({target})"
    verdict = "met" if result["met"] else "**missed**"
    return f"- {verdict}: {result['name']}: {_figure(result['got'])} ({target})"


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _footnote(result: Result) -> str:
    machine, protocol = result["machine"], result["protocol"]
    versions = ", ".join(
        f"{name} {version}"
        for name, version in result["versions"].items()
        if version != NOT_INSTALLED
    )
    return (
        f"{result['date']}, {machine['cpu']}, {protocol['threads']} threads, medians of "
        f"{protocol['rounds']} rounds. {versions}."
    )


def main() -> None:
    """Print the table of a result file."""
    result: Result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(render(result))


if __name__ == "__main__":
    main()
