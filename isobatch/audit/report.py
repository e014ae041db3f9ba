"""The page of an audit: one HTML file that says its verdict first, and needs no network or script.

It knows no files: whoever calls writes the text, as UTF-8. Invariant: what comes from outside
(texts, labels, names, facts, errors) is escaped, and the same report gives the same bytes.
"""

from collections.abc import Callable, Iterator

from isobatch.audit import wording
from isobatch.audit.pictures import Scale, Strip, strips_picture
from isobatch.audit.result import AuditReport, Finding, Movement, ProbeResult
from isobatch.audit.side_by_side import num_left_out, number_rows
from isobatch.drawing.html_page import render_html
from isobatch.extras import needs_extra

KINDS = {
    "isobatch": "a checkpoint, run by Isobatch",
    "transformers": "a checkpoint, run by Hugging Face Transformers",
    "onnx": "a model file, run by ONNX Runtime",
    "http": "a server, asked over HTTP",
    "python": "a Python function",
}


def render_page(report: AuditReport) -> str:
    """The report as an HTML page; OptionError where the extra `audit` is missing."""
    values = {
        "report": report,
        "kind": KINDS.get(report.kind, report.kind),
        "numbers": _numbers(report),
        "worst_share": wording.worst(report, lambda movement: movement.share_moved),
        "worst_flips": wording.worst(report, lambda movement: movement.flips_per_10000),
        "worst_score": wording.worst(report, lambda movement: movement.max_score),
        "worst_logit": wording.worst(report, lambda movement: movement.max_logit),
        "symbols": wording.SYMBOLS,
        "meanings": wording.MEANINGS,
    }
    filters: dict[str, Callable[..., object]] = {
        "headline": wording.headline,
        "meaning": wording.meaning,
        "statuses": wording.count_statuses,
        "change": wording.change,
        "per_10000": wording.per_10000,
        "evidence": wording.evidence,
        "story": wording.story,
        "number_rows": number_rows,
        "num_left_out": num_left_out,
    }
    with needs_extra("audit", "the page of an audit"):
        return render_html(
            "isobatch.audit",
            "report.html",
            pictures=dict(_pictures(report)),
            filters=filters,
            values=values,
        )


def _numbers(report: AuditReport) -> str:
    """Whether the numbers that moved are logits or scores; pictures show one of the two."""
    movements = [each.movement for each in report.probes if each.movement]
    return "logit" if any(each.max_logit is not None for each in movements) else "score"


def _pictures(report: AuditReport) -> Iterator[tuple[str, str]]:
    """One of all probes, by the name "probes", and one for each finding, "finding-1" and so on."""
    everything = [
        *(each.movement for each in report.probes),
        *(each.movement for each in report.findings),
    ]
    scale = Scale.over(point for each in everything if each for point in each.points)
    unit = f"largest change of a {_numbers(report)} of one answer"
    for number, finding in enumerate(report.findings, 1):
        if strips := _strips_of(finding, report):
            name = f"finding-{number}"
            yield name, strips_picture(strips, scale, name, unit)
    if strips := [strip for each in report.probes for strip in _strips(each)]:
        yield "probes", strips_picture(strips, scale, "probes", unit)


def _strips_of(finding: Finding, report: AuditReport) -> list[Strip]:
    """A strip for each of its probes; of its own movement where they have none."""
    shown = [each for each in report.probes if each.probe in finding.probes]
    strips = [strip for each in shown for strip in _strips(each)]
    return strips or _strip(finding.name, finding.movement)


def _strips(result: ProbeResult) -> list[Strip]:
    return _strip(f"{result.probe} ({result.status})", result.movement)


def _strip(name: str, movement: Movement | None) -> list[Strip]:
    return [Strip(name, movement.points)] if movement and movement.points else []
