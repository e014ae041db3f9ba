"""The audit of a system: a check that its answer to a text does not depend on the batch.

`audit` sends the same texts to any system in many ways and diagnoses the causes of movements;
`assert_batch_invariant` is the same check as one line of a test. `audit_training_step` and
`assert_gradient_invariant` check that a training step has the mean of its texts' gradients.
"""

from isobatch.audit.assertion import assert_batch_invariant
from isobatch.audit.auditor import audit
from isobatch.audit.gradients.gradient_assertion import assert_gradient_invariant
from isobatch.audit.gradients.gradient_auditor import audit_training_step
from isobatch.audit.gradients.gradient_probes import GRADIENT_PROBES
from isobatch.audit.machine_comparison import MachineComparison, SavedAnswers
from isobatch.audit.probes import PROBES
from isobatch.audit.report_data import AuditReport, Finding, Movement, ProbeResult, Reproduction
from isobatch.audit.subject import PaddedModel, Rectangle, Subject
from isobatch.audit.targets import open_subject, open_training_step, subject_of

__all__ = [
    "GRADIENT_PROBES",
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
    "assert_gradient_invariant",
    "audit",
    "audit_training_step",
    "open_subject",
    "open_training_step",
    "subject_of",
]
