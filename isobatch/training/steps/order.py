"""The order of training: which texts make up each step, and each gradient block. Pure Python.

Invariant: a plan is a function of the recipe, the lengths, the seed and the epoch, never of the
memory or of the number of threads.
"""

import heapq
from collections.abc import Sequence

import numpy as np

GradientBlock = tuple[int, ...]
"""Indices of the texts whose gradient is computed in one pass."""

_ORDER = 2**32
"""Counter of the draws of an order: dropout, which has the same key, never reaches it."""


def draw_order(num_texts: int, seed: int, epoch: int) -> list[int]:
    """Draw a uniform permutation of the texts, by sorting 64-bit numbers of Philox 4x64."""
    generator = np.random.Philox(
        key=np.array([seed, 0], np.uint64), counter=np.array([0, 0, epoch, _ORDER], np.uint64)
    )
    order: list[int] = np.argsort(generator.random_raw(num_texts), kind="stable").tolist()
    return order


def plan_steps(num_texts: int, batch_size: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """Cut the order of an epoch into steps of `batch_size` texts; the last may have fewer."""
    order = draw_order(num_texts, seed, epoch)
    return [tuple(order[first : first + batch_size]) for first in range(0, num_texts, batch_size)]


def cut_blocks(
    texts: Sequence[int], lengths: Sequence[int], block_tokens: int
) -> list[GradientBlock]:
    """Cut a step into blocks of at most `block_tokens` tokens, evenly filled.

    lengths: of all texts, by index. A text that is longer than a block is one of its own. An even
    number of blocks is tried first, so that two threads have equal work. Within a block lengths
    fall, so that equal ones are adjacent.
    """
    total = sum(lengths[index] for index in texts)
    wanted = -(-total // block_tokens)
    wanted = min(wanted + wanted % 2 if wanted > 1 else 1, len(texts))
    filled = [(0, number) for number in range(wanted)]
    blocks: list[list[int]] = [[] for _ in range(wanted)]
    for index in sorted(texts, key=lambda index: (-lengths[index], index)):
        tokens, number = filled[0]
        if tokens and tokens + lengths[index] > block_tokens:
            tokens, number = 0, len(blocks)
            blocks.append([])
            heapq.heappush(filled, (lengths[index], number))
        else:
            heapq.heapreplace(filled, (tokens + lengths[index], number))
        blocks[number].append(index)
    return [tuple(block) for block in blocks if block]
