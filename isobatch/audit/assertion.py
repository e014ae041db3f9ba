"""assert_batch_invariant: the core of the audit as one line of a test suite.

Invariant: it passes only if every row of every batch was compared with the same text alone.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from isobatch.audit.auditor import DEFAULT_TEXTS
from isobatch.audit.diagnosis import IN_BATCH, reproduce
from isobatch.audit.movement import largest_gaps
from isobatch.audit.output_rows import aligned
from isobatch.audit.session import SEED, AuditSession, BatchFailedError
from isobatch.audit.subject import Outputs
from isobatch.audit.targets import subject_of
from isobatch.errors import InputError

TRIES = 60


BATCH_SIZES = (2, 3, 8, 16, 33, 64)
"""33 and 64: some kernels, caches and servers change above 32 rows."""


def assert_batch_invariant(
    predict: Callable[[Sequence[str]], Any],
    texts: Sequence[str] | None = None,
    atol: float = 0.0,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> None:
    """Raise AssertionError unless each text has the same result alone and in every batch.

    predict: texts to one row of logits or scores for each, as an array, tensor or lists. atol: the
    largest change of one number that passes; 0 requires the same bits. Batches: all texts together,
    in three orders (unless `batch_sizes` are all smaller), and batches of each of `batch_sizes`, in
    which texts repeat if there are fewer. The message has the smallest pair of texts that fails.
    """
    __tracebackhide__ = True  # pytest then shows the caller's line and the message
    if isinstance(texts, str):
        raise InputError("assert_batch_invariant takes a list of texts, not one text")
    chosen = tuple(DEFAULT_TEXTS if texts is None else texts)
    if len(chosen) < 2 or not all(isinstance(text, str) for text in chosen):
        raise InputError("assert_batch_invariant needs at least two texts")
    if not atol >= 0:
        raise InputError(f"atol must be 0 or more, got {atol}")
    if not batch_sizes or not all(isinstance(size, int) and size > 1 for size in batch_sizes):
        raise InputError(f"batch_sizes must be numbers above 1, got {batch_sizes!r}")
    session = AuditSession(subject_of(predict), chosen)
    worst: tuple[float, int, tuple[int, ...]] | None = None
    moved = compared = 0
    for batch in _batches(len(chosen), batch_sizes):
        try:
            after = session.predict([chosen[index] for index in batch])
        except BatchFailedError as error:
            raise AssertionError(
                f"a batch of {len(batch)} texts fails, each of which is accepted alone: {error}. "
                "If larger batches are never used, pass batch_sizes=, such as "
                f"batch_sizes={_smaller(len(batch), batch_sizes)}"
            ) from error.__cause__
        gaps = _changes(session.alone[list(batch)], after)
        compared, moved = compared + len(batch), moved + int((~(gaps <= atol)).sum())
        place = int(gaps.argmax())
        if not gaps[place] <= atol and (worst is None or gaps[place] > worst[0]):
            worst = float(gaps[place]), batch[place], batch
    if worst is not None:
        raise AssertionError(_explain(session, worst, atol, f"{moved} of {compared}"))


def _batches(number: int, sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield places of texts: all of them in several orders, then every text in each size."""
    places = list(range(number))
    if number <= max(sizes):
        yield tuple(places)
        yield tuple(reversed(places))
        yield tuple(random.Random(SEED).sample(places, number))
    for size in sizes:
        for start in range(0, number, size):
            yield tuple((start + step) % number for step in range(size))


def _smaller(size: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes below one that fails, or the smallest one below it."""
    return tuple(each for each in sizes if each < size) or (2,)


def _changes(before: Outputs, after: Outputs) -> Any:
    """Return the largest change of each row; infinity if one of the two is not finite."""
    before, after = aligned(before, after)
    broken = ~(np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1))
    return np.where(broken, np.inf, largest_gaps(before, after))


def _explain(
    session: AuditSession, worst: tuple[float, int, tuple[int, ...]], atol: float, moved: str
) -> str:
    gap, index, batch = worst
    text = session.texts[index]
    allowed = "not one bit may change" if atol == 0 else f"{atol:g} is allowed"
    lines = [
        f"answers depend on the batch: {moved} rows moved ({allowed})",
        f"the most, by {gap:.3g}: {text!r} in a batch of {len(batch)}",
    ]
    others = sorted((session.texts[each] for each in batch if each != index), key=len, reverse=True)
    pairs = ((text, other) for other in others[:8])
    found = reproduce(session, IN_BATCH, pairs, lambda *two: not _changes(*two)[0] <= atol, TRIES)
    if found:
        lines += [
            "the smallest pair of texts that was found to show it:",
            f"  text      {found.text!r}",
            f"  next to   {found.other_text!r}",
            f"  alone     {list(found.before)}",
            f"  in batch  {list(found.after)}",
        ]
    lines.append("`isobatch audit python:MODULE:FUNCTION` diagnoses the cause")
    return "\n".join(lines)
