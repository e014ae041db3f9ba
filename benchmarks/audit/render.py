"""A result of `make bench-audit` as Markdown. Pure: a result in, text out."""

from collections.abc import Iterator
from typing import Any

ORDER = ("bug", "drift", "exact")


def render_audits(result: dict[str, Any]) -> str:
    """What the audit says of each architecture, the worst first."""
    rows = sorted(result["audits"], key=lambda each: ORDER.index(each["verdict"]))
    return "\n".join(_audits(rows)) + f"\n\n{_footnote(result)}"


def _audits(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| transformers | verdict | by | largest change | flipped | worth knowing |"
    yield "|---|---|---|---:|---:|---|"
    for each in rows:
        worst = each["findings"][0] if each["findings"] else None
        verdict = f"**{each['verdict']}**" if each["verdict"] == "bug" else each["verdict"]
        name = f"`{worst['name']}`" if worst else "–"
        yield (
            f"| {each['architecture']} | {verdict} | {name} | {_logit(worst)} | {_flips(worst)} "
            f"| {'; '.join(_notes(each['notes']))} |"
        )


def _logit(worst: dict[str, Any] | None) -> str:
    return f"{worst['largest_logit']:.1e}" if worst and worst["largest_logit"] else "–"


def _flips(worst: dict[str, Any] | None) -> str:
    if not worst or worst["flips_per_10000"] is None:
        return "–"
    return f"{worst['flips_per_10000'] / 100:.0f} %"


def _notes(notes: dict[str, str]) -> Iterator[str]:
    if "pad-side" in notes:
        yield notes["pad-side"].partition("; ")[2].replace("they would move", "pads would move")
    if "mask-honoured" in notes:
        yield "pads are known by their id"
    if "pad-id-inside" in notes:
        seen = notes["pad-id-inside"].partition(": ")[2]
        yield f"where the padding id stands in a text, {seen}"
    if "short-texts" in notes:
        yield "texts of one token are refused"


def render_claims(result: dict[str, Any]) -> str:
    """What is said of transformers, and what came of trying it."""
    lines = ["| said | verdict | measured |", "|---|---|---|"]
    for each in result["claims"]:
        verdict = "confirmed" if each["holds"] else "**refuted**"
        lines.append(f"| {each['text']} | {verdict} | {each['evidence']} |")
    return "\n".join(lines)


def _footnote(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    texts = result["audits"][0]["texts"]
    return (
        f"{result['date']}, {texts} texts, float32 on {result['machine']['cpu']}; tiny checkpoints "
        f"with random weights, so that sizes of changes say little of trained ones. {versions}."
    )
