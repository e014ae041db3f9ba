"""Settings of the process that change the bits of torch's own kernels, and of no compiled one.

They cannot be changed for one thread, so that a model with such kernels is not computed under them.
"""

import os
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from isobatch.errors import OptionError

_FULL_PRECISION = ("none", "ieee")
_CPU = torch.device("cpu")
_TF32 = "NVIDIA_TF32_OVERRIDE"
_FPMATH = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")

_LIMITS = tuple(
    f"{name}={os.environ[name]}"
    for name in (
        *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE"),
        *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS", "DNNL_CPU_ISA_HINTS"),
    )
    if os.environ.get(name)
)
"""Variables that choose the code of MKL and oneDNN, which read them once, as this module does."""

_UP, _DOWN, _SUBNORMAL = (1.0, 2.0**-26), (1.0, -(2.0**-26)), (2.0**-127, 2.0**-127)
_MEANS = (0.5, 0.5, 2.0**-127)
"""Of the pairs, in float32, by default; each is another one in some other environment."""


def uses_torch(kernels: Iterable[str]) -> bool:
    """Return whether one of the kernels, as KernelChoice names them, is torch's own."""
    return not all(kernel.startswith(("compiled", "numpy")) for kernel in kernels)


def torch_instruction_set() -> str:
    """Name what decides the bits of torch's own kernels on the CPU, besides torch's version.

    torch's capability, and the variables that restrict its libraries: `AVX512 MKL_CBWR=AVX2`.
    """
    return " ".join((torch.backends.cpu.get_cpu_capability(), *_LIMITS))


def check_torch_settings(device: torch.device = _CPU) -> None:
    """Raise OptionError where torch's own kernels on `device` may have other bits than usual."""
    if device.type == "cpu":
        _check_cpu_settings()
    else:
        _check_cuda_settings()


def _check_cpu_settings() -> None:
    """Check the precision of products, the float environment of all threads, and attention.

    set_float32_matmul_precision and the settings of all of mkldnn or torch end in one for products;
    whether it has an effect depends on the CPU. OpenMP's threads keep the floating-point
    environment of the thread that started them.
    """
    mkldnn: Any = torch.backends.mkldnn
    if (value := mkldnn.matmul.fp32_precision) not in _FULL_PRECISION:
        _reject(
            f"torch.backends.mkldnn.matmul.fp32_precision is {value!r}",
            'torch.set_float32_matmul_precision("highest")',
        )
    if name := _reduced_by_environment():
        _reject(name, f"unset {name.partition('=')[0]} before Python starts")
    if torch.get_num_threads() > 1 and not _all_threads_have_default_floats():
        raise OptionError(
            "some of torch's threads flush subnormal numbers to zero or do not round to nearest, "
            "because they were started under torch.set_flush_denormal(True) or "
            "fesetround, which changes results. Load Isobatch before that, or use "
            "torch.set_num_threads(1)"
        )
    check_attention_settings()


def _check_cuda_settings() -> None:
    """Check TF32, which rounds the factors of products to 10 bits, and attention."""
    cuda: Any = torch.backends.cuda
    if (value := cuda.matmul.fp32_precision) not in _FULL_PRECISION:
        _reject(
            f"torch.backends.cuda.matmul.fp32_precision is {value!r}",
            'torch.set_float32_matmul_precision("highest")',
        )
    if (value := os.environ.get(_TF32, "0")) != "0":
        _reject(f"{_TF32}={value}", f"unset {_TF32} before Python starts")
    check_attention_settings()


def check_attention_settings() -> None:
    """Raise OptionError where one of the kernels that torch's attention chooses from is disabled.

    Those of CPUs are selected by the same settings.
    """
    cuda: Any = torch.backends.cuda
    enabled = {
        "flash": cuda.flash_sdp_enabled(),
        "mem_efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
    }
    if off := [name for name, on in enabled.items() if not on]:
        raise OptionError(
            f"torch's attention {off[0]!r} is disabled, which changes results of torch's own "
            f"kernels. Undo it: torch.backends.cuda.enable_{off[0]}_sdp(True), or leave the "
            "sdpa_kernel that selects others"
        )


@cache
def _reduced_by_environment() -> str | None:
    """Return the variable that oneDNN reads once, as NAME=VALUE, if it asks for fewer bits."""
    for name in _FPMATH:
        if (value := os.environ.get(name, "")).upper() not in ("STRICT", ""):
            return f"{name}={value}"
    return None


def _reject(setting: str, fix: str) -> None:
    raise OptionError(
        f"{setting}: it lets torch's own kernels, which this model uses here, multiply in fewer "
        f"than 32 bits, which changes results. Undo it: {fix}"
    )


def _all_threads_have_default_floats() -> bool:
    """Let every thread of torch compute means of pairs; avg_pool2d divides any number of them."""
    repeats = 4 * torch.get_num_threads()
    pairs = torch.tensor((_UP, _DOWN, _SUBNORMAL) * repeats, dtype=torch.float32, device="cpu")
    means = F.avg_pool2d(pairs.view(1, -1, 1, 2), (1, 2))
    return means.flatten().tolist() == [*_MEANS] * repeats
