"""The check at the start of a run that a gradient has the same bits in every schedule here.

A few blocks of the first step are computed one at a time, again after other allocations, and side
by side; about a second. A machine where the first differs from the second cannot keep the promise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from isobatch.ambient import check_torch_settings
from isobatch.errors import NotInvariantError, OptionError
from isobatch.training.steps.block_gradients import BlockGradients
from isobatch.training.steps.gradient_engine import LocalEngine, StepGradient, single_threads
from isobatch.training.steps.order import GradientBlock

MAX_BLOCKS = 4


def check_gradients(
    gradients: BlockGradients, blocks: Sequence[GradientBlock], in_flight: int
) -> str | None:
    """Return why blocks must be computed one at a time, None if `in_flight` of them may be.

    Raises NotInvariantError if even that gives different bits twice.
    """
    blocks = blocks[: min(max(in_flight, 2), MAX_BLOCKS)]
    blocks = [*blocks, *blocks[: 2 - len(blocks)]]  # two at least, to be computed side by side
    with single_threads(1) as threads:
        engine = LocalEngine(gradients, threads)
        first = engine.compute(blocks, 0)
        held = [torch.empty(4096 + 17 * number) for number in range(64)]
        second = engine.compute(blocks, 0)
        del held
    if not _equal(first, second):
        raise NotInvariantError(
            "training: the gradient of the same texts had different bits twice, computed by one "
            "thread. torch's kernels on this machine do not allow a reproducible training"
        )
    if in_flight == 1:
        return None
    with single_threads(in_flight) as threads:
        engine = LocalEngine(gradients, threads)
        if _equal(first, engine.compute(blocks, 0)):
            return None
    return "blocks that are computed in parallel have different bits on this machine"


def check_settings() -> None:
    """Raise OptionError under settings of the process that change the bits of torch's kernels."""
    check_torch_settings()
    if not torch.backends.mkldnn.enabled:
        raise OptionError(
            "torch.backends.mkldnn.enabled is False, which changes the bits of gradients. Set it "
            "to True"
        )


def _equal(first: StepGradient, second: StepGradient) -> bool:
    return all(map(_same_bits, _tensors(first), _tensors(second)))


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Compare bits: a gradient that is NaN is reported by the first step, with its text."""
    whole = torch.int64 if first.dtype == torch.float64 else torch.int32
    return torch.equal(first.view(whole), second.view(whole))


def _tensors(gradient: StepGradient) -> list[Tensor]:
    losses = torch.from_numpy(gradient.losses)
    return [*gradient.parameters, *(words for _, words in gradient.words), losses]
