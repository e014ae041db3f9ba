"""Probes of repeated calls, numbers of threads, half precision, and texts too short or too long.

Invariant: a refusal is reported as one, and never taken for a result.
"""

import os

import numpy as np

from isobatch.audit.configuration import explain_failure
from isobatch.audit.output_rows import stack_rows
from isobatch.audit.session import (
    AuditSession,
    BatchFailedError,
    NotTestedError,
    ProbeOutcome,
    in_one_line,
    probe,
)
from isobatch.audit.subject import Outputs, PaddedModel, Pads, pad, without_pads

DTYPES = ("bfloat16", "float16")

SHORT = ("", "a", ".")

MOST_WORDS = 2048
"""Longer texts take minutes on a CPU."""

MANY_WORDS = 700
"""Where no limit is known: above the 512 tokens of most models."""


@probe(
    "repeated-runs",
    changes="nothing: the same batch is sent three times",
    proves="the system is deterministic",
)
def repeated_runs(session: AuditSession) -> ProbeOutcome:
    """Find movements without a cause in the batch, which qualify every other probe."""
    texts = session.texts[: min(8, session.largest_batch)]
    movement = session.compare(*(session.predict(texts) for _ in range(3)))
    return session.judged(movement, "not-repeatable", "in a repeated call", exact_bits=True)


@probe(
    "thread-count",
    changes="the number of threads that compute",
    proves="a result does not depend on the number of CPU cores",
)
def thread_count(session: AuditSession) -> ProbeOutcome:
    """Compare one thread with two, and with as many as there are processors."""
    with_threads = session.subject.with_threads
    if with_threads is None:
        raise NotTestedError("this target's thread count cannot be set")
    texts = session.texts[: min(8, session.largest_batch)]
    outputs = []
    for threads in (1, *sorted({2, os.cpu_count() or 2} - {1})):
        with with_threads(threads):
            outputs.append(session.predict(texts))
    movement = session.compare(*outputs)
    return session.judged(movement, "not-repeatable", "with the number of threads")


@probe(
    "half-precision",
    changes="the float format, and one row of the batch has no token at all",
    proves="a mask in half precision causes no NaN; reports how far the batch moves results there",
)
def half_precision(session: AuditSession) -> ProbeOutcome:
    """Report formats that the system does not use as notes; NaN in another row is a fault."""
    if session.subject.lowered is None:
        raise NotTestedError("this target's float format cannot be changed")
    rows = session.rows(6, 8)
    notes: list[str] = []
    for dtype in DTYPES:
        alone, together = _with_an_empty_row(session.subject.lowered(dtype), rows)
        movement = session.compare(alone, together[:-1])
        if np.isfinite(alone).all() and not np.isfinite(together[:-1]).all():
            summary = f"in {dtype} a row without a token makes the other rows NaN"
            return ProbeOutcome("bug", summary, movement, ("half-precision",))
        broken = "" if np.isfinite(together[-1]).all() else ", and the row without a token is NaN"
        notes.append(f"in {dtype} the batch moves results by up to {movement.largest:.2g}{broken}")
    return ProbeOutcome("note", "; ".join(notes))


def _with_an_empty_row(model: PaddedModel, rows: list[list[int]]) -> tuple[Outputs, Outputs]:
    """Compute each row alone; and all of them padded, with a last row that is all masked out."""
    columns = max(map(len, rows)) + 2
    batch = pad([*rows, []], Pads(columns, model.padding_side, (model.pad_id,)))
    alone = [model.forward(without_pads([row])) for row in rows]
    return stack_rows(alone), model.forward(batch)


@probe(
    "short-texts",
    changes="a text that is empty or has one token; alone, and then next to a long one",
    proves="an empty or one-token text has a result, the same in every batch",
)
def short_texts(session: AuditSession) -> ProbeOutcome:
    """Accept a refusal, but no NaN."""
    long_text = max(session.texts, key=len)
    before, after, refused = [], [], []
    for text in SHORT:
        try:
            before.append(session.predict([text]))
        except BatchFailedError as error:
            if error.lost_rows:
                raise
            refused.append(f"{text!r} is refused ({error})")
            continue
        rows = session.predict([text, long_text] if session.largest_batch > 1 else [text])
        after.append(rows[:1])
    if not before:
        return ProbeOutcome("note", "; ".join(refused))
    movement = session.compare(stack_rows(before), stack_rows(after))
    fault = "empty-texts-break" if movement.broken_rows else "padding-counts"
    outcome = session.judged(movement, fault, "next to a long text")
    summary = "; ".join([outcome.summary, *refused])
    return ProbeOutcome(outcome.status, summary, movement, outcome.faults)


@probe(
    "truncation",
    changes="the end of a text that is longer than the model reads",
    proves="whether long texts are read, refused or truncated; and if truncated, silently",
)
def truncation(session: AuditSession) -> ProbeOutcome:
    """Send two texts that differ in their last words only; then one of them in a batch."""
    words = _num_words(session)
    text = " ".join(["again"] * words)
    try:
        first, second = session.predict([f"{text} good"]), session.predict([f"{text} bad"])
    except BatchFailedError as error:
        model = session.subject.padded
        if model and model.tokenizer_limit and (explained := explain_failure(session, error)):
            return explained  # the tokenizer states a limit, and it is a wrong one
        summary = f"a text of {words} words ends in an error: {in_one_line(error)}"
        return ProbeOutcome("note", summary + _missing_limit(session))
    others = [session.texts[0]] if session.largest_batch > 1 else []
    movement = session.compare(first, session.predict([f"{text} good", *others])[:1])
    outcome = session.judged(movement, "padding-counts", "in a batch")
    is_cut = np.array_equal(first, second)
    marks = session.subject.truncated
    said = "and its result says so" if marks and marks(f"{text} good") else "unmarked in its result"
    read = f"is truncated, {said}" if is_cut else "is read to its end"
    summary = f"a text of {words} words {read}; {outcome.summary}{_missing_limit(session)}"
    status = "note" if is_cut and outcome.status == "exact" else outcome.status
    return ProbeOutcome(status, summary, movement, outcome.faults)


def _num_words(session: AuditSession) -> int:
    model = session.subject.padded
    if model is None:
        return MANY_WORDS
    if (limit := model.max_tokens or model.tokenizer_limit) is None:
        raise NotTestedError("neither model nor tokenizer states a maximum length")
    if limit > MOST_WORDS:
        raise NotTestedError(f"the model reads {limit} tokens: too long for this probe")
    return limit + 8


def _missing_limit(session: AuditSession) -> str:
    """Explain where truncation=True does nothing, as the tokenizer states no maximum length."""
    model = session.subject.padded
    if model is None or model.tokenizer_limit is not None or model.max_tokens is None:
        return ""
    return f"; the tokenizer has no limit of its own, the model one of {model.max_tokens} tokens"
