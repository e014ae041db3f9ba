"""Probes that change the other texts of a batch: their words, number, length and order.

They send texts alone, so that they apply to every system. Invariant: the text under test is the
same in every batch of a probe.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.movement import largest_gaps
from isobatch.audit.output_rows import aligned, stack_rows
from isobatch.audit.session import AuditSession, NotTestedError, ProbeOutcome, describe, probe
from isobatch.audit.subject import Outputs, PaddedModel, without_pads

MORE_WORDS = (1, 2, 4, 8, 24)
"""Numbers of words by which the neighbour is longer than the text."""

WORD = " again"

LEAST_WORDS = 4
"""Of a text whose words are shuffled."""

MOSTLY = 0.75
"""Share of a batch's results that are found again if they only changed places."""

MOST_TOKENS = 40
"""Of a text that is sent with a dozen neighbours, again and again."""

ENDINGS = ("good", "bad", "late", "cold")

NUM_STEMS = 2
"""Texts that are given other endings and other beginnings: the longest."""


@probe(
    "neighbours",
    changes="the words of the other texts of the batch, all of them of the same length",
    proves="rows do not mix: shape, kernels and pads stay the same, so every bit must",
)
def neighbours(session: AuditSession) -> ProbeOutcome:
    """Change token ids where the system takes them, else shuffle the neighbour's words."""
    session.require_batches()
    pairs = _pairs_by_ids if session.subject.padded else _pairs_by_words
    before, after = zip(*pairs(session), strict=True)
    movement = session.compare(stack_rows(before), stack_rows(after))
    return session.judged(movement, "rows-mixed", "with the neighbours' words", exact_bits=True)


def _pairs_by_words(session: AuditSession) -> Iterator[tuple[Outputs, Outputs]]:
    generator = session.generator("neighbours")
    words = max(session.texts, key=lambda each: len(set(each.split()))).split()
    if len(set(words)) < LEAST_WORDS:
        raise NotTestedError("no text has enough words to be shuffled")
    for index in session.some(12):
        text = session.texts[index]
        shuffled = [words[0], *generator.sample(words[1:], len(words) - 1)]
        first = session.predict([text, " ".join(words)])[:1]
        yield first, session.predict([text, " ".join(shuffled)])[:1]


def _pairs_by_ids(session: AuditSession) -> Iterator[tuple[Outputs, Outputs]]:
    model, generator = session.padded, session.generator("neighbours")
    for index in session.some(12):
        row = model.encode(session.texts[index])
        first, second = (_similar_rows(model, row, 3, generator.random()) for _ in range(2))
        yield _first(session, [row, *first]), _first(session, [row, *second])


def _similar_rows(
    model: PaddedModel, row: Sequence[int], number: int, seed: float
) -> list[list[int]]:
    """Make rows like `row` in length and ends, the inner tokens drawn from the fillers."""
    generator = np.random.default_rng(int(seed * 2**32))
    rows = []
    for _ in range(number):
        inner = [int(generator.choice(model.filler_ids)) for _ in row[1:-1]]
        rows.append([*row[:1], *inner, *row[1:][-1:]])
    return rows


def _first(session: AuditSession, rows: Sequence[Sequence[int]]) -> Outputs:
    return session.forward(without_pads(rows))[:1]


@probe(
    "activation-scales",
    changes="one of a dozen neighbours at a time",
    proves="no activation is scaled by the maximum, or normalized by the mean, of a whole batch",
)
def activation_scales(session: AuditSession) -> ProbeOutcome:
    """Name the fault by a known part, or else: a maximum stays in most swaps, a mean in none."""
    model, generator = session.padded, session.generator("scales")
    row = max((row for row in session.rows(12, 0) if len(row) <= MOST_TOKENS), key=len, default=[])
    if len(row) < 3:
        raise NotTestedError("no text has a suitable length for neighbours of its length")
    others = _similar_rows(model, row, 8 if session.quick else 12, generator.random())
    swaps = _similar_rows(model, row, 4 if session.quick else 12, generator.random())
    before = _first(session, [row, *others])
    after = [
        _first(session, [row, *others[:place], other, *others[place + 1 :]])
        for place, other in enumerate(swaps)
    ]
    movement = session.compare(before, *after)
    moves_always = movement.moved_rows == len(after)
    fault = model.mixing_fault or ("batch-statistics" if moves_always else "tensor-wide-scales")
    return session.judged(movement, fault, "when one neighbour is replaced", exact_bits=True)


@probe(
    "batch-size",
    changes="how many copies of the same text are in the batch: no pads, and no other text",
    proves="which bits move by kernel selection alone",
)
def batch_size(session: AuditSession) -> ProbeOutcome:
    session.require_batches()
    wanted = (2, 3, 8) if session.quick else (2, 3, 5, 8, 16, 32)
    sizes = [size for size in wanted if size <= session.largest_batch]
    indices = [index for index in session.some(6) for size in sizes for _ in range(size)]
    rows = [session.predict([session.texts[i]] * size) for i in session.some(6) for size in sizes]
    movement = session.compare(session.alone[indices], stack_rows(rows))
    return session.judged(movement, "rows-mixed", "with the batch's size")


@probe(
    "order",
    changes="the order of the texts in the batch, and so each text's place and neighbours",
    proves="results come back in the order of their texts",
)
def order(session: AuditSession) -> ProbeOutcome:
    session.require_batches()
    size = min(session.largest_batch, len(session.texts))
    generator, indices, batches, misplaced = session.generator("order"), [], [], 0
    for turn in range(2 if session.quick else 4):
        places = (
            list(range(size)) if turn == 0 else generator.sample(range(len(session.texts)), size)
        )
        indices += places
        batches.append(session.predict([session.texts[place] for place in places]))
        misplaced += _count_misplaced(session, places, batches[-1])
    rows = stack_rows(batches)
    movement = session.compare(session.alone[indices], rows)
    if misplaced:
        summary = f"{misplaced} of {len(rows)} results are those of another text of the batch"
        return ProbeOutcome("bug", summary, movement, ("order-not-restored",))
    return session.judged(movement, "padding-counts", "with place and neighbours")


def _count_misplaced(session: AuditSession, places: Sequence[int], rows: Outputs) -> int:
    """Count rows of a batch that are the output of another of its texts, and not of their own.

    Outputs of one number may equal another's by chance; only those that were put in another order
    are still all there, none of them more often than alone.
    """
    allowed, own = session.tolerance.absolute, session.alone[list(places)]
    gaps, usual = _all_gaps(own, rows), _all_gaps(own, own)
    found = gaps.min(axis=1) <= allowed
    if found.mean() < MOSTLY:
        return 0
    alike = (usual <= allowed).argmax(axis=1)  # for each output the first of those like it
    if Counter(alike[gaps.argmin(axis=1)[found]].tolist()) - Counter(alike.tolist()):
        return 0
    return int((found & (gaps.diagonal() > 2 * allowed)).sum())


def _all_gaps(outputs: Outputs, rows: Outputs) -> NDArray[np.float64]:
    """Return [rows, outputs]: how far each row is from each output."""
    outputs, rows = aligned(outputs, rows)
    return np.stack([largest_gaps(outputs, row[None].repeat(len(outputs), axis=0)) for row in rows])


@probe(
    "company-length",
    changes="how much longer a neighbour is, so that a system that pads has to pad more",
    proves="a text's result does not depend on the longest text of its batch",
)
def neighbour_length(session: AuditSession) -> ProbeOutcome:
    """Send each text next to itself with more and more words."""
    session.require_batches()
    texts = sorted(session.some(9), key=lambda index: len(session.texts[index]))
    indices, rows = [], []
    for index in texts:
        text = session.texts[index]
        for words in MORE_WORDS:
            indices.append(index)
            rows.append(session.predict([text, text + WORD * words])[:1])
    after = stack_rows(rows)
    movement = session.compare(session.alone[indices], after)
    outcome = session.judged(movement, "padding-counts", "with the length of a neighbour")
    if outcome.status == "bug" and _is_the_same_for_any_length(session, after):
        hint = "; one word more moves it as far as many, as with a mask that is off by one"
        return replace(outcome, summary=outcome.summary + hint)
    return outcome


def _is_the_same_for_any_length(session: AuditSession, rows: Outputs) -> bool:
    """Whether one pad moves every text, and more pads move it no further."""
    by_text = rows.reshape(-1, len(MORE_WORDS), rows.shape[1])
    spread = np.abs(by_text - by_text[:, :1]).max(initial=0.0)
    return bool(spread <= session.tolerance.absolute)


@probe(
    "requests-in-flight",
    changes="the concurrent requests",
    proves="a server's own batching does not change a result",
)
def requests_in_flight(session: AuditSession) -> ProbeOutcome:
    """Send every text as a request of its own, all at once, twice."""
    together = session.subject.in_flight
    if together is None:
        raise NotTestedError("only a server has concurrent requests")
    generator, indices = session.generator("flight"), []
    rows: list[Outputs] = []
    for _ in range(2):
        places = generator.sample(range(len(session.texts)), len(session.texts))
        indices += places
        rows += together([[session.texts[place]] for place in places])
    movement = session.compare(session.alone[indices], stack_rows(rows))
    return session.judged(movement, "requests-mixed", "with concurrent requests")


@probe(
    "look-alikes",
    changes="a neighbour that begins, or ends, as the text does",
    proves="no cache, and no deduplication of texts, takes one text for another",
)
def look_alikes(session: AuditSession) -> ProbeOutcome:
    """Send texts that differ in their last or first word, and in its case, together and alone."""
    session.require_batches()
    words = (*ENDINGS, ENDINGS[0].upper())
    batches = []
    for stem in sorted(session.texts, key=len)[-NUM_STEMS:]:
        batches.append([f"{stem} {word}" for word in words][: session.largest_batch])
        batches.append([f"{word} {stem}" for word in words][: session.largest_batch])
    alone = [stack_rows([session.predict([text]) for text in batch]) for batch in batches]
    together = [session.predict(batch) for batch in batches]
    movement = session.compare(stack_rows(alone), stack_rows(together))
    allowed = session.tolerance.absolute
    confused = any(_confuses(*pair, allowed) for pair in zip(alone, together, strict=True))
    if confused and session.tolerance.exceeded(movement):
        summary = describe(movement, "next to a similar text, to the result of that text")
        return ProbeOutcome("bug", summary, movement, ("texts-confused",))
    outcome = session.judged(movement, "padding-counts", "next to texts that are nearly equal")
    if outcome.status == "exact" and _are_one(stack_rows([session.alone, *alone])):
        return ProbeOutcome("note", "every text has the same result, so no fault can be found")
    if outcome.status == "exact" and all(map(_are_one, alone[::2])) and not _are_one(alone[1]):
        summary = "texts that begin alike have the same bits, though they end otherwise: a cache "
        return ProbeOutcome(
            "note", f"{summary}keyed by the beginning of a text, or a text that is truncated early"
        )
    return outcome


def _confuses(alone: Outputs, together: Outputs, allowed: float) -> bool:
    """Whether texts with different results alone have one result together: one of theirs."""
    alone, together = aligned(alone, together)
    if len(np.unique(together, axis=0)) == len(np.unique(alone, axis=0)):
        return False
    known = (np.abs(together[:, None] - alone[None]).max(axis=2) <= allowed).any(axis=1)
    return bool(known.all())


def _are_one(outputs: Outputs) -> bool:
    return len(np.unique(outputs, axis=0)) == 1
