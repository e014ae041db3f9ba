"""A probe of texts that are nearly equal: what takes one text for another shows with them.

It needs texts alone. Invariant: no two texts of one batch are equal.
"""

import numpy as np

from isobatch.audit.probing import Outcome, describe, judged, probe
from isobatch.audit.session import NotTestedError, Session
from isobatch.audit.subject import Answers

ENDINGS = ("good", "bad", "late", "cold")

NUM_STEMS = 2
"""Texts that are given other endings and other beginnings: the longest."""


@probe(
    "look-alikes",
    changes="a neighbour that begins, or ends, as the text does",
    proves="that no cache, and nothing that leaves out equal texts, takes one text for another",
)
def look_alikes(session: Session) -> Outcome:
    """Texts that differ in their last or first word, and in its case; together, and alone."""
    if session.largest_batch < 2:
        raise NotTestedError("the system takes one text a call")
    stems = sorted(session.texts, key=len)[-NUM_STEMS:]
    ends = [batch for stem in stems for batch in (_ends(stem), _starts(stem))]
    batches = [batch[: session.largest_batch] for batch in ends]
    alone = [np.concatenate([session.ask([text]) for text in batch]) for batch in batches]
    beside = [session.ask(batch) for batch in batches]
    movement = session.compare(np.concatenate(alone), np.concatenate(beside))
    allowed = session.tolerance.absolute
    if any(
        _confuses(*pair, allowed) for pair in zip(alone, beside, strict=True)
    ) and session.tolerance.exceeded(movement):
        summary = describe(movement, "beside a text that begins or ends alike, to its answer")
        return Outcome("bug", summary, movement, ("texts-confused",))
    outcome = judged(session, movement, "padding-counts", "beside texts that are nearly equal")
    if outcome.status == "exact" and _are_one(np.concatenate([session.alone, *alone])):
        return Outcome("note", "every text has the same answer, so that nothing can show in it")
    if outcome.status == "exact" and all(map(_are_one, alone[::2])) and not _are_one(alone[1]):
        summary = "texts that begin alike have the same bits, though they end otherwise: a cache "
        return Outcome("note", f"{summary}by the beginning of a text, or a text that is cut early")
    return outcome


def _ends(stem: str) -> list[str]:
    return [f"{stem} {word}" for word in (*ENDINGS, ENDINGS[0].upper())]


def _starts(stem: str) -> list[str]:
    return [f"{word} {stem}" for word in (*ENDINGS, ENDINGS[0].upper())]


def _confuses(alone: Answers, beside: Answers, allowed: float) -> bool:
    """Whether texts that are answered differently alone have one answer together: one of theirs."""
    if len(np.unique(beside, axis=0)) == len(np.unique(alone, axis=0)):
        return False
    known = (np.abs(beside[:, None] - alone[None]).max(axis=2) <= allowed).any(axis=1)
    return bool(known.all())


def _are_one(answers: Answers) -> bool:
    return len(np.unique(answers, axis=0)) == 1
