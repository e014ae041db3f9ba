"""Probes that change a text's company: who is in its batch, how many, in which order.

They need texts alone, so that every system can be asked. Invariant: the text that is looked at is
the same, and is asked in the same words, in every batch of a probe.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.movement import largest_gaps
from isobatch.audit.padding import without_pads
from isobatch.audit.probing import Outcome, describe, judged, probe
from isobatch.audit.session import NotTestedError, Session
from isobatch.audit.subject import Answers, PaddedModel

MORE_WORDS = (1, 2, 4, 8, 24)
"""Words by which the neighbour is longer than the text."""

WORD = " again"

LEAST_WORDS = 4
"""Of a text that is said in another order."""

MOSTLY = 0.75
"""Share of a batch's answers that are found again where they only changed places."""

MOST_TOKENS = 40
"""Of a text that is asked with a dozen neighbours, again and again."""


@probe(
    "neighbours",
    changes="what the other texts of the batch say, all of them of the same length",
    proves="that rows do not mix: shape, kernels and pads stay the same, so every bit must",
)
def neighbours(session: Session) -> Outcome:
    """By token ids where they can be asked, else with the neighbour's words in another order."""
    if session.largest_batch < 2:
        raise NotTestedError("the system takes one text a call")
    pairs = _pairs_by_ids if session.subject.padded else _pairs_by_words
    before, after = _columns(pairs(session))
    movement = session.compare(before, after)
    outcome = judged(session, movement, "rows-mixed", "with what the neighbours say")
    faults = ("rows-mixed",) if movement.moved_rows else ()
    return Outcome(outcome.status, outcome.summary, movement, faults)


def _columns(pairs: Iterator[tuple[Answers, Answers]]) -> tuple[Answers, Answers]:
    first, second = zip(*pairs, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _pairs_by_words(session: Session) -> Iterator[tuple[Answers, Answers]]:
    chance = session.chance("neighbours")
    words = max(session.texts, key=lambda each: len(set(each.split()))).split()
    if len(set(words)) < LEAST_WORDS:
        raise NotTestedError("no text has enough words to be said in another order")
    for index in session.some(12):
        text = session.texts[index]
        shuffled = [words[0], *chance.sample(words[1:], len(words) - 1)]
        first = session.ask([text, " ".join(words)])[:1]
        yield first, session.ask([text, " ".join(shuffled)])[:1]


def _pairs_by_ids(session: Session) -> Iterator[tuple[Answers, Answers]]:
    model, chance = session.padded, session.chance("neighbours")
    for index in session.some(12):
        row = model.encode(session.texts[index])
        first, second = (_company(model, row, 3, chance.random()) for _ in range(2))
        yield _first(session, [row, *first]), _first(session, [row, *second])


def _company(model: PaddedModel, row: Sequence[int], number: int, seed: float) -> list[list[int]]:
    """Rows like `row` in length and ends, the inner tokens drawn from the fillers."""
    chance = np.random.default_rng(int(seed * 2**32))
    inner = range(1, len(row) - 1)
    rows = []
    for _ in range(number):
        other = list(row)
        for place in inner:
            other[place] = int(chance.choice(model.filler_ids))
        rows.append(other)
    return rows


def _first(session: Session, rows: Sequence[Sequence[int]]) -> Answers:
    answers = session.padded.forward(without_pads(rows))
    return session.checked(answers, len(rows))[:1]


@probe(
    "activation-scales",
    changes="one of a dozen neighbours at a time",
    proves="that nothing is scaled by the largest, or normalised by the mean, of a whole batch",
)
def activation_scales(session: Session) -> Outcome:
    """A maximum stays where most swaps are; a mean moves with every one of them."""
    model, chance = session.padded, session.chance("scales")
    row = max((row for row in session.rows(12, 0) if len(row) <= MOST_TOKENS), key=len, default=[])
    if len(row) < 3:
        raise NotTestedError("no text is of a length to be given neighbours")
    company = _company(model, row, 8 if session.quick else 12, chance.random())
    swaps = _company(model, row, 4 if session.quick else 12, chance.random())
    before = _first(session, [row, *company])
    after = np.concatenate(
        [
            _first(session, [row, *company[:place], other, *company[place + 1 :]])
            for place, other in enumerate(swaps)
        ]
    )
    movement = session.compare(before.repeat(len(after), axis=0), after)
    status = session.tolerance.judge(movement)
    summary = describe(movement, "when one neighbour is another")
    return Outcome(status, summary, movement, _scale_fault(model, movement.moved_rows, len(after)))


def _scale_fault(model: PaddedModel, moved: int, swaps: int) -> tuple[str, ...]:
    if not moved:
        return ()
    parts = " ".join(model.suspicious_parts).lower()
    if "batchnorm" in parts:
        return ("batch-statistics",)
    if "quant" in parts or "integer" in parts:
        return ("tensor-wide-scales",)
    return ("tensor-wide-scales",) if moved < swaps else ("batch-statistics",)


@probe(
    "batch-size",
    changes="how often the same text stands in the batch: no pads, and no other text",
    proves="which bits move by the choice of kernels alone",
)
def batch_size(session: Session) -> Outcome:
    """Copies of one text; every row is looked at."""
    wanted = (2, 3, 8) if session.quick else (2, 3, 5, 8, 16, 32)
    sizes = [size for size in wanted if size <= session.largest_batch]
    if not sizes:
        raise NotTestedError("the system takes one text a call")
    indices = [index for index in session.some(6) for size in sizes for _ in range(size)]
    answers = [session.ask([session.texts[i]] * size) for i in session.some(6) for size in sizes]
    movement = session.compare(session.alone[indices], np.concatenate(answers))
    return judged(session, movement, "rows-mixed", "with the batch's size")


@probe(
    "order",
    changes="the order of the texts in the batch, and so each text's place and company",
    proves="that answers come back in the order of their texts",
)
def order(session: Session) -> Outcome:
    """Every text's row, in several orders, against its answer alone."""
    size = min(session.largest_batch, len(session.texts))
    if size < 2:
        raise NotTestedError("the system takes one text a call")
    chance, indices, answers, misplaced = session.chance("order"), [], [], 0
    for turn in range(2 if session.quick else 4):
        places = list(range(size)) if turn == 0 else chance.sample(range(len(session.texts)), size)
        indices += places
        answers.append(session.ask([session.texts[place] for place in places]))
        misplaced += count_misplaced(session, places, answers[-1])
    rows = np.concatenate(answers)
    movement = session.compare(session.alone[indices], rows)
    if misplaced:
        summary = f"{misplaced} of {len(rows)} answers are those of another text of the batch"
        return Outcome("bug", summary, movement, ("order-not-restored",))
    return judged(session, movement, "padding-counts", "with place and company")


def count_misplaced(session: Session, places: Sequence[int], rows: Answers) -> int:
    """Rows of a batch that are the answer of another text of it, and clearly not of their own.

    Answers of one number may come upon another's by chance; only those that were put in another
    order are still all there, each of them once.
    """
    allowed, own = session.tolerance.absolute, session.alone[list(places)]
    gaps, usual = _all_gaps(own, rows), _all_gaps(own, own)
    found = gaps.min(axis=1) <= allowed
    if found.mean() < MOSTLY:
        return 0
    if len(set(gaps.argmin(axis=1))) < MOSTLY * len(set(usual.argmin(axis=1))):
        return 0
    return int((found & (gaps.diagonal() > 2 * allowed)).sum())


def _all_gaps(answers: Answers, rows: Answers) -> NDArray[np.float64]:
    """[rows, answers]: how far each row is from each answer."""
    return np.stack([largest_gaps(answers, row[None].repeat(len(answers), axis=0)) for row in rows])


@probe(
    "company-length",
    changes="how much longer a neighbour is, so that a system that pads has to pad more",
    proves="that a text's answer does not depend on the longest text of its batch",
)
def company_length(session: Session) -> Outcome:
    """Each text beside itself with more and more words."""
    if session.largest_batch < 2:
        raise NotTestedError("the system takes one text a call")
    texts = sorted(session.some(9), key=lambda index: len(session.texts[index]))
    indices, rows = [], []
    for index in texts:
        text = session.texts[index]
        for words in MORE_WORDS:
            indices.append(index)
            rows.append(session.ask([text, text + WORD * words])[:1])
    after = np.concatenate(rows)
    movement = session.compare(session.alone[indices], after)
    outcome = judged(session, movement, "padding-counts", "with the length of a neighbour")
    if outcome.status == "bug" and _is_the_same_for_any(session, after):
        hint = "; one word more moves it as far as many, as a mask does that is off by one"
        return replace(outcome, summary=outcome.summary + hint)
    return outcome


def _is_the_same_for_any(session: Session, rows: Answers) -> bool:
    """Whether one pad moves every text, and more pads move it no further."""
    by_text = rows.reshape(-1, len(MORE_WORDS), rows.shape[1])
    spread = np.abs(by_text - by_text[:, :1]).max(initial=0.0)
    return bool(spread <= session.tolerance.absolute)


@probe(
    "requests-in-flight",
    changes="the other requests that are under way at the same time",
    proves="that a server's own batching does not show in an answer",
)
def requests_in_flight(session: Session) -> Outcome:
    """Every text as a request of its own, all at once, twice."""
    together = session.subject.in_flight
    if together is None:
        raise NotTestedError("only a server has several requests under way")
    chance, indices = session.chance("flight"), []
    answers: list[Answers] = []
    for _ in range(2):
        places = chance.sample(range(len(session.texts)), len(session.texts))
        indices += places
        answers += together([[session.texts[place]] for place in places])
    movement = session.compare(session.alone[indices], np.concatenate(answers))
    return judged(session, movement, "requests-mixed", "with the requests beside it")
