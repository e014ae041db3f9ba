"""torch's settings of a thread and of the process, kept out of a computation.

Autocast, a default device and other function modes are of the thread and are suspended. A dispatch
mode intercepts or replaces single operations, so it is rejected. Settings of the process, such as
the default dtype, cannot be changed for one thread: the code never depends on them, or they are
rejected where torch's own kernels compute (`reject_reduced_precision`).
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, TypeVar

import torch

from isobatch.ambient.float_environment import default_float_environment
from isobatch.errors import OptionError

Forward = TypeVar("Forward", bound=Callable[..., Any])

_FULL_PRECISION = ("none", "ieee")
_FPMATH = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


@contextmanager
def isolated(device_type: str = "cpu") -> Iterator[None]:
    """Compute as in a new thread of a new process, free of the modes that the caller has entered.

    Raises OptionError within a TorchDispatchMode, such as FlopCounterMode or FakeTensorMode.
    """
    if torch._C._len_torch_dispatch_stack():
        raise OptionError(
            "a TorchDispatchMode is active, such as FlopCounterMode or FakeTensorMode: it could "
            "change the operations, and would not see those of compiled kernels. Call Isobatch "
            "outside of it"
        )
    with default_float_environment(), torch._C.DisableTorchFunction():
        if torch.is_autocast_enabled(device_type):
            with torch.autocast(device_type, enabled=False):
                yield
        else:
            yield


def uses_torch(kernels: Iterable[str]) -> bool:
    """Return whether one of the kernels, as KernelChoice names them, is torch's own."""
    return not all(kernel.startswith("compiled") for kernel in kernels)


def reject_reduced_precision() -> None:
    """Raise OptionError if torch's own products of float32 may be computed in fewer bits.

    set_float32_matmul_precision and the settings of all of mkldnn or torch end in one for products.
    Whether it has an effect depends on the CPU; compiled kernels do not read it.
    """
    mkldnn: Any = torch.backends.mkldnn
    if (value := mkldnn.matmul.fp32_precision) not in _FULL_PRECISION:
        _reject(
            f"torch.backends.mkldnn.matmul.fp32_precision is {value!r}",
            'torch.set_float32_matmul_precision("highest")',
        )
    if name := _reduced_by_environment():
        _reject(name, f"unset {name.partition('=')[0]} before Python starts")


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


def eager(forward: Forward) -> Forward:
    """Run a function as it is written, also where a caller went through torch.compile.

    The kernels that passed the check at load are called as they are; compiled ones would be others.
    torch._dynamo is not imported for it, which takes over a second: a process without it has no
    compiled caller.
    """
    disabled: list[Callable[..., Any]] = []

    @wraps(forward)
    def run(*args: Any, **options: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return forward(*args, **options)
        if not disabled:
            disabled.append(torch.compiler.disable(forward))  # type: ignore[no-untyped-call]
        return disabled[0](*args, **options)

    # A code object of its own: torch.compile limits how often it traces one.
    run.__code__ = run.__code__.replace(co_name=forward.__name__)
    return run  # type: ignore[return-value]
