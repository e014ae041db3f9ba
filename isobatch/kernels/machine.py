"""Machine: the properties that a pickled model depends on, besides its weights and the text.

Compiled kernels in fp32 and int8 have the same bits everywhere; a model that computes with torch's
own, or in bf16, would compute on another machine with kernels that were not checked there.
"""

from dataclasses import dataclass

import torch

from isobatch.ambient import torch_instruction_set
from isobatch.kernels import compiled
from isobatch.kernels.arithmetic import ARITHMETIC
from isobatch.types import PRECISIONS, Precision


@dataclass(frozen=True, slots=True)
class Machine:
    """torch's version, the instruction set, and the precisions of the compiled kernels."""

    torch: str
    instruction_set: str
    compiled: tuple[Precision, ...]

    def gives_bits_of(self, made: "Machine", arithmetic: str, precision: Precision) -> bool:
        """Return whether a model has here the bits that `arithmetic` gave on the machine `made`."""
        if arithmetic == ARITHMETIC:
            return {"fp32", precision} <= {*self.compiled}
        return self == made

    def __str__(self) -> str:
        kernels = ", ".join(self.compiled) or "none"
        return f"torch {self.torch}, {self.instruction_set}, compiled kernels: {kernels}"


def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    return Machine(
        torch.__version__,
        torch_instruction_set(),
        tuple(filter(is_compiled, PRECISIONS)),
    )


def is_compiled(precision: Precision) -> bool:
    """Return whether compiled kernels compute `precision` here."""
    return compiled.unavailable(precision) is None


def instruction_set(precision: Precision) -> str:
    """Name the instruction set that computes `precision` here: a variant, or torch's."""
    if is_compiled(precision):
        return compiled.kernels(precision).name
    return torch_instruction_set()
