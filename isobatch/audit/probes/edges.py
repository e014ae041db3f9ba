"""Probes of odd texts: none, one token, and more than the model reads.

Invariant: a refusal is told as one, and never taken for an answer.
"""

import numpy as np

from isobatch.audit.probing import Outcome, in_one_line, judged, probe
from isobatch.audit.session import BatchFailedError, NotTestedError, Session

SHORT = ("", "a", ".")
MOST_WORDS = 2048
"""Longer texts take minutes on a processor."""

MANY_WORDS = 700
"""Where nobody says how long a text may be: above the 512 tokens of most models."""


@probe(
    "short-texts",
    changes="a text is empty, or one token; alone, and then beside a long one",
    proves="that a text of next to nothing has an answer, the same in every batch",
)
def short_texts(session: Session) -> Outcome:
    """Refusing them is a fair answer; NaN is none."""
    long_text = max(session.texts, key=len)
    before, after, refused = [], [], []
    for text in SHORT:
        try:
            before.append(session.ask([text]))
        except BatchFailedError as error:
            if error.lost_rows:
                raise
            refused.append(f"{text!r} is refused ({error})")
            continue
        rows = session.ask([text, long_text] if session.largest_batch > 1 else [text])
        after.append(rows[:1])
    if not before:
        return Outcome("note", "; ".join(refused))
    movement = session.compare(np.concatenate(before), np.concatenate(after))
    fault = "empty-texts-break" if movement.broken_rows else "padding-counts"
    outcome = judged(session, movement, fault, "beside a long text")
    summary = "; ".join([outcome.summary, *refused])
    return Outcome(outcome.status, summary, movement, outcome.faults)


@probe(
    "truncation",
    changes="the end of a text that is longer than the model reads",
    proves="whether long texts are read, refused or cut; and if cut, whether anybody is told",
)
def truncation(session: Session) -> Outcome:
    """Two texts that differ in their last words only; then one of them in a batch."""
    words = _num_words(session)
    text = " ".join(["again"] * words)
    try:
        first, second = session.ask([f"{text} good"]), session.ask([f"{text} bad"])
    except BatchFailedError as error:
        summary = f"a text of {words} words ends in an error: {in_one_line(error)}"
        return Outcome("note", summary + _without_limit(session))
    company = [session.texts[0]] if session.largest_batch > 1 else []
    movement = session.compare(first, session.ask([f"{text} good", *company])[:1])
    outcome = judged(session, movement, "padding-counts", "in company")
    cut = np.array_equal(first, second)
    said = "is cut, and its answer does not say so" if cut else "is read to its end"
    summary = f"a text of {words} words {said}; {outcome.summary}{_without_limit(session)}"
    status = "note" if cut and outcome.status == "exact" else outcome.status
    return Outcome(status, summary, movement, outcome.faults)


def _num_words(session: Session) -> int:
    model = session.subject.padded
    if model is None:
        return MANY_WORDS
    if (limit := model.max_tokens or model.tokenizer_limit) is None:
        raise NotTestedError("neither model nor tokenizer names a longest text")
    if limit > MOST_WORDS:
        raise NotTestedError(f"the model reads {limit} tokens: too long to be tried here")
    return limit + 8


def _without_limit(session: Session) -> str:
    """Where truncation=True does nothing, as the tokenizer names no length to cut at."""
    model = session.subject.padded
    if model is None or model.tokenizer_limit is not None or model.max_tokens is None:
        return ""
    return f"; the tokenizer has no limit of its own, the model one of {model.max_tokens} tokens"
