"""torch's modes of a thread, kept out of a computation, and torch.compile.

Autocast, a default device and other function modes are suspended. A dispatch mode intercepts or
replaces single operations, so it is rejected. Settings of the process, such as the default dtype,
cannot be changed for one thread: no code depends on them, or `torch_settings` rejects them.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import torch

from isobatch.ambient.float_environment import default_float_environment
from isobatch.errors import OptionError

Forward = TypeVar("Forward", bound=Callable[..., Any])


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
    own: Any = run
    own.__code__ = own.__code__.replace(co_name=forward.__name__)
    return own  # type: ignore[no-any-return]
