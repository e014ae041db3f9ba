"""Numerics: linears and attention whose rows do not depend on their neighbours, and the proof.

Beneath the model; knows neither checkpoints nor text. Numerics is an argument of a module, never a
mode of the process: no patched operators, no autocast, no global switch.
"""

from isobatch.numerics.activations import activation_named
from isobatch.numerics.attention import PackedAttention
from isobatch.numerics.block_proof import (
    check_precision,
    has_exact_int8,
    offered_precisions,
)
from isobatch.numerics.blocks import BlockKernel, BlockLayers, compute_by_layers
from isobatch.numerics.int8 import Int8Embedding
from isobatch.numerics.linear import Linear
from isobatch.numerics.proof import KernelSettler
from isobatch.numerics.rows import QuantisedWeight, quantise_weight
from isobatch.numerics.trial import Choice

__all__ = [
    "BlockKernel",
    "BlockLayers",
    "Choice",
    "Int8Embedding",
    "KernelSettler",
    "Linear",
    "PackedAttention",
    "QuantisedWeight",
    "activation_named",
    "check_precision",
    "compute_by_layers",
    "has_exact_int8",
    "offered_precisions",
    "quantise_weight",
]
