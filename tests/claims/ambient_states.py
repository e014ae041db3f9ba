"""Settings of the thread and the process that a caller may have made, as context managers.

`VISIBLE` have an effect on plain torch, numpy or Python, which `plain_result` shows; the others
have one on other operations or machines.
"""

import ctypes
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

State = Callable[[], AbstractContextManager[object]]

FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO = 0x400, 0x800, 0xC00
"""Of x86-64; ARM64 has others."""
if not torch.backends.cpu.get_cpu_capability().startswith(("AVX", "DEFAULT", "NO AVX")):
    FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO = 0x400000, 0x800000, 0xC00000

FAST_MATH = """
__attribute__((constructor)) static void flush_subnormals(void) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#elif defined(__aarch64__)
    unsigned long long fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | (1ull << 24)));
#endif
}
"""
"""Of crtfastmath.c, which GCC links into what is built with -Ofast."""


@contextmanager
def same_environment_after() -> Iterator[None]:
    """Put the thread's floating-point environment back."""
    libm = ctypes.CDLL(None)
    saved = ctypes.create_string_buffer(512)
    libm.fegetenv(saved)
    try:
        yield
    finally:
        libm.fesetenv(saved)


@contextmanager
def flushing() -> Iterator[None]:
    with same_environment_after():
        assert torch.set_flush_denormal(True)
        yield


@contextmanager
def rounding(mode: int) -> Iterator[None]:
    with same_environment_after():
        assert ctypes.CDLL(None).fesetround(mode) == 0
        yield


@contextmanager
def fast_math_library() -> Iterator[None]:
    with same_environment_after():
        ctypes.CDLL(str(_build_fast_math()))
        yield


def _build_fast_math() -> Path:
    """A new file each time: the constructor runs once for each library."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = Path(mkdtemp(prefix="fast-math-"))
    (folder / "fast.c").write_text(FAST_MATH)
    library = folder / "libfast.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", library, folder / "fast.c"],
        check=True,
    )
    return library


@contextmanager
def changed(get: Callable[[], Any], change: Callable[[Any], object], value: Any) -> Iterator[None]:
    """Call `change` with the value, and with the one before at the end."""
    before = get()
    change(value)
    try:
        yield
    finally:
        change(before)


def default_dtype(dtype: torch.dtype) -> AbstractContextManager[None]:
    return changed(torch.get_default_dtype, torch.set_default_dtype, dtype)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic(*, fill: bool = False, warn_only: bool = False) -> Iterator[None]:
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    settings.fill_uninitialized_memory = fill
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        settings.fill_uninitialized_memory = before


@contextmanager
def attribute(place: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


class DoublingFunctions(TorchFunctionMode):
    """A function mode that changes every floating-point result."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return doubled(func(*args, **(kwargs or {})))


class DoublingOperations(TorchDispatchMode):
    """A dispatch mode that does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return doubled(func(*args, **(kwargs or {})))


def doubled(result: Any) -> Any:
    return result + result if isinstance(result, Tensor) and result.is_floating_point() else result


def matmul_precision(value: str) -> AbstractContextManager[None]:
    return changed(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, value)


_MKLDNN: Any = torch.backends.mkldnn


@contextmanager
def mkldnn_precision(value: str) -> Iterator[None]:
    """Of all of oneDNN, which holds for products that have none of their own."""
    with (
        attribute(_MKLDNN.matmul, "fp32_precision", "none"),
        attribute(_MKLDNN, "fp32_precision", value),
    ):
        yield


VISIBLE: Mapping[str, State] = {
    "flush to zero": flushing,
    "a library with -Ofast": fast_math_library,
    "rounding up": partial(rounding, FE_UPWARD),
    "rounding down": partial(rounding, FE_DOWNWARD),
    "rounding toward zero": partial(rounding, FE_TOWARDZERO),
    "autocast bf16": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "autocast fp16": partial(torch.autocast, "cpu", dtype=torch.float16),
    "default dtype float64": partial(default_dtype, torch.float64),
    "default dtype float16": partial(default_dtype, torch.float16),
    "default dtype bfloat16": partial(default_dtype, torch.bfloat16),
    "default device meta": partial(default_device, "meta"),
    "device context meta": partial(torch.device, "meta"),
    "function mode": DoublingFunctions,
    "numpy errors": partial(np.errstate, all="raise"),
}

QUIET: Mapping[str, State] = {
    "default device cuda": partial(default_device, "cuda"),
    "mkldnn off": partial(attribute, _MKLDNN, "enabled", False),
    "mkldnn deterministic": partial(attribute, _MKLDNN, "deterministic", True),
    "deterministic": deterministic,
    "deterministic, memory filled": partial(deterministic, fill=True),
    "deterministic, warnings": partial(deterministic, warn_only=True),
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference mode": torch.inference_mode,
    "anomaly detection": partial(torch.autograd.set_detect_anomaly, True),
    "two threads": partial(changed, torch.get_num_threads, torch.set_num_threads, 2),
    "warnings are errors": lambda: _warnings_as_errors(),
}

REDUCED: Mapping[str, State] = {
    "matmul precision medium": partial(matmul_precision, "medium"),
    "matmul precision high": partial(matmul_precision, "high"),
    "mkldnn bf16": lambda: mkldnn_precision("bf16"),
    "mkldnn matmul bf16": partial(attribute, _MKLDNN.matmul, "fp32_precision", "bf16"),
}
"""They let torch's own products be computed in fewer bits: rejected where those compute."""

REJECTED: Mapping[str, State] = {
    "dispatch mode": DoublingOperations,
    "flop counter": partial(FlopCounterMode, display=False),
    "fake tensors": lambda: _fake_tensors(),
}


@contextmanager
def _warnings_as_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _fake_tensors() -> AbstractContextManager[object]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


@cache
def _inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 40, generator=generator), torch.randn(7, 40, generator=generator)


def plain_result() -> bytes:
    """The bytes of some operations of torch, numpy and Python without any protection.

    One that raises an error has none of its own.
    """
    found = []
    x, weight = _inputs()
    third, subnormal = float("0.3"), np.full(4, 1e-39, np.float32)
    calculations: tuple[Callable[[], bytes], ...] = (
        lambda: torch.nn.functional.linear(x, weight).softmax(-1).numpy().tobytes(),
        lambda: (torch.ones(3) / 3).numpy().tobytes(),
        lambda: (subnormal * np.float32(0.5)).tobytes(),
        lambda: np.exp(np.array([-800.0])).tobytes(),
        lambda: (third * third).hex().encode(),
        lambda: (-third * third).hex().encode(),
    )
    for calculate in calculations:
        with suppress(Exception):
            found.append(calculate())
    return b"|".join(found)
