"""audit: run every probe on one subject, and report.

It knows no particular probe or fault. Invariant: whatever becomes of a probe, it is in the report;
only what keeps the subject from answering at all ends the audit with an error.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from isobatch import __version__
from isobatch.audit.diagnosis import find
from isobatch.audit.probes import PROBES
from isobatch.audit.probing import Outcome, Probe, in_one_line
from isobatch.audit.progress import OnProgress, Progress
from isobatch.audit.result import AuditReport, ProbeResult
from isobatch.audit.session import BatchFailedError, NotTestedError, Session
from isobatch.audit.subject import AnswerError, RowCountError, Subject
from isobatch.audit.targets import subject_of
from isobatch.audit.texts import DEFAULT_TEXTS, NUM_QUICK
from isobatch.errors import AuditError, InputError
from isobatch.scope import processor_name

MOST_TEXTS = 48
"""Of more texts so many are taken, evenly spread; other texts find the same faults."""


def audit(
    target: Subject | Callable[[Sequence[str]], Any],
    texts: Sequence[str] | None = None,
    *,
    quick: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> AuditReport:
    """Ask `target` for the same texts in many ways, and report what moved its answers.

    target: a function from a list of texts to one answer for each (logits or scores), or what
    open_subject returns. texts: at least two; without them, ours. quick: fewer texts and tries.
    Raises InputError for texts that are none, and AuditError where the target cannot be asked.
    """
    subject = target if isinstance(target, Subject) else subject_of(target)
    chosen = _choose(DEFAULT_TEXTS if texts is None else texts, NUM_QUICK if quick else MOST_TEXTS)
    session = Session(subject, chosen, quick)
    began = time.perf_counter()
    seen = [(probe, *_timed(session, probe, on_progress)) for probe in PROBES]
    on_progress(Progress(len(PROBES), len(PROBES), ""))
    findings = find(session, [(probe, outcome) for probe, outcome, _ in seen])
    return AuditReport(
        target=subject.name,
        kind=subject.kind,
        facts={**subject.facts, "processor": processor_name(), "date": _now()},
        labels=subject.labels,
        num_texts=len(chosen),
        probes=tuple(_result(*each) for each in seen),
        findings=findings,
        seconds=time.perf_counter() - began,
        versions={"isobatch": __version__, "numpy": version("numpy")},
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="minutes")


def _choose(texts: Iterable[str], most: int) -> tuple[str, ...]:
    """At least two different texts, at most `most` of them, evenly spread."""
    if isinstance(texts, str):
        raise InputError("audit() takes a list of texts, not one text")
    texts = list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"expected a text with a word in it, got {text!r}", index)
    different = list(dict.fromkeys(texts))
    if len(different) < 2:
        raise InputError("an audit needs at least two different texts")
    step = max(1.0, len(different) / most)
    return tuple(different[int(place * step)] for place in range(min(most, len(different))))


def _timed(session: Session, probe: Probe, on_progress: OnProgress) -> tuple[Outcome, float]:
    on_progress(Progress(PROBES.index(probe), len(PROBES), probe.name))
    began = time.perf_counter()
    return _outcome(session, probe), time.perf_counter() - began


def _outcome(session: Session, probe: Probe) -> Outcome:
    try:
        return probe.run(session)
    except NotTestedError as error:
        return Outcome("not tested", str(error))
    except BatchFailedError as error:
        what, name = ("lose", "answers-lost") if error.lost_rows else ("are refused", "batch-fails")
        texts = f"{len(error.texts)} texts together {what}"
        return Outcome("bug", f"{texts}: {in_one_line(error, 300)}", faults=(name,))
    except AnswerError as error:
        name = "answers-lost" if isinstance(error, RowCountError) else "batch-fails"
        return Outcome("bug", in_one_line(error, 300), faults=(name,))
    except AuditError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a foreign model raises is its answer
        return Outcome(
            "not tested", f"the model refuses: {type(error).__name__}: {in_one_line(error, 300)}"
        )


def _result(probe: Probe, outcome: Outcome, seconds: float) -> ProbeResult:
    return ProbeResult(
        probe=probe.name,
        changes=probe.changes,
        proves=probe.proves,
        status=outcome.status,
        summary=outcome.summary,
        movement=outcome.movement,
        seconds=seconds,
    )
