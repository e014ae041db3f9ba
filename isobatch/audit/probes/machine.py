"""Probes of the machine: the same call again, other numbers of threads, fewer bits.

Invariant: the batch itself is the same in everything that is compared.
"""

import os

import numpy as np

from isobatch.audit.padding import Pads, pad
from isobatch.audit.probing import Outcome, judged, largest, probe
from isobatch.audit.session import NotTestedError, Session
from isobatch.audit.subject import Answers, PaddedModel

DTYPES = ("bfloat16", "float16")


@probe(
    "repeated-runs",
    changes="nothing: the same batch is asked three times",
    proves="that an answer can be had again at all",
)
def repeated_runs(session: Session) -> Outcome:
    """Whatever moves here moves for no reason, and every other probe has to be read with it."""
    texts = session.texts[: min(8, session.largest_batch)]
    first = session.ask(texts)
    later = [session.ask(texts) for _ in range(2)]
    movement = session.compare(np.concatenate([first] * 2), np.concatenate(later))
    outcome = judged(session, movement, "not-repeatable", "when asked again")
    faults = ("not-repeatable",) if movement.moved_rows else ()
    return Outcome(outcome.status, outcome.summary, movement, faults)


@probe(
    "thread-count",
    changes="the number of threads that compute",
    proves="that an answer does not depend on the processor's cores",
)
def thread_count(session: Session) -> Outcome:
    """One thread against two, and against as many as there are processors."""
    with_threads = session.subject.with_threads
    if with_threads is None:
        raise NotTestedError("the system's threads are its own affair")
    texts = session.texts[: min(8, session.largest_batch)]
    answers = []
    for threads in (1, *sorted({2, os.cpu_count() or 2} - {1})):
        with with_threads(threads):
            answers.append(session.ask(texts))
    first, *others = answers
    movement = session.compare(np.concatenate([first] * len(others)), np.concatenate(others))
    return judged(session, movement, "not-repeatable", "with the number of threads")


@probe(
    "half-precision",
    changes="the format of numbers, and one row of the batch has no token at all",
    proves="that a mask in half precision makes no NaN; says how far the batch moves answers there",
)
def half_precision(session: Session) -> Outcome:
    """Notes of formats that the system does not use as it is; NaN in a neighbour is a fault."""
    if session.subject.lowered is None:
        raise NotTestedError("the system computes in a format of its own")
    rows = session.rows(6, 8)
    told: list[str] = []
    for dtype in DTYPES:
        model = session.subject.lowered(dtype)
        alone, beside = _beside_nothing(model, rows)
        if np.isfinite(alone).all() and not np.isfinite(beside[:-1]).all():
            summary = f"in {dtype} a row without a token makes its neighbours NaN"
            return Outcome("bug", summary, session.compare(alone, beside[:-1]), ("half-precision",))
        told.append(_told(session, dtype, alone, beside))
    return Outcome("note", "; ".join(told))


def _beside_nothing(model: PaddedModel, rows: list[list[int]]) -> tuple[Answers, Answers]:
    """Each row alone; and all of them padded, with a last row that is masked out as a whole."""
    columns = max(map(len, rows)) + 2
    batch = pad([*rows, []], Pads(columns, model.padding_side, (model.pad_id,)))
    alone = [model.forward(pad([r], Pads(len(r), "right", (model.pad_id,)))) for r in rows]
    return np.concatenate(alone), model.forward(batch)


def _told(session: Session, dtype: str, alone: Answers, beside: Answers) -> str:
    moved = largest(session.compare(alone, beside[:-1]))
    broken = "" if np.isfinite(beside[-1]).all() else ", and the row without a token is NaN"
    return f"in {dtype} the batch moves answers by up to {moved:.2g}{broken}"
