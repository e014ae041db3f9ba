"""Batch planning: lengths and a token budget in, batches of indices out. Pure Python.

Invariant: every index is in exactly one batch, and no batch of two or more exceeds the budget.
Results are batch-invariant, so a plan changes only the speed.
"""

from collections.abc import Iterator, Sequence

from isobatch.errors import OptionError
from isobatch.types import Batch

MAX_BATCH_TOKENS = 512
"""Default budget: the feed-forward's rows of this many tokens fit the cache (docs/log.md)."""

CACHED_ENCODINGS = 131_072
"""Default size of an OutputCache (here, where NumPy is not imported: the command line needs it).

Some 40 MB for two labels; a cache of this size holds the duplicates of most files.
"""

PADDED_BATCH_SIZE = 32
"""Batch size of the padded baseline, for statistics."""


def plan_batches(lengths: Sequence[int], max_batch_tokens: int) -> list[Batch]:
    """Group texts of similar length, the longest first, so that out-of-memory errors surface early.

    A text longer than `max_batch_tokens` is a batch of its own. Within a batch lengths fall, so
    that equal ones are adjacent; ties keep the caller's order.
    """
    if max_batch_tokens < 1:
        raise OptionError(f"max_batch_tokens must be at least 1, got {max_batch_tokens}")
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return list(_fill(longest_first, lengths, max_batch_tokens))


def _fill(indices: list[int], lengths: Sequence[int], max_batch_tokens: int) -> Iterator[Batch]:
    batch: list[int] = []
    num_tokens = 0
    for index in indices:
        if batch and num_tokens + lengths[index] > max_batch_tokens:
            yield tuple(batch)
            batch, num_tokens = [], 0
        batch.append(index)
        num_tokens += lengths[index]
    if batch:
        yield tuple(batch)


def count_padding(lengths: Sequence[int], batch_size: int = PADDED_BATCH_SIZE) -> int:
    """Count the padding tokens of batches of `batch_size` in the given order: never computed."""
    batches = [lengths[first : first + batch_size] for first in range(0, len(lengths), batch_size)]
    return sum(max(batch) * len(batch) - sum(batch) for batch in batches)
