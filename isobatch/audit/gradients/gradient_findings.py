"""From the probes of a training step to findings, each with the smallest batch that shows it.

Invariant: every fault that a probe named is in the report, itself or through one that explains it.
"""

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import NamedTuple

from isobatch.audit.diagnosis import Shrinker
from isobatch.audit.gradients.gradient_faults import (
    GRADIENT_FAULTS,
    explained_gradient_faults,
)
from isobatch.audit.gradients.gradient_probes import (
    GRADIENT_PROBES,
    GradientOutcome,
    GradientProbe,
)
from isobatch.audit.gradients.gradient_session import ComparedStep, GradientSession
from isobatch.audit.gradients.training_step import MicroBatches, StepExample, StepFailedError
from isobatch.audit.report_data import SEVERITIES, Finding, ProbeResult, Reproduction, Severity
from isobatch.audit.session import NotTestedError, ProbeOutcome, in_one_line

MAX_CHARACTERS = 300
"""Of an error in a summary."""

SHRINK_TRIES = 16
"""Pairs of shorter texts; each needs three calls of the step."""

SHORTER_TEXTS = ("gradient-padding-counts", "order-counts")
"""Faults that the length of the texts decides."""


class SeenProbe(NamedTuple):
    """A probe that ran, and its outcome."""

    probe: GradientProbe
    outcome: GradientOutcome
    seconds: float

    @property
    def result(self) -> ProbeResult:
        """The result as reports have it."""
        described = self.probe.name, self.probe.changes, self.probe.proves
        result = self.outcome.result
        return ProbeResult(*described, result.status, result.summary, None, self.seconds)


def run_gradient_probes(session: GradientSession) -> Iterator[SeenProbe]:
    """Run every probe; of a step that is not repeatable, only the first.

    Raises AuditError for a step whose gradients of single texts cannot be compared with.
    """
    not_repeatable = False
    for probe in GRADIENT_PROBES:
        started = perf_counter()
        if not_repeatable:
            skipped = ProbeOutcome("not tested", "the step is not repeatable")
            yield SeenProbe(probe, GradientOutcome(skipped), 0.0)
            continue
        outcome = _outcome(session, probe)
        if probe is GRADIENT_PROBES[0]:
            not_repeatable = outcome.result.faults[:1] in (
                ("gradients-kept",), ("step-not-repeatable",)
            )  # fmt: skip
        yield SeenProbe(probe, outcome, perf_counter() - started)


def _outcome(session: GradientSession, probe: GradientProbe) -> GradientOutcome:
    try:
        return probe.run(session)
    except NotTestedError as error:
        return GradientOutcome(ProbeOutcome("not tested", str(error)))
    except StepFailedError as error:
        _ = session.alone  # AuditError if the step fails alone as well
        summary = in_one_line(error, MAX_CHARACTERS)
        return GradientOutcome(ProbeOutcome("bug", summary, None, ("step-fails",)))


def find_gradient_faults(
    session: GradientSession, seen: Sequence[SeenProbe]
) -> tuple[Finding, ...]:
    """Return the findings, bugs first, each by the name that explains most of what was seen."""
    named = {
        name: [each for each in seen if name in each.outcome.result.faults]
        for name in GRADIENT_FAULTS
    }
    named = {name: shown_by for name, shown_by in named.items() if shown_by}
    explained = {other for name in named for other in explained_gradient_faults(name)}
    if any(name != "gradient-rounding" for name in named):
        explained.add("gradient-rounding")
    findings = [_finding(session, name, named) for name in named if name not in explained]
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def _finding(session: GradientSession, name: str, named: dict[str, list[SeenProbe]]) -> Finding:
    fault = GRADIENT_FAULTS[name]
    others = explained_gradient_faults(name)
    shown_by = [each for key in (name, *others) for each in named.get(key, [])]
    severity: Severity = "drift" if name == "gradient-rounding" else "bug"
    reproduction = None
    if severity == "bug" and name not in ("step-fails", "gradients-kept", "step-not-repeatable"):
        reproduction = _reproduce(session, name, named[name][0].probe.name)
    return Finding(
        severity=severity,
        name=name,
        title=fault.title,
        cause=fault.cause,
        fix=fault.fix,
        probes=tuple(dict.fromkeys(each.probe.name for each in shown_by)),
        reproduction=reproduction,
    )


def _reproduce(session: GradientSession, name: str, probe: str) -> Reproduction | None:
    """Find two texts that show the fault; shorter ones where their length decides."""
    places = sorted(session.everything, key=lambda place: len(str(session.examples[place].text)))
    pairs = [(places[0], places[-1]), tuple(places[:2])]
    pairs += [(places[-1], place) for place in places[:-1]]  # also with another label
    if probe == "copies-of-a-text":
        pairs = [(places[0], places[0]), (places[-1], places[-1])]
    for first, second in pairs:
        pair = session.examples[first], session.examples[second]
        for batch, split in _small_batches(probe):
            compared = _compare(session, pair, batch, split)
            if compared and not compared.gap <= session.rtol:
                if name in SHORTER_TEXTS:
                    pair = _shorter(session, pair, batch, split)
                    compared = _compare(session, pair, batch, split) or compared
                return _reproduction(pair, compared)
    return None


def _small_batches(probe: str) -> list[tuple[tuple[int, ...], MicroBatches]]:
    """Return places of a pair in a batch, and its split: both, or three with one of them twice."""
    if probe == "micro-batches":
        return [((0, 1), (1, 1)), ((0, 0, 1), (2, 1)), ((0, 1, 1), (1, 2))]
    return [((0, 1), (2,))]


def _compare(
    session: GradientSession,
    pair: Sequence[StepExample],
    batch: tuple[int, ...],
    split: MicroBatches,
) -> ComparedStep | None:
    if not session.step.takes(split):
        return None
    try:
        return session.with_texts(pair).compare(batch, split)
    except StepFailedError:
        return None


def _shorter(
    session: GradientSession,
    pair: tuple[StepExample, StepExample],
    batch: tuple[int, ...],
    split: MicroBatches,
) -> tuple[StepExample, StepExample]:
    if not all(isinstance(each.text, str) for each in pair):
        return pair

    def examples(text: str, other: str) -> tuple[StepExample, StepExample]:
        return StepExample(text, pair[0].label), StepExample(other, pair[1].label)

    def shows(text: str, other: str) -> bool:
        compared = _compare(session, examples(text, other), batch, split)
        return compared is not None and not compared.gap <= session.rtol

    shrinker = Shrinker(shows, SHRINK_TRIES)
    if not shrinker.shows(pair[0].text, pair[1].text):
        return pair
    return examples(*shrinker.smallest(pair[0].text, pair[1].text))


def _reproduction(pair: tuple[StepExample, StepExample], compared: ComparedStep) -> Reproduction:
    first, second = (str(each.text) for each in pair)
    where = "in one batch"
    if len(compared.split) > 1:
        where = f"in micro-batches of {' + '.join(map(str, compared.split))}"
    twice: dict[tuple[int, ...], str] = {
        (0, 0, 1): ", the text twice",
        (0, 1, 1): ", the other text twice",
    }
    how = f"gradient {where}{twice.get(compared.places, '')}"
    return Reproduction(
        first,
        second,
        ("mean of the gradients alone", how),
        (compared.expected_norm,),
        (compared.norm,),
    )
