"""Ambient state: settings of the caller's thread and process that must not change a bit.

`float_environment` is about the processor's, `torch_state` about torch's of a thread, and
`torch_settings` about torch's of the process. Invariant: a setting is kept out of the computation
and put back after it, or is rejected with the way to undo it.
"""

from isobatch.ambient.float_environment import default_float_environment, has_default_floats
from isobatch.ambient.torch_settings import (
    check_attention_settings,
    check_torch_settings,
    torch_instruction_set,
    uses_torch,
)
from isobatch.ambient.torch_state import eager, isolated

__all__ = [
    "check_attention_settings",
    "check_torch_settings",
    "default_float_environment",
    "eager",
    "has_default_floats",
    "isolated",
    "torch_instruction_set",
    "uses_torch",
]
