"""Gradients on a Ray cluster: each worker computes a range of a step's blocks.

The sums of a worker go up the same tree as on one machine; there is no all-reduce, whose order
depends on the number of workers. Invariant: the gradient of a step has the bits of LocalEngine, for
any number of workers, and also where some of them die: their blocks are computed by others.
"""

import platform
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isobatch.checkpoint import ModelConfig
from isobatch.errors import JobError
from isobatch.jobs.ray_connection import root_cause
from isobatch.kernels import this_machine
from isobatch.model import empty_model
from isobatch.training.recipe import Recipe
from isobatch.training.steps.block_gradients import BlockGradients, TrainedWeights
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.gradient_check import check_settings
from isobatch.training.steps.gradient_engine import SingleThreads, StepGradient, compute_blocks
from isobatch.training.steps.gradient_tree import GradientTree, Node
from isobatch.training.steps.order import GradientBlock

MAX_CRASHES = 3
"""Workers that may die in one step, for each worker, before the run ends."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """Everything that a worker needs once; the weights of the base, by name."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    examples: Examples
    recipe: Recipe
    threads: int


@dataclass(frozen=True, slots=True)
class PartialGradient:
    """The sums of one worker: nodes of the tree, and words and losses of its blocks in order."""

    nodes: dict[Node, list[Array]]
    words: list[tuple[Array, Array]]
    losses: Array


class GradientWorker:
    """Computes blocks in a process of the cluster, on the weights that each call brings."""

    def __init__(self, setup: WorkerSetup) -> None:
        check_settings()
        model = empty_model(setup.config)
        model.load_state_dict({name: each.clone() for name, each in setup.tensors.items()})
        self._weights = TrainedWeights(model.train(), setup.examples, setup.recipe.freeze)
        self._gradients = BlockGradients(self._weights, setup.examples, setup.recipe)
        self._threads = SingleThreads(setup.threads)

    def describe(self) -> str:
        """Describe the machine of this worker."""
        return describe_machine()

    def compute(
        self, weights: list[Array], blocks: list[tuple[int, GradientBlock]], total: int, epoch: int
    ) -> PartialGradient:
        """Compute numbered blocks of a step of `total` blocks."""
        for own, sent in zip(self._weights.tensors, weights, strict=True):
            np.copyto(own.detach().numpy(), sent)
        tree = GradientTree(total)
        done = compute_blocks(self._gradients, self._threads, tree, blocks, epoch)
        nodes = {node: [each.numpy() for each in sums] for node, sums in tree.nodes().items()}
        words = [
            (each.word_rows.numpy(), each.words.numpy()) for each in done if each.words is not None
        ]
        return PartialGradient(nodes, words, np.concatenate([each.losses for each in done]))


class RayEngine:
    """A GradientEngine whose blocks are computed by workers; use it while Ray is connected."""

    def __init__(self, ray: Any, weights: TrainedWeights, setup: WorkerSetup, workers: int) -> None:
        self._ray = ray
        self._weights = weights
        self._setup = ray.put(setup)
        self._cpus = setup.threads
        self.workers = [self._start() for _ in range(workers)]
        self._check_machines()

    def compute(self, blocks: Sequence[GradientBlock], epoch: int) -> StepGradient:
        """Compute the gradient of all blocks of a step."""
        sent = self._ray.put([each.detach().numpy() for each in self._weights.tensors])
        numbered = list(enumerate(blocks))
        size = _aligned_share(len(blocks), len(self.workers))
        parts = [numbered[first : first + size] for first in range(0, len(blocks), size)]
        arguments = [(sent, part, len(blocks), epoch) for part in parts]
        pending = [self._submit(place, *each) for place, each in enumerate(arguments)]
        tree, done = GradientTree(len(blocks)), []
        for place, future in enumerate(pending):
            partial = self._await(place, future, arguments[place])
            for node, sums in partial.nodes.items():
                tree.add(node, [torch.from_numpy(each.copy()) for each in sums])
            done.append(partial)
        words = [tuple(map(_tensor, pair)) for partial in done for pair in partial.words]
        losses = np.concatenate([partial.losses for partial in done])
        return StepGradient(tree.total(), words, losses)  # type: ignore[arg-type]

    def _start(self) -> Any:
        """Start a worker; a crash is handled here, where Ray would retry without end."""
        options = {"num_cpus": self._cpus, "max_restarts": 0, "max_task_retries": 0}
        return self._ray.remote(GradientWorker).options(**options).remote(self._setup)

    def _submit(self, place: int, *arguments: Any) -> Future[PartialGradient]:
        future: Future[PartialGradient] = self.workers[place].compute.remote(*arguments).future()
        return future

    def _await(
        self, place: int, future: Future[PartialGradient], arguments: tuple[Any, ...]
    ) -> PartialGradient:
        """Return the result of a worker, or of those that replace it."""
        errors = self._ray.exceptions
        for _ in range(MAX_CRASHES):
            try:
                return future.result()
            except errors.RayActorError:
                self.workers[place] = self._start()
                self._check_machine(self.workers[place])
                future = self._submit(place, *arguments)
        raise JobError(
            f"{MAX_CRASHES} Ray workers crashed on the same blocks (out of memory?). See Ray's "
            "logs; run the same command again to resume"
        )

    def _check_machines(self) -> None:
        """Raise JobError for workers whose torch or processor gives other bits than the others."""
        for worker in self.workers:
            self._check_machine(worker)

    def _check_machine(self, worker: Any) -> None:
        here = describe_machine()
        try:
            there = worker.describe.remote().future().result()
        except self._ray.exceptions.RayActorError as error:
            raise JobError(f"a Ray worker cannot start: {root_cause(error)}") from error
        if there != here:
            raise JobError(
                f"gradients of the workers could differ: here, on {platform.node()}, {here}; "
                f"on a worker {there}. Use machines of one kind, with the same versions"
            )


def describe_machine() -> str:
    """Describe what the bits of a gradient depend on, besides the weights and the texts."""
    return f"{this_machine()}, NumPy {np.__version__}"


def _aligned_share(num_blocks: int, workers: int) -> int:
    """The smallest power of two with which the workers have room for all blocks.

    Ranges of such a size are whole subtrees: a worker then sends one sum.
    """
    size = 1
    while size * workers < num_blocks:
        size *= 2
    return size


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.copy())
