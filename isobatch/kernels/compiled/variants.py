"""Variants: the compiled modules, one for each instruction set, and which of them computes here.

All are built from one source and give the same bits, so that the choice is one of speed alone; bf16
is the exception. ISOBATCH_INSTRUCTION_SET forces one. Invariant: a module is imported only where
the processor has its instructions, and computes only if it reproduces golden.json.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import torch

from isobatch.errors import OptionError
from isobatch.types import Precision

VARIABLE = "ISOBATCH_INSTRUCTION_SET"
TORCH = "torch"
"""The value of VARIABLE that turns compiled kernels off."""

FOLDER = Path(__file__).parent
GOLDEN = FOLDER / "golden.json"
BUILD_REPORT = FOLDER / "build_report.json"


class KernelModule(Protocol):
    """The functions of module.cpp; integers are addresses, counts, and codes of enumerations."""

    PANEL: int
    INT8_NEIGHBOURS: int
    INT8_ZERO: int

    def forward_block(self, *arguments: int) -> None: ...
    def forward_linear(self, *arguments: int) -> None: ...
    def embed_tokens(self, *arguments: int) -> int: ...
    def normalize_rows(self, *arguments: int) -> None: ...
    def draw_masks(self, *arguments: int) -> None: ...
    def golden_hashes(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Variant:
    """A build of the kernels: its machine, and what torch.cpu.get_capabilities() must name."""

    name: str
    machine: str
    capabilities: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ("fp32", "int8")


class Kernels(NamedTuple):
    """A variant that computes on this machine, and its module."""

    name: str
    module: KernelModule


@dataclass(frozen=True, slots=True)
class VariantStatus:
    """The state of a variant: `problem` is None where it can compute."""

    name: str
    built: bool
    problem: str | None


_AVX512 = ("avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "fma3")
_EVERY: tuple[Precision, ...] = ("fp32", "bf16", "int8")
VARIANTS: tuple[Variant, ...] = (
    Variant("avx512bf16", "x86_64", (*_AVX512, "avx512_vnni", "avx512_bf16"), _EVERY),
    Variant("avx512vnni", "x86_64", (*_AVX512, "avx512_vnni")),
    Variant("avx512", "x86_64", _AVX512),
    Variant("avxvnni", "x86_64", ("avx2", "fma3", "avx_vnni")),
    Variant("avx2", "x86_64", ("avx2", "fma3")),
    Variant("reference", "x86_64"),
    Variant("dotprod", "aarch64", ("neon", "dot")),
    Variant("neon", "aarch64", ("neon",)),
    Variant("reference", "aarch64"),
)
"""The fastest first on each machine."""


def variants_of_machine() -> tuple[Variant, ...]:
    """List the variants for this kind of processor, the fastest first."""
    return tuple(variant for variant in VARIANTS if variant.machine == platform.machine())


def unavailable(precision: Precision) -> str | None:
    """Return why compiled kernels of `precision` cannot be used here; None if they can.

    Raises OptionError if ISOBATCH_INSTRUCTION_SET names none that works here.
    """
    found = _select(precision, os.environ.get(VARIABLE))
    return found if isinstance(found, str) else None


def kernels(precision: Precision) -> Kernels:
    """Return the compiled kernels of `precision`; RuntimeError if they are unavailable."""
    found = _select(precision, os.environ.get(VARIABLE))
    if isinstance(found, str):
        raise RuntimeError(f"compiled {precision} kernels: {found}")
    return found


@cache
def _select(precision: Precision, forced: str | None) -> Kernels | str:
    candidates = variants_of_machine()
    if forced == TORCH:
        return f"{VARIABLE} is {TORCH}"
    if forced is not None:
        candidates = tuple(each for each in candidates if each.name == forced)
        _check_forced(forced, candidates)
    problems: dict[str, list[str]] = {}
    for variant in candidates:
        if precision not in variant.precisions:
            continue
        status = status_of(variant)
        if status.problem is None:
            return Kernels(variant.name, _module(variant.name))
        problems.setdefault(status.problem, []).append(variant.name)
    listed = (f"{', '.join(names)}: {problem}" for problem, names in problems.items())
    return "; ".join(listed) or f"no instructions for {precision} in {_described(candidates)}"


def _described(candidates: tuple[Variant, ...]) -> str:
    return ", ".join(each.name for each in candidates) or f"kernels for {platform.machine()}"


def _check_forced(forced: str, candidates: tuple[Variant, ...]) -> None:
    if not forced.strip():
        raise OptionError(f"{VARIABLE} is empty. Give it a value, or remove it: unset {VARIABLE}")
    problem = "unknown instruction set" if not candidates else status_of(candidates[0]).problem
    if problem is not None:
        usable = [each.name for each in variant_statuses() if each.problem is None]
        raise OptionError(
            f"{VARIABLE}: {forced!r} cannot be used: {problem}. Use one of "
            f"{', '.join([*usable, TORCH])}, or remove the variable"
        )


def variant_statuses() -> tuple[VariantStatus, ...]:
    """Return the state of each variant of this machine, in the order of preference."""
    return tuple(map(status_of, variants_of_machine()))


@cache
def status_of(variant: Variant) -> VariantStatus:
    """Find out whether a variant was built, runs on this processor, and has the right bits."""
    name = variant.name
    if not any((FOLDER / f"_{name}{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        return VariantStatus(name, False, f"not built ({_build_error(name)})")
    found = torch.cpu.get_capabilities()
    if missing := [each for each in variant.capabilities if not found.get(each)]:
        return VariantStatus(name, True, f"this processor has no {', '.join(missing)}")
    try:
        module = _module(name)
    except ImportError as error:
        return VariantStatus(name, True, f"cannot be imported ({error})")
    return VariantStatus(name, True, _wrong_bits(module))


def _module(name: str) -> KernelModule:
    return cast("KernelModule", import_module(f"isobatch.kernels.compiled._{name}"))


def _wrong_bits(module: KernelModule) -> str | None:
    hashes = module.golden_hashes()
    wrong = [name for name, expected in golden_hashes().items() if hashes.get(name) != expected]
    if not wrong:
        return None
    return (
        f"its bits are wrong in {', '.join(wrong)}: the compiler or the processor is at fault. "
        "Please report this with the output of `isobatch info`"
    )


@cache
def golden_hashes() -> Mapping[str, int]:
    """Return the hash of the bits that every variant must give, for each operation."""
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return {name: int(number, 16) for name, number in kept["operations"].items()}


def _build_error(name: str) -> str:
    try:
        report = json.loads(BUILD_REPORT.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "there is no build report"
    entry = report.get(name) or {"error": "not for the machine that it was installed on"}
    return str(entry.get("error", "the module is missing"))
