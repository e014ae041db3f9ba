"""The audit of a system: a check that its answer to a text does not depend on the batch.

`audit` sends the same texts to any system in many ways and diagnoses the causes of movements;
`assert_batch_invariant` is the same check as one line of a test.
"""

from isobatch.audit.assertion import assert_batch_invariant
from isobatch.audit.auditor import audit
from isobatch.audit.machine_comparison import MachineComparison, SavedAnswers
from isobatch.audit.probes import PROBES
from isobatch.audit.report_data import AuditReport, Finding, Movement, ProbeResult, Reproduction
from isobatch.audit.subject import PaddedModel, Rectangle, Subject
from isobatch.audit.targets import open_subject, subject_of

__all__ = [
    "PROBES",
    "AuditReport",
    "Finding",
    "MachineComparison",
    "Movement",
    "PaddedModel",
    "ProbeResult",
    "Rectangle",
    "Reproduction",
    "SavedAnswers",
    "Subject",
    "assert_batch_invariant",
    "audit",
    "open_subject",
    "subject_of",
]
