"""Diagnosis: from what the probes saw to findings, one for each mistake, with texts that show it.

Invariant: every fault that a probe named is in the report, itself or through one that explains it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isobatch.audit.faults import FAULTS, explained_by
from isobatch.audit.movement import largest_gaps
from isobatch.audit.output_rows import numbers_of
from isobatch.audit.report_data import SEVERITIES, Finding, Reproduction, Severity
from isobatch.audit.session import AuditSession, BatchFailedError, Probe, ProbeOutcome
from isobatch.audit.subject import Outputs

Seen = tuple[Probe, ProbeOutcome]

TRIES, QUICK_TRIES = 80, 24
PLAIN_WORDS = " and so on" * 4


class Shrinker:
    """Search for the smallest pair of texts that shows a fault, in at most `tries` tries.

    Words are taken away, many at a time and then one by one (the delta debugging of Zeller and
    Hildebrandt, 2002, without its complements). Invariant: each pair returned was seen to show it.
    """

    def __init__(self, shows: Callable[[str, str], bool], tries: int) -> None:
        self._shows = shows
        self._left = tries
        self._known: dict[tuple[str, str], bool] = {}

    def first(self, pairs: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
        """Return the first pair that shows it; None if none does within the tries."""
        return next((pair for pair in pairs if self.shows(*pair)), None)

    def smallest(self, text: str, other: str) -> tuple[str, str]:
        """Return the pair without the words that are not needed to show it."""
        other = self._without(other, lambda less: self.shows(text, less))
        text = self._without(text, lambda less: self.shows(less, other))
        return text, other

    def shows(self, text: str, other: str) -> bool:
        """Find out whether it shows the fault, if it is not known; False once no try is left."""
        pair = text, other
        if pair not in self._known:
            if not self._left:
                return False
            self._left -= 1
            self._known[pair] = self._shows(text, other)
        return self._known[pair]

    @staticmethod
    def _without(text: str, shows: Callable[[str], bool]) -> str:
        words = text.split()
        size = len(words) // 2
        while size:
            start = 0
            while start < len(words):
                less = words[:start] + words[start + size :]
                if less and shows(" ".join(less)):
                    words = less
                else:
                    start += size
            size //= 2
        shorter = " ".join(words)
        return shorter if shows(shorter) else text


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A way to show a fault with a text and another text: two outputs for the first.

    batch_size: how many texts it sends together; 0 if it needs no other text.
    """

    how: tuple[str, str]
    predict: Callable[[AuditSession, str, str], tuple[Outputs, Outputs]]
    batch_size: int = 2


def find(session: AuditSession, seen: Sequence[Seen]) -> tuple[Finding, ...]:
    """Return the findings, bugs first, each by the name that explains most of what was seen."""
    named = {
        name: [(probe, outcome) for probe, outcome in seen if name in outcome.faults]
        for name in FAULTS
        if any(name in outcome.faults for _, outcome in seen)
    }
    explained = {other for name in named for other in explained_by(name)}
    findings = []
    for name in (each for each in named if each not in explained):
        with_it = [each for each in named if each in explained_by(name)]
        pairs = [pair for each in (name, *with_it) for pair in named[each]]
        findings.append(_finding(session, name, pairs))
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def _finding(session: AuditSession, name: str, pairs: Sequence[Seen]) -> Finding:
    """Make a finding as severe as the worst of what it explains."""
    fault = FAULTS[name]
    statuses = {outcome.status for _, outcome in pairs}
    severity: Severity = next((each for each in SEVERITIES if each in statuses), "drift")
    movements = [outcome.movement for _, outcome in pairs if outcome.movement]
    return Finding(
        severity=severity,
        name=name,
        title=fault.title,
        cause=pairs[0][1].summary if severity == "configuration" else fault.cause,
        fix=fault.fix,
        probes=tuple(dict.fromkeys(probe.name for probe, _ in pairs)),
        movement=max(movements, key=lambda each: (each.broken_rows, each.largest), default=None),
        reproduction=_reproduce(session, name, severity),
    )


def _reproduce(session: AuditSession, name: str, severity: Severity) -> Reproduction | None:
    """Find the smallest pair of texts that shows it through the system's own API, if any does."""
    if severity == "configuration" or name in ("batch-fails", "answers-lost"):
        return None
    demonstrations = _DEMONSTRATIONS.get(name, _IN_BATCHES)
    found = (_shown_by(session, each, severity) for each in demonstrations)
    return next((each for each in found if each), None)


def _shown_by(
    session: AuditSession, demonstration: Demonstration, severity: Severity
) -> Reproduction | None:
    if demonstration.batch_size and session.largest_batch < demonstration.batch_size:
        return None
    allowed = session.tolerance.absolute
    least, most = (allowed, float("inf")) if severity == "bug" else (0.0, allowed)

    def is_shown(before: Outputs, after: Outputs) -> bool:
        if not (np.isfinite(before).all() and np.isfinite(after).all()):
            return severity == "bug"
        return bool(least < largest_gaps(before, after)[0] <= most)

    pairs = _pairs(session, demonstration)
    tries = QUICK_TRIES if session.quick else TRIES
    return reproduce(session, demonstration, pairs, is_shown, tries)


def reproduce(
    session: AuditSession,
    demonstration: Demonstration,
    pairs: Iterable[tuple[str, str]],
    is_shown: Callable[[Outputs, Outputs], bool],
    tries: int,
) -> Reproduction | None:
    """Find the first of `pairs` whose two outputs show a fault, and shrink it."""

    def shows(text: str, other: str) -> bool:
        try:
            return is_shown(*demonstration.predict(session, text, other))
        except BatchFailedError:
            return False

    shrinker = Shrinker(shows, tries)
    found = shrinker.first(pairs)
    if found is None:
        return None
    text, other = shrinker.smallest(*found)
    before, after = demonstration.predict(session, text, other)
    numbers = numbers_of(before[:1])[0], numbers_of(after[:1])[0]
    return Reproduction(text, other, demonstration.how, *numbers)


def _pairs(session: AuditSession, demonstration: Demonstration) -> Iterator[tuple[str, str]]:
    """Yield short texts next to long ones first: those have the most pads."""
    texts = sorted(session.texts, key=len)
    if not demonstration.batch_size:
        yield from ((text, "") for text in texts[-3:])
        return
    for text in [*texts[:4], ""]:
        for other in (texts[-1], text + PLAIN_WORDS, texts[-2], text):
            yield text, other
        yield texts[-1], text
    yield f"{texts[-1]} good", f"{texts[-1]} bad"
    yield f"good {texts[-1]}", f"bad {texts[-1]}"


def _in_flight(session: AuditSession, text: str, other: str) -> tuple[Outputs, Outputs]:
    assert session.subject.in_flight is not None
    return session.predict([text]), session.subject.in_flight([[text], *[[other]] * 7])[0]


def _with_positions(session: AuditSession, text: str, other: str) -> tuple[Outputs, Outputs]:
    model = session.padded
    row = model.encode(text)[: model.max_tokens]
    start = model.positions_start or 0
    return session.forward_alone([row]), session.forward_alone([row], start)


def _in_batch(how: str, batch: Callable[[str, str], list[str]]) -> Demonstration:
    """Compare a text alone with its row in a `batch` of the text and the other text."""
    example = batch("text", "other")
    row = example.index("text")

    def predict(session: AuditSession, text: str, other: str) -> tuple[Outputs, Outputs]:
        return session.predict([text]), session.predict(batch(text, other))[row : row + 1]

    return Demonstration(("alone", how), predict, len(example))


IN_BATCH = _in_batch("in a batch with the other text", lambda text, other: [text, other])
_IN_BATCHES = (
    IN_BATCH,
    _in_batch("in a batch behind the other text", lambda text, other: [other, text]),
    _in_batch(
        "in a batch with the other text seven times", lambda text, other: [text, *[other] * 7]
    ),
)
_DEMONSTRATIONS = {
    "not-repeatable": (
        Demonstration(
            ("the first time", "the second time"),
            lambda session, text, other: (session.predict([text]), session.predict([text])),
            batch_size=0,
        ),
    ),
    "requests-mixed": (Demonstration(("alone", "concurrently with the other text"), _in_flight),),
    "padding-id-positions": (
        Demonstration(
            ("with the model's own positions", "with position_ids from 1 token to the next"),
            _with_positions,
            batch_size=0,
        ),
    ),
    "texts-confused": _IN_BATCHES[:2],
}
