"""`isobatch audit` of every architecture: the verdicts that docs/audit.md shows.

They come from the audit alone; `claims.py` measures the same architectures without it. Invariant:
every architecture is in the result, with every probe that found something.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.audit.architectures import ARCHITECTURES, write_architecture
from benchmarks.writing import say
from isobatch.audit import AuditReport, Finding, audit, open_subject

TOLD = ("pad-side", "pad-id-inside", "mask-honoured", "short-texts")
"""Probes whose notes are worth a line in the table."""


def audit_architectures(folder: Path) -> Iterator[dict[str, Any]]:
    """Audit each as its own checkpoint below `folder`."""
    for each in ARCHITECTURES:
        say(f"auditing {each.name}")
        path = write_architecture(each, folder / each.name)
        yield {"architecture": each.name, **summarise(audit(open_subject(f"transformers:{path}")))}


def summarise(report: AuditReport) -> dict[str, Any]:
    """What a table needs of a report."""
    return {
        "model": report.facts["model"],
        "verdict": report.verdict,
        "findings": [_finding(each) for each in report.findings],
        "notes": {
            each.probe: each.summary for each in report.with_status("note") if each.probe in TOLD
        },
        "not_tested": [each.probe for each in report.with_status("not tested")],
        "texts": report.num_texts,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    movement = finding.movement
    reproduction = finding.reproduction
    return {
        "severity": finding.severity,
        "name": finding.name,
        "largest_logit": movement.max_logit if movement else None,
        "flips_per_10000": movement.flips_per_10000 if movement else None,
        "reproduction": asdict(reproduction) if reproduction else None,
    }
