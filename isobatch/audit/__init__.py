"""The audit: does a system's answer to a text depend on the batch that the text is in?

`audit` asks any system for the same texts in many ways and names what it finds;
`assert_batch_invariant` is the same question as one line of a test.
"""

from isobatch.audit.assertion import assert_batch_invariant
from isobatch.audit.probes import PROBES
from isobatch.audit.result import AuditReport, Finding, Movement, ProbeResult, Reproduction
from isobatch.audit.run import audit
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
