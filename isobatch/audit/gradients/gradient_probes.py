"""Probes of a training step: the same texts in other calls, batches, orders and micro-batches.

Invariant: the texts and labels of a probe are those of the audit, or the same words in another
order, so that the expected gradient is always known.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from isobatch.audit.gradients.gradient import GradientScale, weighted_sum
from isobatch.audit.gradients.gradient_faults import GRADIENT_FAULTS
from isobatch.audit.gradients.gradient_session import (
    ComparedStep,
    GradientSession,
    compared_step,
)
from isobatch.audit.gradients.training_step import MicroBatches, StepExample
from isobatch.audit.session import NotTestedError, ProbeOutcome
from isobatch.drawing.display_text import counted, percent

ENDINGS = ("good", "bad")
"""Words of one token in most vocabularies."""


EQUAL_WEIGHTS = ("dropout-by-place", "neighbours-count")
"""Faults of probes whose texts have one length and one label, by which no loss weighs them.

There other weights are the work of the neighbours: with two labels, a neighbour that moves a text's
logits changes nothing but how much that text counts.
"""


@dataclass(frozen=True, slots=True)
class GradientProbe:
    """One way of calling a step that must not change the gradient of a text."""

    name: str
    changes: str
    proves: str
    run: Callable[[GradientSession], "GradientOutcome"]


@dataclass(frozen=True, slots=True)
class GradientOutcome:
    """A probe's result, and every comparison that it made."""

    result: ProbeOutcome
    compared: tuple[ComparedStep, ...] = ()


def _repeated(session: GradientSession) -> GradientOutcome:
    """Compare two calls; this is the first probe, so that no gradient is left from before."""
    whole = (len(session.examples),)
    first = session.step.gradient(session.examples, whole)
    second = session.step.gradient(session.examples, whole)
    scale = GradientScale([first])
    kept = scale.gap(second, weighted_sum([2.0], [first])).size <= 2 * session.rtol
    fault = "gradients-kept" if kept else "step-not-repeatable"
    compared = compared_step(session.everything, whole, second, first, scale)
    return _outcome([compared], session, "in a repeated call", fault)


def _batch(session: GradientSession) -> GradientOutcome:
    """Compare all texts, the first half, and each text next to one of another length."""
    places = sorted(session.everything, key=lambda place: _length(session.examples[place].text))
    batches: list[Sequence[int]] = [session.everything, places[: len(places) // 2 + 1]]
    batches += [(place, places[-1]) for place in places[:2] if place != places[-1]]
    compared = [session.compare(batch) for batch in batches]
    return _outcome(compared, session, "in a batch", "gradient-padding-counts")


def _order(session: GradientSession) -> GradientOutcome:
    """Compare a batch in reverse, and from its middle on, with the batch in its given order."""
    given = session.everything
    middle, whole = len(given) // 2, (len(given),)
    first = session.step.gradient(session.examples, whole)
    compared = []
    for order in (given[::-1], given[middle:] + given[:middle]):
        found = session.step.gradient([session.examples[place] for place in order], whole)
        compared.append(compared_step(order, whole, found, first, session.scale))
    return _outcome(compared, session, "in another order", "order-counts")


def _copies(session: GradientSession) -> GradientOutcome:
    """Compare a text with three copies of it in one batch: no pads, and no other text."""
    compared = [session.compare((place,) * 3) for place in session.everything[:2]]
    return _outcome(compared, session, "next to copies of the text", "dropout-by-place")


def _other_words(session: GradientSession) -> GradientOutcome:
    """Compare texts next to their words in reverse, and texts that differ in the last word.

    Pairs have as many tokens, and so no pads. A model that ignores the order shows it by the word.
    """
    chosen = [each for each in session.examples if len(set(_words(each.text))) > 2][-2:]
    if not chosen:
        raise NotTestedError("no text has words whose order could be changed")
    compared = []
    for text, label in chosen:
        backwards = StepExample(_with_words_reversed(text), label)
        compared.append(session.with_texts((StepExample(text, label), backwards)).compare((0, 1)))
        pair = [StepExample(_with_word(text, word), label) for word in ENDINGS]
        compared.append(session.with_texts(pair).compare((0, 1)))
    return _outcome(compared, session, "next to as many other words", "neighbours-count")


def _micro_batches(session: GradientSession) -> GradientOutcome:
    """Split all texts into micro-batches, of equal and of unequal sizes."""
    if session.step.split_argument is None:
        raise NotTestedError(
            "the step takes whole batches; one with an argument micro_batch_size or micro_batches "
            "is tested with splits"
        )
    splits = [each for each in _splits(len(session.examples)) if session.step.takes(each)]
    compared = [session.compare(session.everything, split) for split in splits]
    return _outcome(compared, session, "in micro-batches", "split-counts")


def _splits(number: int) -> list[MicroBatches]:
    """Return splits of `number` texts: into equal parts, a smaller last one, and any sizes."""
    half = number // 2
    splits: list[MicroBatches] = [(half, number - half)] if number % 2 == 0 else []
    splits += [equal_parts(number, size) for size in (half + 1, number - 1, 3, 1) if size < number]
    splits.append((1, number - 1))
    if number > 3:
        splits.append((1, 2, number - 3))
    return list(dict.fromkeys(splits))


def equal_parts(number: int, size: int) -> MicroBatches:
    """Split `number` texts into parts of `size`, the last of which may be smaller."""
    rest = number % size
    return (size,) * (number // size) + ((rest,) if rest else ())


def _outcome(
    compared: Iterable[ComparedStep], session: GradientSession, where: str, fault: str
) -> GradientOutcome:
    """Judge comparisons; `where` as in "in a batch", `fault` if no weights explain it."""
    compared = tuple(compared)
    differ = [each for each in compared if not each.gap <= session.rtol]
    worst = max(compared, key=lambda each: each.gap)
    if not differ:
        moved = worst.gap > 0
        words = f"within {worst.gap:.1g} of the gradients' size" if moved else "the same bits"
        summary = f"{words} {where}, {len(compared)} of {counted(len(compared), 'time')}"
        faults = ("gradient-rounding",) if moved else ()
        passed = ProbeOutcome("drift" if moved else "exact", summary, None, faults)
        return GradientOutcome(passed, compared)
    named = [name for name in GRADIENT_FAULTS if all(name in each.weights for each in differ)]
    if fault in EQUAL_WEIGHTS:
        named = [name for name in named if name != "texts-weigh-unequally"]
    size = f"{percent(worst.gap)} of the gradients' size" if isfinite(worst.gap) else "NaN"
    summary = (
        f"{len(differ)} of {counted(len(compared), 'gradient differs', 'gradients differ')} "
        f"{where}, by up to {size} ({worst.parameter})"
    )
    return GradientOutcome(ProbeOutcome("bug", summary, None, (*named[:1],) or (fault,)), compared)


def _words(text: Any) -> list[str]:
    parts = text if isinstance(text, tuple | list) else (text,)
    return [word for part in parts for word in str(part).split()]


def _with_words_reversed(text: Any) -> Any:
    if isinstance(text, tuple | list):
        return type(text)(map(_with_words_reversed, text))
    return " ".join(reversed(text.split()))


def _with_word(text: Any, word: str) -> Any:
    if isinstance(text, tuple | list):
        return type(text)([*text[:-1], _with_word(text[-1], word)])
    return f"{text} {word}"


def _length(text: Any) -> int:
    return sum(map(len, _words(text)))


GRADIENT_PROBES = (
    GradientProbe(
        "repeated-steps",
        "nothing: the step is called twice",
        "a step is deterministic, and leaves nothing to the next one",
        _repeated,
    ),
    GradientProbe(
        "batch-gradient",
        "which other texts are in the batch",
        "the gradient of a batch is the mean of its texts' gradients",
        _batch,
    ),
    GradientProbe(
        "copies-of-a-text",
        "how many copies of one text are in the batch: no pads, and no other text",
        "a text's gradient does not depend on its place in the batch",
        _copies,
    ),
    GradientProbe(
        "other-words",
        "the words of the other text, as many as the text has: no pads",
        "a text's gradient does not depend on what other texts say",
        _other_words,
    ),
    GradientProbe(
        "order-of-texts",
        "the order of the texts and their labels",
        "each text is trained with its own label, at any place",
        _order,
    ),
    GradientProbe(
        "micro-batches",
        "the split of the texts into micro-batches, of equal and of other sizes",
        "micro-batches only save memory: every text counts the same in any split",
        _micro_batches,
    ),
)
"""In the order in which they run; the first one must be the first call of the step."""
