"""What a probe is: a name, what it changes, what that proves, and a function that tries it.

It knows no particular probe. Invariant: a probe draws no conclusion from another one; that is left
to the diagnosis.
"""

from collections.abc import Callable
from dataclasses import dataclass

from isobatch.audit.result import Movement, Status, Verdict
from isobatch.audit.session import Session


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe saw; `faults` are names of isobatch.audit.faults that it would explain it by."""

    status: Status
    summary: str
    movement: Movement | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """One way of asking that must not change an answer."""

    name: str
    changes: str
    proves: str
    run: Callable[[Session], Outcome]


def probe(
    name: str, *, changes: str, proves: str
) -> Callable[[Callable[[Session], Outcome]], Probe]:
    """Make a Probe of a function."""
    return lambda run: Probe(name, changes, proves, run)


def judged(session: Session, movement: Movement, fault: str, what: str) -> Outcome:
    """The Outcome of a movement that should not be: `fault` beyond rounding, else mere drift."""
    status = session.tolerance.judge(movement)
    if fault != "empty-texts-break" and movement.broken_rows:
        fault = fault if session.tolerance.exceeded(movement) else "not-finite"
    faults: dict[Verdict, tuple[str, ...]] = {"bug": (fault,), "drift": ("rounding",), "exact": ()}
    return Outcome(status, describe(movement, what), movement, faults[status])


def describe(movement: Movement, what: str) -> str:
    """The movement in a sentence; `what` is its condition, e.g. "with another batch size"."""
    if not movement.moved_rows and not movement.broken_rows:
        return f"the same bits {what}, {movement.rows} of {movement.rows} times"
    words = f"{movement.moved_rows} of {movement.rows} answers move {what}"
    words += f", by up to {largest(movement):.2g}"
    if movement.flips:
        words += f"; {movement.flips} labels flip"
    if movement.broken_rows:
        words += f"; {movement.broken_rows} are no finite number"
    return words


def largest(movement: Movement) -> float:
    """The largest change, of logits where there are any."""
    return movement.max_score if movement.max_logit is None else movement.max_logit


def in_one_line(error: object, most: int = 200) -> str:
    """What an error says, without its line breaks, and no more characters than fit a table."""
    return " ".join(str(error).split())[:most]
