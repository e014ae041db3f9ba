"""Kinds of machines: the instruction sets that decide how fast each precision can be.

Results are kept and acceptance criteria set for each kind. Invariant: a kind is derived from the
processor's own flags, never from what a process was configured to use.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class MachineKind(NamedTuple):
    """A kind of machine; `flags` are names of /proc/cpuinfo that it has at least."""

    name: str
    title: str
    flags: frozenset[str]


def _kind(name: str, title: str, flags: str) -> MachineKind:
    return MachineKind(name, title, frozenset(flags.split()))


MACHINE_KINDS = (
    _kind(
        "avx512-vnni-bf16",
        "AVX-512 with VNNI and bf16",
        "avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_bf16",
    ),
    _kind(
        "avx512-vnni",
        "AVX-512 with VNNI, without bf16",
        "avx512f avx512bw avx512vl avx512dq avx512_vnni",
    ),
    _kind("avx512", "AVX-512 without VNNI", "avx512f avx512bw avx512vl avx512dq"),
    _kind("avx2-vnni", "AVX2 with VNNI", "avx2 fma avx_vnni"),
    _kind("avx2", "AVX2 without VNNI", "avx2 fma"),
    _kind("neon-dotprod", "NEON with dotprod", "asimd asimddp"),
    _kind("neon", "NEON without dotprod", "asimd"),
    _kind("other", "Other processors", ""),
)
"""The most capable first; a machine is of the first kind whose flags it all has."""


def kind_of(machine: Mapping[str, Any]) -> MachineKind:
    """Return the kind of a machine as `describe_machine` describes it."""
    flags = set(machine["instruction_sets"])
    return next(kind for kind in MACHINE_KINDS if kind.flags <= flags)
