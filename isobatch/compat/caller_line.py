"""The caller's line in a warning: frames of this package and of torch are skipped."""

import sys
from pathlib import Path

import torch

_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent.parent))


def caller_stacklevel() -> int:
    """Return the `stacklevel` for a warning in the caller's caller that names the user's line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN):
        level, frame = level + 1, frame.f_back
    return level
