"""A result file of `make bench-serve` as Markdown: tables and acceptance criteria."""

from collections.abc import Iterator
from typing import Any

_MINIMUM_SHARE, _MAXIMUM_MILLISECONDS = 0.85, 3.0


def render(result: dict[str, Any]) -> str:
    """Render the tables, without a final newline."""
    parts = ["\n".join(_run(run, result["clients"])) for run in result["runs"]]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    footnote = (
        f"{result['date']}, {result['machine']['cpu']}, {result['threads']} threads, medians of "
        f"{result['rounds']} rounds; the clients run on the same cores. {versions}."
    )
    return "\n\n".join([*parts, footnote])


def render_criteria(result: dict[str, Any]) -> str:
    """Render the acceptance criteria of every run, and whether they are met."""
    return "\n".join(line for run in result["runs"] for line in _criteria(run, result["clients"]))


def _run(run: dict[str, Any], clients: int) -> Iterator[str]:
    yield f"**{run['checkpoint']}**, {run['precision']}, {run['texts']:,} texts, no two equal"
    yield ""
    yield f"| | {clients} clients, texts/s | of the library | one client p50 / p95, ms |"
    yield "|---|---:|---:|---:|"
    yield _row("`Classifier`: logits of all, then one by one", run, run["library"])
    for title, server in run["servers"].items():
        yield _row(title, run, server)


def _criteria(run: dict[str, Any], clients: int) -> Iterator[str]:
    library, ours = run["library"], next(iter(run["servers"].values()))
    share = library["median_seconds"] / ours["median_seconds"]
    more = ours["p50_milliseconds"] - library["p50_milliseconds"]
    where = f"{run['checkpoint']}, {run['precision']}"
    yield (
        f"- {_verdict(share >= _MINIMUM_SHARE)}: {where}, {clients} clients, share of the "
        f"library's throughput: {share:.1%} (target: at least {_MINIMUM_SHARE:.0%})"
    )
    yield (
        f"- {_verdict(more <= _MAXIMUM_MILLISECONDS)}: {where}, one client, p50 over the "
        f"library's: {more:+.2f} ms (target: at most {_MAXIMUM_MILLISECONDS:g})"
    )


def _row(title: str, run: dict[str, Any], each: dict[str, Any]) -> str:
    share = run["library"]["median_seconds"] / each["median_seconds"]
    return (
        f"| {title} | {run['texts'] / each['median_seconds']:,.0f} | {share:.1%} "
        f"| {each['p50_milliseconds']:.1f} / {each['p95_milliseconds']:.1f} |"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"
