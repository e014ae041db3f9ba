"""What the checks at load share: random rows, thread counts, and what they report.

Invariant: torch's global generator, its number of threads and a module's mode are as before
afterwards.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isobatch.errors import NotInvariantError

_SEED = 20260101


@dataclass(frozen=True, slots=True)
class Choice:
    """How one operation is computed on this machine, and why."""

    operation: str
    kernel: str
    reason: str


def random_rows(num_rows: int, num_columns: int, device: torch.device, part: int = 0) -> Tensor:
    """Rows of a seeded normal distribution; torch's global generator is left alone."""
    generator = torch.Generator().manual_seed(_SEED + part)
    rows = torch.randn(num_rows, num_columns, generator=generator, dtype=torch.float32)
    return rows.to(device)


def thread_counts(device: torch.device) -> tuple[int, ...]:
    """One, two and all: so that a process with one thread chooses as one with two does."""
    if device.type != "cpu":
        return (torch.get_num_threads(),)
    return tuple(sorted({1, 2, torch.get_num_threads()}))


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Without dropout, also while the model around it is being trained."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if num_threads == before:
        yield
        return
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def numbers(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))


def threads_tried(device: torch.device) -> str:
    if device.type != "cpu":
        return f"on {device}"
    return f"{numbers(thread_counts(device))} threads"


def not_invariant(operation: str, refusals: Sequence[str]) -> NotInvariantError:
    return NotInvariantError(
        f"{operation}: no kernel of this machine gives a row the same bits in every batch: "
        + "; ".join(refusals)
        + ". Please report this with the output of `isobatch info`"
    )
