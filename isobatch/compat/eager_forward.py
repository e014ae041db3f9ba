"""eager: keeps torch.compile out of a forward, and the caller's line in its warnings.

The kernels that passed the check at load are called as they are; compiled ones would be others.
"""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import torch

Forward = TypeVar("Forward", bound=Callable[..., Any])

_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


def eager(forward: Forward) -> Forward:
    """Run a forward as it is written, also in a model that went through torch.compile.

    torch._dynamo is not imported for it, which takes over a second: a process without it has no
    compiled model.
    """
    disabled: list[Callable[..., Any]] = []

    @wraps(forward)
    def run(*args: Any, **options: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return forward(*args, **options)
        if not disabled:
            disabled.append(torch.compiler.disable(forward))  # type: ignore[no-untyped-call]
        return disabled[0](*args, **options)

    return run  # type: ignore[return-value]


def caller_stacklevel() -> int:
    """Return the `stacklevel` for a warning in the caller's caller that names the user's line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN):
        level, frame = level + 1, frame.f_back
    return level
