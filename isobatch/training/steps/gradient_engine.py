"""Engines: compute the gradient of a step from its blocks, several at a time.

Invariant: every block is computed on one thread, and the blocks are added in a fixed tree, so that
the number of threads and the order in which blocks are finished change no bit.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isobatch.ambient import isolated
from isobatch.training.steps.block_gradients import BlockGradient, BlockGradients
from isobatch.training.steps.gradient_tree import GradientTree
from isobatch.training.steps.order import GradientBlock

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class StepGradient:
    """The sum of the gradients of a step's blocks, not yet divided by anything.

    parameters: as in BlockGradient. words: of every block, in their order. losses: [texts], in the
    order of the blocks.
    """

    parameters: list[Tensor]
    words: list[tuple[Tensor, Tensor]]
    losses: NDArray[np.float64]


class GradientEngine(Protocol):
    """Computes the gradient of a step, on the present weights."""

    def compute(self, blocks: Sequence[GradientBlock], epoch: int) -> StepGradient:
        """Compute the gradient of all blocks of a step."""


class SingleThreads:
    """Threads of this process, in each of which torch computes with one thread."""

    def __init__(self, number: int) -> None:
        self.number = number
        before = torch.get_num_threads()
        started = threading.Barrier(number)
        self._pool = ThreadPoolExecutor(number, "training", _use_one_thread)
        list(self._pool.map(lambda _: started.wait(), range(number)))
        torch.set_num_threads(before)  # the workers have set that of threads that start later, too

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Call the function for each item, and yield the results in order."""

        def call(item: Item) -> Result:
            assert torch.get_num_threads() == 1
            with isolated():
                return function(item)

        return self._pool.map(call, items)

    def close(self) -> None:
        """End the threads; work that has not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    """Set torch's number of threads for the calling thread.

    torch takes the number of the process at the first use of a thread, and would do so after this.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)


@contextmanager
def single_threads(number: int) -> Iterator[SingleThreads]:
    """Run SingleThreads and end them."""
    threads = SingleThreads(number)
    try:
        yield threads
    finally:
        threads.close()


class LocalEngine:
    """Computes blocks on the threads of this process, as many at a time as there are threads."""

    def __init__(self, gradients: BlockGradients, threads: SingleThreads) -> None:
        self._gradients = gradients
        self._threads = threads

    def compute(self, blocks: Sequence[GradientBlock], epoch: int) -> StepGradient:
        """Compute the gradient of all blocks of a step."""
        tree = GradientTree(len(blocks))
        done = compute_blocks(self._gradients, self._threads, tree, list(enumerate(blocks)), epoch)
        return StepGradient(
            tree.total(),
            [(each.word_rows, each.words) for each in done if each.words is not None],
            np.concatenate([each.losses for each in done]),
        )


def compute_blocks(
    gradients: BlockGradients,
    threads: SingleThreads,
    tree: GradientTree,
    blocks: Sequence[tuple[int, GradientBlock]],
    epoch: int,
) -> list[BlockGradient]:
    """Compute numbered blocks and add them to the tree, which takes their `parameters`."""

    def compute(numbered: tuple[int, GradientBlock]) -> BlockGradient:
        number, block = numbered
        result = gradients.compute(block, epoch)
        tree.add((0, number), result.parameters)
        result.parameters = []
        return result

    return list(threads.map(compute, blocks))
