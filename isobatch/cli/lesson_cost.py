"""The cost of a forgotten mask on a terminal: words, numbers, and the text that moves most."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from isobatch.cli.terminal_layout import facts_table, fitted_table, wrapped
from isobatch.drawing.display_text import counted, printable, shortened

if TYPE_CHECKING:
    from rich.console import RenderableType

    from isobatch.lesson import MaskCost, MovedText


def describe_cost(cost: "MaskCost") -> Iterator[str]:
    """Say what was computed, and what must be kept in mind about the texts."""
    batches = counted(cost.num_batches, "batch", "batches")
    yield (
        f"the cost: {counted(cost.num_texts, 'text')} ({cost.source}) in {batches} of "
        f"{cost.batch_size}, each against its logits alone"
    )
    if cost.num_left_out:
        yield f"{counted(cost.num_left_out, 'row')} without a text left out"
    if cost.num_truncated:
        yield f"{counted(cost.num_truncated, 'text')} truncated to the maximum of the model"
    if not cost.num_padded:
        yield (
            "no text is padded: the texts of each batch have the same number of tokens. A "
            "forgotten mask changes nothing here"
        )


def mask_cost_parts(cost: "MaskCost", replay: str, width: int) -> "Iterator[RenderableType]":
    """Build the table of figures, and what happens to the text that moves most.

    replay: the command that computes that text with the longest of its batch.
    """
    if not cost.num_padded:
        return
    yield cost_table(cost, width)
    if (text := cost.furthest) is not None:
        yield from _furthest_parts(text, replay, width)


def cost_table(cost: "MaskCost", width: int) -> "RenderableType":
    """Build the table of figures: without the mask and with it."""
    ways = cost.forgotten, cost.masked
    rows = [
        ("texts with padding", *[f"{cost.num_padded:,} of {cost.num_texts:,}"] * 2),
        ("texts that moved", *(f"{way.num_moved:,}" for way in ways)),
        ("labels flipped", *(f"{way.num_flipped:,}" for way in ways)),
        ("median move of a logit", *(number_text(way.median) for way in ways)),
        ("largest move of a logit", *(number_text(way.largest) for way in ways)),
    ]
    return fitted_table(("", "mask forgotten", "mask passed"), rows, width)


def _furthest_parts(text: "MovedText", replay: str, width: int) -> "Iterator[RenderableType]":
    yield wrapped(
        f"text {text.index + 1:,} moves most: {counted(text.num_tokens, 'token')}, padded to "
        f"{text.num_tokens + text.num_pads:,} by the longest text of its batch",
        width,
    )
    longest = text.neighbours[text.longest]
    others = len(text.neighbours) - 1
    facts = [
        ("text", printable(shortened(text.text))),
        ("longest", printable(shortened(longest))),
    ]
    if others:
        facts.append(("others", f"{counted(others, 'text')} (--json lists them)"))
    yield facts_table(facts, width)
    rows = (
        ("alone", logits_text(text.alone), text.label_alone),
        ("in the batch, mask forgotten", logits_text(text.forgotten), text.label_forgotten),
        ("in the batch, mask passed", logits_text(text.masked), text.label_masked),
    )
    yield fitted_table(("", "logits", "label"), rows, width)
    if text.replay_same_bits:
        same = "the logits are the same, bit for bit"
    else:
        same = f"it moves by {number_text(text.replay_moved)}"
    yield wrapped(
        printable(f"with only these two texts in the batch {same}. To replay them: {replay}"),
        width,
    )


def logits_text(logits: Sequence[float]) -> str:
    """Format logits with four decimals: `[-2.4281, 2.9024]`."""
    return f"[{', '.join(f'{value:.4f}' for value in logits)}]"


def number_text(value: float) -> str:
    """Format a move with two significant digits; 0 only if it is exactly 0."""
    if not value:
        return "0"
    return f"{value:.0f}" if value >= 10 else f"{value:#.2g}"
