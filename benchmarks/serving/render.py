"""A result of `make bench-serve` as Markdown, with its bars. Pure: a result in, text out."""

from collections.abc import Iterator
from typing import Any

LEAST_SHARE, MOST_MILLISECONDS = 0.85, 3.0


def render(result: dict[str, Any]) -> str:
    """The whole Markdown, without a final newline."""
    parts = ["\n".join(_run(run, result["clients"])) for run in result["runs"]]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    footnote = (
        f"{result['date']}, {result['machine']['cpu']}, {result['threads']} threads, medians of "
        f"{result['rounds']} rounds; the clients run on the same cores. {versions}."
    )
    return "\n\n".join([*parts, footnote])


def _run(run: dict[str, Any], clients: int) -> Iterator[str]:
    library, servers = run["library"], run["servers"]
    yield f"**{run['checkpoint']}**, {run['precision']}, {run['texts']:,} texts, no two equal"
    yield ""
    yield f"| | {clients} clients, texts/s | of the library | one client p50 / p95, ms |"
    yield "|---|---:|---:|---:|"
    yield _row("`Classifier`: logits of all, then one by one", run, library)
    for title, server in servers.items():
        yield _row(title, run, server)
    yield ""
    ours = next(iter(servers.values()))
    share = library["median_seconds"] / ours["median_seconds"]
    more = ours["p50_milliseconds"] - library["p50_milliseconds"]
    yield (
        f"- {_verdict(share >= LEAST_SHARE)}: {clients} clients, share of the library's "
        f"throughput: {share:.1%} (wanted at least {LEAST_SHARE:.0%})"
    )
    yield (
        f"- {_verdict(more <= MOST_MILLISECONDS)}: one client, p50 over the library's: "
        f"{more:+.2f} ms (wanted at most {MOST_MILLISECONDS:g})"
    )


def _row(title: str, run: dict[str, Any], each: dict[str, Any]) -> str:
    share = run["library"]["median_seconds"] / each["median_seconds"]
    return (
        f"| {title} | {run['texts'] / each['median_seconds']:,.0f} | {share:.1%} "
        f"| {each['p50_milliseconds']:.1f} / {each['p95_milliseconds']:.1f} |"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"
