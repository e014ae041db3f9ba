"""Machine: the facts that the selection of kernels depends on, besides the weights.

A pickled model that was loaded on another machine, or under another torch, would compute with
kernels that were not checked there.
"""

from dataclasses import dataclass

import torch

from isobatch.kernels import compiled
from isobatch.types import PRECISIONS, Precision


@dataclass(frozen=True, slots=True)
class Machine:
    """torch's version, the instruction set, and the precisions of the compiled kernels."""

    torch: str
    instruction_set: str
    compiled: tuple[Precision, ...]

    def __str__(self) -> str:
        kernels = ", ".join(self.compiled) or "none"
        return f"torch {self.torch}, {self.instruction_set}, compiled kernels: {kernels}"


def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    return Machine(
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        tuple(each for each in PRECISIONS if compiled.unavailable(each) is None),
    )
