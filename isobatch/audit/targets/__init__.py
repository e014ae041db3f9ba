"""Targets: what can be audited, each as a Subject: by a target string, or by objects in memory.

A door for every kind of system, and no probe. Invariant: an option that a kind of target has no use
for is refused, never dropped.
"""

from isobatch.audit.targets.opening import open_subject
from isobatch.audit.targets.python_target import subject_of
from isobatch.audit.targets.transformers_target import subject_of_model

__all__ = ["open_subject", "subject_of", "subject_of_model"]
