"""`make bench-audit`: audit every architecture and write the verdicts that docs/audit.md shows."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers

from benchmarks.audit.architecture_tables import render_audits
from benchmarks.audit.architectures import ARCHITECTURES, write_architecture
from benchmarks.result_files import RESULTS, log, write_result
from benchmarks.system_info import describe_machine, installed_version
from isobatch.audit import AuditReport, Finding, audit, open_subject

REPORTED_NOTES = ("pad-side", "pad-id-inside", "mask-honoured", "short-texts")
"""Probes whose notes are shown in the table."""


def main() -> None:
    """Audit in one thread: tiny models are slower in two."""
    transformers.logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        audits = list(audit_architectures(Path(folder)))
    packages = ("isobatch", "torch", "transformers")
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": {each: installed_version(each) for each in packages},
        "audits": audits,
    }
    path = write_result(result, RESULTS / "audit")
    print(render_audits(result))
    log(f"written to {path.name}")


def audit_architectures(folder: Path) -> Iterator[dict[str, Any]]:
    """Audit each architecture as its own checkpoint below `folder`."""
    for each in ARCHITECTURES:
        log(f"auditing {each.name}")
        path = write_architecture(each, folder / each.name)
        yield {"architecture": each.name, **summarize(audit(open_subject(f"transformers:{path}")))}


def summarize(report: AuditReport) -> dict[str, Any]:
    """Select from a report what the table shows."""
    notes = report.with_status("note")
    return {
        "model": report.facts["model"],
        "verdict": report.verdict,
        "findings": [_finding(each) for each in report.findings],
        "notes": {each.probe: each.summary for each in notes if each.probe in REPORTED_NOTES},
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


if __name__ == "__main__":
    main()
