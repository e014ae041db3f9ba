"""The audit's verdicts on real architectures, held to what was measured without it."""

from pathlib import Path

import pytest

from benchmarks.audit.architectures import ARCHITECTURES, Architecture, write_architecture
from isobatch.audit import audit, open_subject

FAULTY = {
    "fnet": "mask-dropped",
    "yoso": "mask-dropped",
    "convbert": "pads-leak",
    "nystromformer": "pads-leak",
    "canine": "pad-amount-counts",
}
"""`benchmarks.audit.claims` finds that pads reach the answer in these, and in no others."""


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_the_verdict_agrees_with_the_experiment(architecture: Architecture, tmp_path: Path) -> None:
    folder = write_architecture(architecture, tmp_path / architecture.name)
    report = audit(open_subject(f"transformers:{folder}"), quick=True)
    bugs = [each.name for each in report.findings if each.severity == "bug"]
    assert bugs == ([FAULTY[architecture.name]] if architecture.name in FAULTY else [])


def test_every_faulty_architecture_is_audited() -> None:
    assert {each.name for each in ARCHITECTURES} >= FAULTY.keys()
