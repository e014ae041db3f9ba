"""audit: run every probe on one subject, and report.

Invariant: every probe is in the report, also one that fails; only a subject that gives no results
at all ends the audit with an error.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from isobatch import __version__
from isobatch.audit.configuration import (
    TEXTS_ALONE,
    explain_failure,
    explain_pad,
    explain_texts,
)
from isobatch.audit.diagnosis import find
from isobatch.audit.machine_comparison import SavedAnswers, check_comparable, compare_machines
from isobatch.audit.output_rows import numbers_of
from isobatch.audit.probes import PROBES
from isobatch.audit.report_data import AuditReport, Finding, ProbeResult
from isobatch.audit.session import (
    AuditSession,
    BatchFailedError,
    NotTestedError,
    Probe,
    ProbeOutcome,
    in_one_line,
)
from isobatch.audit.subject import AnswerError, RowCountError, Subject
from isobatch.audit.targets import subject_of
from isobatch.drawing.display_text import counted
from isobatch.errors import AuditError, InputError

MOST_TEXTS = 48
"""Of more texts this many are taken, evenly spread; other texts find the same faults."""

NUM_QUICK = 8
"""Number of texts of a quick audit."""

MOST_CHARACTERS = 300
"""Of an error in a summary."""

# The order matters: a quick audit takes the first ones. None is long enough to be truncated by a
# model of 128 tokens.
DEFAULT_TEXTS = (
    "Today is a nice day!",
    "But what about tomorrow? Im not sure.",
    "Dull.",
    "The second half drags, but the actors are so good that nobody in the room seemed to mind.",
    "I would not go back.",
    "The train was late, the heating was broken, and still we had a good day.",
    "It does what it says, which is more than can be said of most of its kind, and it does it "
    "without asking for an account, a phone number or the name of my first pet.",
    "Worth every minute.",
    "Not bad, not bad at all.",
    "They repaired it within a day and did not charge for it.",
    "We laughed until it hurt.",
    "Is there anybody who can tell me how this ends?",
    "A quiet, careful story about two sisters and the house that neither of them wants to sell.",
    "The soup was cold again, the waiter was not, and the bill came to 48.50 for the two of us.",
    "No, thank you.",
    "Nobody told us that the museum closes on Mondays.",
    "He sings as if somebody had paid him to stop.",
    "The battery lasts for about as long as it takes to read the manual, which is short.",
    "My grandmother liked it more than I did, and she slept through most of the first act.",
    "Too loud.",
    "The view from the top made up for the rain, the mud and the dog.",
    "Please do not make a third one.",
    "Everything about this is wonderful, except for the price, the chairs, the sound, the queue "
    "at the door, the people in the queue, and what was sold to them as a glass of wine.",
    "Simple, warm and funny.",
)


@dataclass(frozen=True, slots=True)
class AuditProgress:
    """`done` of `total` probes are done; `probe` is the one that runs now, "" at the end.

    results: of those that are done, for a report of an audit that does not end.
    """

    done: int
    total: int
    probe: str
    results: tuple[ProbeResult, ...] = ()


def audit(
    target: Subject | Callable[[Sequence[str]], Any],
    texts: Sequence[str] | None = None,
    *,
    quick: bool = False,
    compare_with: SavedAnswers | None = None,
    on_progress: Callable[[AuditProgress], None] = lambda progress: None,
) -> AuditReport:
    """Send the same texts to `target` in many ways, and report what moved its results.

    target: a function from a list of texts to a row of logits or scores, a vector, numbers of
    tokens or entities for each, or a Subject of open_subject. texts: at least two; default:
    built-in ones. quick: a faster, less thorough audit. compare_with: answers of another audit, as
    of another machine, whose texts are the default then. Raises InputError for unsuitable texts,
    and AuditError if the target cannot be used or compared.
    """
    subject = target if isinstance(target, Subject) else subject_of(target)
    default = DEFAULT_TEXTS if compare_with is None else compare_with.texts
    chosen = _choose(default if texts is None else texts, NUM_QUICK if quick else MOST_TEXTS)
    session = AuditSession(subject, chosen, quick)
    started = time.perf_counter()
    failing = session.leave_out_failing()
    if compare_with:
        check_comparable(compare_with, session)
    outcomes: list[tuple[Probe, ProbeOutcome]] = []
    results: list[ProbeResult] = []
    if failing:
        outcome = explain_texts(session, failing)
        outcomes.append((TEXTS_ALONE, outcome))
        results.append(_result(TEXTS_ALONE, outcome, time.perf_counter() - started))
    for done, probe in enumerate(PROBES):
        on_progress(AuditProgress(done, len(PROBES), probe.name, tuple(results)))
        probe_started = time.perf_counter()
        outcome = _outcome(session, probe)
        outcomes.append((probe, outcome))
        results.append(_result(probe, outcome, time.perf_counter() - probe_started))
    on_progress(AuditProgress(len(PROBES), len(PROBES), "", tuple(results)))
    from isobatch.scope import processor_name  # imports torch, for which a server need not wait

    now = datetime.now(UTC).isoformat(timespec="minutes")
    report = AuditReport(
        target=subject.name,
        kind=subject.kind,
        facts={**subject.facts, "processor": processor_name(), "date": now},
        labels=subject.labels,
        num_texts=len(session.texts),
        probes=tuple(results),
        findings=_find(session, outcomes),
        seconds=time.perf_counter() - started,
        versions={"isobatch": __version__, "numpy": version("numpy")},
        texts=session.texts,
        texts_sent=chosen,
        answers=tuple(numbers_of(session.alone)),
        token_ids=_token_ids(session),
        gives_scores=subject.gives_scores,
        token_size=subject.token_size,
    )
    if compare_with is None:
        return report
    return replace(report, comparison=compare_machines(compare_with, session, report))


def _token_ids(session: AuditSession) -> tuple[str, ...]:
    encoded = session.subject.encoded
    if encoded is None:
        return ()
    numbers = (" ".join(map(str, encoded(text))) for text in session.texts)
    return tuple(hashlib.sha256(each.encode()).hexdigest()[:16] for each in numbers)


def _choose(texts: Iterable[str], most: int) -> tuple[str, ...]:
    """Return at least two different texts, at most `most` of them, evenly spread."""
    if isinstance(texts, str):
        raise InputError("audit() takes a list of texts, not one text")
    texts = list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"expected a text that is not blank, got {text!r}", index)
    different = list(dict.fromkeys(texts))
    if len(different) < 2:
        raise InputError(f"an audit needs at least two different texts, got {len(different)}")
    step = max(1.0, len(different) / most)
    return tuple(different[int(place * step)] for place in range(min(most, len(different))))


def _result(probe: Probe, outcome: ProbeOutcome, seconds: float) -> ProbeResult:
    described = probe.name, probe.changes, probe.proves
    return ProbeResult(*described, outcome.status, outcome.summary, outcome.movement, seconds)


def _find(
    session: AuditSession, outcomes: Sequence[tuple[Probe, ProbeOutcome]]
) -> tuple[Finding, ...]:
    """Return the findings; AuditError if there are none because all texts have one result."""
    findings = find(session, outcomes)
    if not findings:
        session.refuse_constant()
    return findings


def _outcome(session: AuditSession, probe: Probe) -> ProbeOutcome:
    try:
        return probe.run(session)
    except NotTestedError as error:
        return ProbeOutcome("not tested", str(error))
    except BatchFailedError as error:
        if not error.lost_rows and (explained := explain_failure(session, error)):
            return explained
        name = "answers-lost" if error.lost_rows else "batch-fails"
        effect = "lose rows" if error.lost_rows else "are refused"
        texts, reason = counted(len(error.texts), "text"), in_one_line(error, MOST_CHARACTERS)
        summary = f"{texts} together {effect}: {reason}"
        return ProbeOutcome("bug", summary, faults=(name,))
    except AnswerError as error:
        name = "answers-lost" if isinstance(error, RowCountError) else "batch-fails"
        return ProbeOutcome("bug", in_one_line(error, MOST_CHARACTERS), faults=(name,))
    except AuditError:
        raise
    except Exception as error:  # noqa: BLE001  # any error of a foreign model is its result
        if explained := explain_pad(session):
            return explained
        reason = in_one_line(error, MOST_CHARACTERS)
        return ProbeOutcome("not tested", f"the model refuses: {type(error).__name__}: {reason}")
