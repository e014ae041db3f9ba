"""From what the probes saw to findings: one mistake, one finding, with texts that show it.

It tries no new way of asking, but for making a pair of texts smaller. Invariant: every fault that a
probe named is found in the report, itself or through one that explains it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from isobatch.audit.faults import FAULTS
from isobatch.audit.movement import largest_gaps
from isobatch.audit.padding import positions_by_mask, without_pads
from isobatch.audit.probing import Outcome, Probe, largest
from isobatch.audit.result import Finding, Movement, Reproduction
from isobatch.audit.session import BatchFailedError, Session
from isobatch.audit.shrinking import Shrinker
from isobatch.audit.subject import Answers

Seen = tuple[Probe, Outcome]
Severity = Literal["bug", "drift"]

TRIES, QUICK_TRIES = 80, 24
PLAIN_COMPANY = " and so on" * 4


@dataclass(frozen=True, slots=True)
class Show:
    """A way to show a fault with a text and its company: two answers to the text.

    in_company: how many texts it asks together; 0 where the text has no company.
    """

    how: tuple[str, str]
    ask: Callable[[Session, str, str], tuple[Answers, Answers]]
    in_company: int = 2


def find(session: Session, seen: Sequence[Seen]) -> tuple[Finding, ...]:
    """The findings, bugs first, each by the name that explains most of what was seen."""
    named = {name: pairs for name in FAULTS if (pairs := _naming(seen, name))}
    explained = {other for name in named for other in FAULTS[name].explains} & named.keys()
    findings = []
    for name in named.keys() - explained:
        with_it = [each for each in FAULTS[name].explains if each in named]
        findings.append(_finding(session, name, [named[each] for each in (name, *with_it)]))
    places = list(FAULTS)
    return tuple(sorted(findings, key=lambda f: (f.severity != "bug", places.index(f.name))))


def _naming(seen: Sequence[Seen], name: str) -> list[Seen]:
    return [(probe, outcome) for probe, outcome in seen if name in outcome.faults]


def _finding(session: Session, name: str, groups: Sequence[Sequence[Seen]]) -> Finding:
    """As bad as the worst of what it explains; `groups`: what named it, and what it explains."""
    fault, pairs = FAULTS[name], [pair for group in groups for pair in group]
    severity: Severity = "drift"
    if any(outcome.status == "bug" for _, outcome in pairs):
        severity = "bug"
    movements = [outcome.movement for _, outcome in pairs if outcome.movement]
    return Finding(
        severity=severity,
        name=name,
        title=fault.title,
        cause=fault.cause,
        cure=fault.cure,
        probes=tuple(dict.fromkeys(probe.name for probe, _ in pairs)),
        movement=max(movements, key=_weight, default=None),
        reproduction=_reproduce(session, name, severity),
    )


def _weight(movement: Movement) -> tuple[int, float]:
    return movement.broken_rows, largest(movement)


def _reproduce(session: Session, name: str, severity: Severity) -> Reproduction | None:
    """The smallest pair of texts that shows it through the system's own face; None if none does."""
    if name in ("batch-fails", "answers-lost"):
        return None
    tried = (_shown(session, show, severity) for show in _SHOWS.get(name, _IN_BATCHES))
    return next((found for found in tried if found), None)


def _shown(session: Session, show: Show, severity: Severity) -> Reproduction | None:
    if show.in_company and session.largest_batch < show.in_company:
        return None
    allowed = session.tolerance.absolute
    least, most = (allowed, float("inf")) if severity == "bug" else (0.0, allowed)

    def shows(text: str, company: str) -> bool:
        try:
            before, after = show.ask(session, text, company)
        except BatchFailedError:
            return False
        if not np.isfinite([before, after]).all():
            return severity == "bug"
        return bool(least < largest_gaps(before, after)[0] <= most)

    shrinker = Shrinker(shows, QUICK_TRIES if session.quick else TRIES)
    found = shrinker.first(_pairs(session, show))
    if found is None:
        return None
    text, company = shrinker.smallest(*found)
    before, after = show.ask(session, text, company)
    return Reproduction(
        text, company, show.how, tuple(before[0].tolist()), tuple(after[0].tolist())
    )


def _pairs(session: Session, show: Show) -> Iterator[tuple[str, str]]:
    """Short texts beside long ones first: there most pads are. Beside itself a text has none."""
    texts = sorted(session.texts, key=len)
    if not show.in_company:
        yield from ((text, "") for text in texts[-3:])
        return
    for text in [*texts[:4], ""]:
        others = (texts[-1], text + PLAIN_COMPANY, texts[-2], text)
        yield from ((text, company) for company in others)
        yield texts[-1], text
    yield f"{texts[-1]} good", f"{texts[-1]} bad"
    yield f"good {texts[-1]}", f"bad {texts[-1]}"


def _beside(session: Session, text: str, company: str) -> tuple[Answers, Answers]:
    return session.ask([text]), session.ask([text, company])[:1]


def _behind(session: Session, text: str, company: str) -> tuple[Answers, Answers]:
    return session.ask([text]), session.ask([company, text])[1:]


def _among(session: Session, text: str, company: str) -> tuple[Answers, Answers]:
    return session.ask([text]), session.ask([text, *[company] * 7])[:1]


def _again(session: Session, text: str, company: str) -> tuple[Answers, Answers]:
    return session.ask([text]), session.ask([text])


def _in_flight(session: Session, text: str, company: str) -> tuple[Answers, Answers]:
    assert session.subject.in_flight is not None
    return session.ask([text]), session.subject.in_flight([[text], *[[company]] * 7])[0]


def _with_positions(session: Session, text: str, company: str) -> tuple[Answers, Answers]:
    model = session.padded
    row = model.encode(text)[: model.max_tokens]
    rectangle = without_pads([row])
    assert rectangle.attention_mask is not None
    positions = positions_by_mask(rectangle.attention_mask, model.positions_start or 0)
    told = replace(rectangle, position_ids=positions)
    return session.forward(rectangle), session.forward(told)


_IN_BATCHES = (
    Show(("alone", "in a batch with the other text"), _beside),
    Show(("alone", "in a batch behind the other text"), _behind),
    Show(("alone", "in a batch with the other text seven times"), _among, in_company=8),
)
_SHOWS = {
    "not-repeatable": (Show(("the first time", "the second time"), _again, in_company=0),),
    "requests-mixed": (Show(("alone", "with the other text under way"), _in_flight),),
    "padding-id-positions": (
        Show(
            ("by the model's own positions", "with position_ids from 1 token to the next"),
            _with_positions,
            in_company=0,
        ),
    ),
    "texts-confused": _IN_BATCHES[:2],
}
