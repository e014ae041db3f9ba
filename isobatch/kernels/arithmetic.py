"""Arithmetic: the definition of every operation to the bit, by a name that can be compared.

Where all operations of a model are compiled, its answers are those of ARITHMETIC on every machine;
docs/arithmetic.md defines them. torch's own kernels and bf16 have bits that depend on more, and
their names say on what.
"""

from collections.abc import Iterable

import torch

from isobatch.ambient import torch_instruction_set, uses_torch
from isobatch.kernels import compiled
from isobatch.types import Precision

_CPU = torch.device("cpu")

ARITHMETIC = "isobatch-1"
"""Changes whenever any bit of any answer may change."""


LIBRARY = "transformers "
"""Begins the kernel of a model that transformers computes, and its arithmetic."""


def arithmetic_name(
    kernels: Iterable[str], precision: Precision, device: torch.device = _CPU
) -> str:
    """Name what the bits of a model depend on, besides its weights and the text.

    kernels: the kernel of each operation, as in KernelChoice. ARITHMETIC means equal bits on every
    machine; any other name does only with the same kernels, and for bf16 the same processor.
    """
    kernels = list(kernels)
    library = "".join(f"{kernel} " for kernel in kernels if kernel.startswith(LIBRARY))
    if device.type != "cpu":
        return f"{library}torch {torch.__version__} {torch.cuda.get_device_name(device)}"
    if uses_torch(kernels):
        mixed = any(kernel.startswith("compiled") for kernel in kernels)
        compiled_part = f" with {ARITHMETIC}" if mixed else ""
        capability = torch_instruction_set()
        return f"{library}torch {torch.__version__} {capability}{compiled_part}"
    if precision == "bf16":
        return f"{ARITHMETIC} bf16 {compiled.kernels(precision).name}"
    return ARITHMETIC
