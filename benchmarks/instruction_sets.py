"""The instruction sets that Isobatch's kernels are built for, and the compiler flags of each.

Names are those of ISOBATCH_INSTRUCTION_SET. Invariant: a process for one set is a new process, and
a run is rejected where the variable is already set, because it would limit every measurement.
"""

import os

from benchmarks import BenchmarkError

VARIABLE = "ISOBATCH_INSTRUCTION_SET"

_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq")
FLAGS: dict[str, tuple[str, ...]] = {
    "avx2": _AVX2,
    "avxvnni": (*_AVX2, "-mavxvnni"),
    "avx512": _AVX512,
    "avx512vnni": (*_AVX512, "-mavx512vnni"),
    "avx512bf16": (*_AVX512, "-mavx512vnni", "-mavx512bf16"),
    "neon": ("-march=armv8-a",),
    "dotprod": ("-march=armv8.2-a+dotprod",),
}
"""The flags that `roof.cpp` is compiled with: those of the kernels. `reference` has no peak."""


def environment_of(instruction_set: str) -> dict[str, str]:
    """Return the variables of a process whose kernels use this instruction set."""
    return {VARIABLE: instruction_set}


def reject_forced_set() -> None:
    """Raise BenchmarkError if the environment limits the instruction set."""
    if forced := os.environ.get(VARIABLE):
        raise BenchmarkError(
            f"{VARIABLE}={forced}: the run would not be that of this machine. Unset it: "
            "--only roof measures every instruction set, in processes of their own"
        )
