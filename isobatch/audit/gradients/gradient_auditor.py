"""audit_training_step: run every probe on one training step, and report as an audit does.

Invariant: every probe is in the report, also one that could not run.
"""

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from isobatch import __version__
from isobatch.audit.auditor import DEFAULT_TEXTS, AuditProgress
from isobatch.audit.gradients.gradient_findings import (
    SeenProbe,
    find_gradient_faults,
    run_gradient_probes,
)
from isobatch.audit.gradients.gradient_probes import GRADIENT_PROBES
from isobatch.audit.gradients.gradient_session import GradientSession
from isobatch.audit.gradients.training_step import StepExample, TrainingStep
from isobatch.audit.report_data import AuditReport
from isobatch.audit.report_view import TRAINING_STEP
from isobatch.drawing.display_text import counted
from isobatch.errors import InputError

NUM_TEXTS, NUM_QUICK = 8, 4
"""Each text is a gradient in memory."""

RTOL = 1e-4
"""As the least tolerance of an audit of results."""


def audit_training_step(
    step: Callable[..., Any] | TrainingStep,
    texts: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    *,
    rtol: float = RTOL,
    quick: bool = False,
    on_progress: Callable[[AuditProgress], None] = lambda progress: None,
) -> AuditReport:
    """Call a training step on the same texts in many ways, and report what changes the gradient.

    Arguments as of `assert_gradient_invariant`; of more than eight texts, or four in a quick audit,
    that many are taken, evenly spread. Raises InputError for unsuitable texts or labels,
    OptionError for what is not a function, and AuditError if the gradients of single texts cannot
    be compared with.
    """
    session = open_session(step, texts, labels, rtol)
    session.examples = _some(session.examples, NUM_QUICK if quick else NUM_TEXTS)
    started = time.perf_counter()
    seen: list[SeenProbe] = []
    on_progress(AuditProgress(0, len(GRADIENT_PROBES), GRADIENT_PROBES[0].name))
    for each in run_gradient_probes(session):
        seen.append(each)
        after = GRADIENT_PROBES[len(seen) : len(seen) + 1]
        results = tuple(one.result for one in seen)
        name = after[0].name if after else ""
        on_progress(AuditProgress(len(seen), len(GRADIENT_PROBES), name, results))
    findings = find_gradient_faults(session, seen)
    return AuditReport(
        target=session.step.name,
        kind=TRAINING_STEP,
        facts={
            "function": session.step.name,
            "splits": session.step.split_argument or "none: whole batches only",
            "tolerance": f"{rtol:g} of the gradients' size",
            "python": sys.version.partition(" ")[0],
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
        },
        num_texts=len(session.examples),
        probes=tuple(each.result for each in seen),
        findings=findings,
        seconds=time.perf_counter() - started,
        versions={"isobatch": __version__, "numpy": version("numpy")},
        labels=("norm of the gradient",),
        texts_sent=tuple(str(each.text) for each in session.examples),
    )


def open_session(
    step: Callable[..., Any] | TrainingStep,
    texts: Sequence[Any] | None,
    labels: Sequence[Any] | None,
    rtol: float,
) -> GradientSession:
    """Check the arguments, and pair texts with labels: 0 and 1 in turn if there are none."""
    if isinstance(texts, str):
        raise InputError("a training step is audited with a list of texts, not one text")
    chosen = list(DEFAULT_TEXTS[:NUM_TEXTS] if texts is None else texts)
    if len(chosen) < 3:
        raise InputError(f"a training step is audited with at least 3 texts, got {len(chosen)}")
    paired = [index % 2 for index in range(len(chosen))] if labels is None else list(labels)
    if len(paired) != len(chosen):
        given = counted(len(chosen), "text")
        raise InputError(f"expected a label for each of {given}, got {len(paired)}")
    if not 0 < rtol < 1:
        raise InputError(f"rtol must be above 0 and below 1, got {rtol}")
    opened = step if isinstance(step, TrainingStep) else TrainingStep(step)
    return GradientSession(opened, tuple(map(StepExample, chosen, paired)), rtol)


def _some(examples: tuple[StepExample, ...], most: int) -> tuple[StepExample, ...]:
    step = max(1.0, len(examples) / most)
    return tuple(examples[int(place * step)] for place in range(min(most, len(examples))))
