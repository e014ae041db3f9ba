"""assert_gradient_invariant: the audit of a training step as one line of a test suite.

Invariant: it passes only if every gradient of a batch was compared with the mean of its texts'.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from isobatch.audit.gradients.gradient_auditor import RTOL, open_session
from isobatch.audit.gradients.gradient_findings import (
    SeenProbe,
    find_gradient_faults,
    run_gradient_probes,
)
from isobatch.audit.gradients.gradient_session import ComparedStep
from isobatch.audit.report_data import Finding
from isobatch.drawing.display_text import counted

MAX_ROWS = 8
"""Of the table in a message."""


def assert_gradient_invariant(
    step: Callable[..., Any],
    texts: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    rtol: float = RTOL,
) -> None:
    """Raise AssertionError unless the gradient of a batch is the mean of its texts' gradients.

    step: `step(texts, labels)` returns the gradient that the optimizer would apply for these texts,
    before clipping: a mapping or list of arrays or tensors, one for each parameter, one flat array,
    or a torch module with its `.grad`. With an argument `micro_batch_size` it is also called for
    splits into micro-batches of that size, the last of which may be smaller; with the one argument
    `micro_batches`, a list of (texts, labels), for any splits. Dropout is off, or depends on the
    text alone. texts, labels: as the step takes them, at least three; default: eight built-in
    texts, with the labels 0 and 1 in turn. rtol: the largest gap that passes, relative to the
    gradients of single texts. The message names the fault, its fix, and the smallest batch found.

    Memory: a gradient for each text. Raises AuditError if the gradients of single texts cannot be
    compared with: they fail, or are zero, clipped or all equal.
    """
    __tracebackhide__ = True  # pytest then shows the caller's line and the message
    session = open_session(step, texts, labels, rtol)
    seen = list(run_gradient_probes(session))
    findings = find_gradient_faults(session, seen)
    bugs = [each for each in findings if each.severity == "bug"]
    if bugs:
        raise AssertionError("\n".join(_lines(bugs, seen, rtol)))


def _lines(bugs: Sequence[Finding], seen: Sequence[SeenProbe], rtol: float) -> Iterator[str]:
    first = bugs[0]
    yield f"the gradient depends on the batch: {first.title} ({first.name})"
    naming = [each for each in seen if first.name in each.outcome.result.faults]
    for each in naming:
        yield f"{each.probe.name}: {each.outcome.result.summary}; {100 * rtol:g} % is allowed"
    yield from _table(naming)
    yield f"cause: {first.cause}"
    yield f"fix: {first.fix}"
    if shown := first.reproduction:
        yield "the smallest batch that was found to show it:"
        yield f"  text      {shown.text!r}"
        yield f"  next to   {shown.other_text!r}"
        yield f"  norm {shown.before[0]:.4g}: {shown.how[0]}"
        yield f"  norm {shown.after[0]:.4g}: {shown.how[1]}"
    if len(bugs) > 1:
        named = ", ".join(each.name for each in bugs[1:])
        yield f"{counted(len(bugs) - 1, 'more fault')}: {named}"


def _table(seen: Sequence[SeenProbe]) -> Iterator[str]:
    """Lay out the norms of the gradients next to the expected ones, furthest off first."""
    compared = [step for each in seen for step in each.outcome.compared]
    furthest = sorted(compared, key=lambda step: -step.gap)[:MAX_ROWS]
    if not furthest:
        return
    parts = [_written(step) for step in furthest]
    width = max(map(len, [*parts, "micro-batches"]))
    yield f"  {'micro-batches':<{width}}  {'norm':>10}  {'expected':>10}"
    for step, part in zip(furthest, parts, strict=True):
        yield f"  {part:<{width}}  {step.norm:>10.4g}  {step.expected_norm:>10.4g}"


def _written(step: ComparedStep) -> str:
    sizes = step.split
    if len(sizes) == 1:
        return f"{counted(sizes[0], 'text')} at once"
    if len(sizes) > 4 and len(set(sizes)) == 1:
        return f"{len(sizes)} × {sizes[0]}"
    return " + ".join(map(str, sizes))
