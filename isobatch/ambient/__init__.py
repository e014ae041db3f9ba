"""Ambient state: settings of the caller's thread and process that must not change a bit.

`float_environment` is the processor's, `torch_state` is torch's. Invariant: a setting is either
kept out of the computation and put back after it, or rejected with the way to undo it.
"""

from isobatch.ambient.float_environment import default_float_environment, has_default_floats
from isobatch.ambient.torch_state import (
    eager,
    isolated,
    reject_reduced_precision,
    uses_torch,
)

__all__ = [
    "default_float_environment",
    "eager",
    "has_default_floats",
    "isolated",
    "reject_reduced_precision",
    "uses_torch",
]
