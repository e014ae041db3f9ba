"""Numerics: linears and attention whose rows do not depend on their neighbours, and the proof.

Beneath the model; knows neither checkpoints nor text. Numerics is an argument of a module, never a
mode of the process: no patched operators, no autocast, no global switch.
"""

from isobatch.numerics.activations import activation_named
from isobatch.numerics.attention import PackedAttention
from isobatch.numerics.linear import Linear
from isobatch.numerics.proof import Choice, KernelSettler, settle_kernels

__all__ = [
    "Choice",
    "KernelSettler",
    "Linear",
    "PackedAttention",
    "activation_named",
    "settle_kernels",
]
