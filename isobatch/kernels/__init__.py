"""Kernels: layers whose rows do not depend on batch neighbours, and the checks that show it.

A kernel is an object of one model, never a mode of the process: no patched operators, no autocast,
no global switch.
"""

from isobatch.kernels.activations import activation_named
from isobatch.kernels.arithmetic import ARITHMETIC, arithmetic_name
from isobatch.kernels.attention import PackedAttention, TrainingAttention
from isobatch.kernels.block_formula import (
    BlockKernel,
    BlockOperations,
    BlockWeights,
    LinearWeights,
    NormWeights,
    block_weights,
    compute_block,
    compute_packed,
    linear_activation,
    project_positions,
    reference_operations,
)
from isobatch.kernels.compiled import VariantStatus, compute_trainable, variant_statuses
from isobatch.kernels.distances import toeplitz
from isobatch.kernels.dropout import Dropout, KeyedDropout, TorchDropout
from isobatch.kernels.embedding_formula import EmbeddingWeights
from isobatch.kernels.fork_safety import fork_safe_lock, keep_forks_safe
from isobatch.kernels.int8 import Int8Embedding, int8_weight, quantize_weight
from isobatch.kernels.layers import Drop, Linear, Norm, PackedLinear
from isobatch.kernels.machine import Machine, instruction_set, is_compiled, this_machine
from isobatch.kernels.pooling import normalize_rows, pool_rows
from isobatch.kernels.selection import (
    EmbeddingKernel,
    KernelChoice,
    KernelSelector,
    check_precision,
    supported_precisions,
)

keep_forks_safe()

__all__ = [
    "ARITHMETIC",
    "BlockKernel",
    "BlockOperations",
    "BlockWeights",
    "Drop",
    "Dropout",
    "EmbeddingKernel",
    "EmbeddingWeights",
    "Int8Embedding",
    "KernelChoice",
    "KernelSelector",
    "KeyedDropout",
    "Linear",
    "LinearWeights",
    "Machine",
    "Norm",
    "NormWeights",
    "PackedAttention",
    "PackedLinear",
    "TorchDropout",
    "TrainingAttention",
    "VariantStatus",
    "activation_named",
    "arithmetic_name",
    "block_weights",
    "check_precision",
    "compute_block",
    "compute_packed",
    "compute_trainable",
    "fork_safe_lock",
    "instruction_set",
    "int8_weight",
    "is_compiled",
    "linear_activation",
    "normalize_rows",
    "pool_rows",
    "project_positions",
    "quantize_weight",
    "reference_operations",
    "supported_precisions",
    "this_machine",
    "toeplitz",
    "variant_statuses",
]
