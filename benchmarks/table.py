"""A result as Markdown: one table a checkpoint, then its bars, then what the run stood on.

Pure: a result in, text out, so a test can hold the README to the newest file.
`python -m benchmarks.table FILE` prints it.
"""

import json
import sys
from pathlib import Path

from benchmarks.machine import NOT_INSTALLED
from benchmarks.schema import BarResult, Bits, CheckpointResult, EngineResult, Result

_HEAD = (
    "| engine | bulk, texts/s | Isobatch ÷ this | one text p50 / p95, ms | peak memory, MB "
    "| rows whose bits changed |\n|---|---:|---:|---:|---:|---:|"
)


def render(result: Result) -> str:
    """Return the whole Markdown, without a final newline."""
    parts = [_checkpoint(checkpoint) for checkpoint in result["checkpoints"].values()]
    return "\n\n".join([*parts, _footnote(result)])


def _checkpoint(checkpoint: CheckpointResult) -> str:
    engines = checkpoint["engines"]
    ours = engines["isobatch"]["bulk"]["texts_per_second"] if "isobatch" in engines else None
    mix = " and ".join(f"{count} {corpus} texts" for corpus, count in checkpoint["mix"].items())
    lines = [f"**{checkpoint['title']}**, {mix}", "", _HEAD]
    lines += [_row(engine, ours) for engine in engines.values()]
    lines += ["", *(_bar(bar) for bar in checkpoint["bars"])]
    return "\n".join(lines)


def _row(engine: EngineResult, ours: float | None) -> str:
    batch = f", batch {engine['batch_size']}" if engine["batch_size"] else ""
    speed = engine["bulk"]["texts_per_second"]
    one_text = engine["one_text"]
    cells = [
        engine["label"] + batch,
        f"{speed:.1f}",
        "–" if ours is None else f"{ours / speed:.2f}×",
        f"{one_text['p50']:.1f} / {one_text['p95']:.1f}",
        f"{engine['memory']['after_bulk_mb']:.0f}",
        _changed(engine["bits"]),
    ]
    return f"| {' | '.join(cells)} |"


def _changed(bits: Bits) -> str:
    count = f"{bits['changed']} of {bits['rows']}"
    if not bits["changed"]:
        return count
    flips = f", {bits['label_flips']} labels flip" if bits["label_flips"] else ""
    return f"{count} (by up to {bits['largest_difference']:.0e}{flips})"


def _bar(bar: BarResult) -> str:
    wanted = f"wanted {bar['direction']} {bar['wanted']:g}"
    if bar["got"] is None:
        return f"- not measured: {bar['name']} ({wanted})"
    verdict = "met" if bar["met"] else "**missed**"
    return f"- {verdict}: {bar['name']}: {_figure(bar['got'])} ({wanted})"


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
        f"{result['date']}, {machine['cpu']}, {protocol['threads']} threads, fp32, medians of "
        f"{protocol['rounds']} rounds. {versions}."
    )


def main() -> None:
    """Print the table of a result file."""
    result: Result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(render(result))


if __name__ == "__main__":
    main()
