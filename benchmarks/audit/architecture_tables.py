"""A result file of `make bench-audit` as Markdown tables."""

from collections.abc import Iterator
from typing import Any

VERDICT_ORDER = ("bug", "drift", "exact")


def render_audits(result: dict[str, Any]) -> str:
    """Render the verdict on each architecture, worst first."""
    rows = sorted(result["audits"], key=lambda each: VERDICT_ORDER.index(each["verdict"]))
    texts = result["audits"][0]["texts"]
    footnote = (
        f"{result['date']}, {texts} texts, float32 on {result['machine']['cpu']}; tiny checkpoints "
        f"with random weights, so the sizes of changes do not carry over to trained ones. "
        f"{_versions(result)}."
    )
    return "\n".join([*_audits(rows), "", footnote])


def _audits(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| architecture | verdict | fault | largest change | flipped labels | notes |"
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
    """Shorten the notes for a table cell; one worded otherwise is shown whole."""
    if "pad-side" in notes:
        cost = notes["pad-side"].partition("; ")[2] or notes["pad-side"]
        yield cost.replace("they would move", "pads would move")
    if "mask-honoured" in notes:
        yield "pads are recognized by their id"
    if "pad-id-inside" in notes:
        seen = notes["pad-id-inside"].partition(": ")[2] or notes["pad-id-inside"]
        yield f"where the padding id occurs in a text, {seen}"
    if "short-texts" in notes:
        yield "one-token texts are rejected"


def render_claims(result: dict[str, Any]) -> str:
    """Render assumptions about transformers and the measurements that confirm or refute them.

    Only results up to 2026-11-23 have them: the program that measured them, with torch alone, was
    removed from the repository after that run.
    """
    lines = ["| assumption | result | measured |", "|---|---|---|"]
    for each in result["claims"]:
        verdict = "confirmed" if each["holds"] else "**refuted**"
        lines.append(f"| {each['text']} | {verdict} | {each['evidence']} |")
    return "\n".join([*lines, "", f"Measured {result['date']}. {_versions(result)}."])


def _versions(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in result["versions"].items())
