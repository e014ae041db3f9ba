"""assert_batch_invariant: the audit's core as one line of anybody's test suite.

It asks texts alone and in batches, and nothing else. Invariant: it passes only if every row of
every batch was compared with the same text's answer alone.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from isobatch.audit.movement import largest_gaps
from isobatch.audit.session import SEED, BatchFailedError, Session
from isobatch.audit.shrinking import Shrinker
from isobatch.audit.subject import Answers
from isobatch.audit.targets import subject_of
from isobatch.audit.texts import DEFAULT_TEXTS
from isobatch.errors import InputError

TRIES = 60


def assert_batch_invariant(
    predict: Callable[[Sequence[str]], Any], texts: Sequence[str] | None = None, atol: float = 0.0
) -> None:
    """AssertionError unless each text has the same answer alone and in every batch.

    predict: texts to one answer for each: logits or scores, as an array, tensor or lists. atol: the
    largest change of one number that passes; 0 asks for the same bits. Batches: all texts together,
    in three orders, and in twos and threes. The message has the smallest pair of texts that fails.
    """
    __tracebackhide__ = True  # pytest then shows the caller's line and the message
    if isinstance(texts, str):
        raise InputError("assert_batch_invariant takes a list of texts, not one text")
    chosen = tuple(DEFAULT_TEXTS if texts is None else texts)
    if len(chosen) < 2 or not all(isinstance(text, str) for text in chosen):
        raise InputError("assert_batch_invariant needs at least two texts")
    if not atol >= 0:
        raise InputError(f"atol must be 0 or more, got {atol}")
    session = Session(subject_of(predict), chosen)
    worst: tuple[float, int, tuple[int, ...]] | None = None
    moved = asked = 0
    for batch in _batches(len(chosen)):
        try:
            gaps = _gaps(session, batch)
        except BatchFailedError as error:
            raise AssertionError(
                f"a batch of {len(batch)} texts fails, each of which is answered alone: {error}"
            ) from error.__cause__
        asked, moved = asked + len(batch), moved + int((~(gaps <= atol)).sum())
        place = int(gaps.argmax())
        if not gaps[place] <= atol and (worst is None or gaps[place] > worst[0]):
            worst = float(gaps[place]), batch[place], batch
    if worst is not None:
        raise AssertionError(_explain(session, worst, atol, moved, asked))


def _batches(number: int) -> Iterator[tuple[int, ...]]:
    places = list(range(number))
    yield tuple(places)
    yield tuple(reversed(places))
    yield tuple(random.Random(SEED).sample(places, number))
    for size in (2, 3):
        yield from (tuple(places[start : start + size]) for start in range(0, number, size))


def _gaps(session: Session, batch: Sequence[int]) -> Any:
    """Largest change of each row of a batch against its text alone."""
    after = session.ask([session.texts[index] for index in batch])
    return _changes(session.alone[list(batch)], after)


def _changes(before: Answers, after: Answers) -> Any:
    """The largest change of each row; without end where one of both is no number."""
    broken = ~(np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1))
    return np.where(broken, np.inf, largest_gaps(before, after))


def _explain(
    session: Session, worst: tuple[float, int, tuple[int, ...]], atol: float, moved: int, asked: int
) -> str:
    gap, index, batch = worst
    allowed = "not one bit may" if atol == 0 else f"{atol:g} is allowed"
    lines = [
        f"answers depend on the batch: {moved} of {asked} rows moved ({allowed})",
        f"the most, by {gap:.3g}: {session.texts[index]!r} in a batch of {len(batch)}",
    ]
    pair = _smallest(session, index, batch, atol)
    if pair:
        text, company = pair
        alone, beside = session.ask([text])[0], session.ask([text, company])[0]
        lines += [
            "the smallest pair of texts that was found to show it:",
            f"  text      {text!r}",
            f"  beside    {company!r}",
            f"  alone     {alone.tolist()}",
            f"  in batch  {beside.tolist()}",
        ]
    lines.append("`isobatch audit python:MODULE:FUNCTION` looks for the cause")
    return "\n".join(lines)


def _smallest(
    session: Session, index: int, batch: Sequence[int], atol: float
) -> tuple[str, str] | None:
    def shows(text: str, company: str) -> bool:
        try:
            before, after = session.ask([text]), session.ask([text, company])[:1]
        except BatchFailedError:
            return False
        return not _changes(before, after)[0] <= atol

    text = session.texts[index]
    shrinker = Shrinker(shows, TRIES)
    others = sorted((session.texts[each] for each in batch if each != index), key=len, reverse=True)
    found = shrinker.first((text, company) for company in others[:8])
    return shrinker.smallest(*found) if found else None
