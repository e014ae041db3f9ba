"""The audit: does a system's answer to a text depend on the batch that the text is in?

`audit` sends the same texts to any system in many ways and diagnoses what moves its results;
`assert_batch_invariant` is the same check as one line of a test.
"""

from isobatch.audit.assertion import assert_batch_invariant
from isobatch.audit.auditor import audit
from isobatch.audit.probes import PROBES
from isobatch.audit.report_data import AuditReport, Finding, Movement, ProbeResult, Reproduction
from isobatch.audit.subject import PaddedModel, Rectangle, Subject
from isobatch.audit.targets import open_subject, subject_of

__all__ = [
    "PROBES",
    "AuditReport",
    "Finding",
    "Movement",
    "PaddedModel",
    "ProbeResult",
    "Rectangle",
    "Reproduction",
    "Subject",
    "assert_batch_invariant",
    "audit",
    "open_subject",
    "subject_of",
]
