"""The sum of the block gradients of a step, in a fixed binary tree.

Block 0 is added to block 1, 2 to 3, then the pairs, and so on; a node without a partner goes up as
it is. Invariant: the pairs depend on the number of blocks alone, so that the sum has the same bits
in any order of arrival, and from any number of machines.
"""

import threading

from torch import Tensor

Node = tuple[int, int]
"""Level, from 0 for single blocks, and the number within the level."""


class GradientTree:
    """Adds gradients as they arrive, from any thread; keeps no more than it must."""

    def __init__(self, num_blocks: int) -> None:
        self._sizes = [num_blocks]
        while self._sizes[-1] > 1:
            self._sizes.append((self._sizes[-1] + 1) // 2)
        self._waiting: dict[Node, list[Tensor]] = {}
        self._lock = threading.Lock()

    def add(self, node: Node, gradient: list[Tensor]) -> None:
        """Add the gradient of a node, and as far up as its partners are there already.

        The tensors belong to the tree from then on, which adds in place.
        """
        while True:
            level, number = node
            size = self._sizes[level]
            if size == 1:
                break
            parent = (level + 1, number // 2)
            if number == size - 1 and size % 2:
                node = parent
                continue
            with self._lock:
                partner = self._waiting.pop((level, number ^ 1), None)
                if partner is None:
                    self._waiting[node] = gradient
                    return
            left, right = (partner, gradient) if number % 2 else (gradient, partner)
            for total, other in zip(left, right, strict=True):
                total.add_(other)
            node, gradient = parent, left
        with self._lock:
            self._waiting[node] = gradient

    def nodes(self) -> dict[Node, list[Tensor]]:
        """Take the sums that have no partner yet: of a part of the blocks, or the whole."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        return waiting

    def total(self) -> list[Tensor]:
        """Return the sum of all blocks."""
        (total,) = self.nodes().values()
        return total
