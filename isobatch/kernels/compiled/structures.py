"""Structures of the C++ side, and checks of the tensors whose addresses they hold."""

import ctypes
from operator import ge

import torch
from torch import Tensor

LINEARS = ("query", "key", "value", "output", "up", "gate", "down")
NORMS = (
    *("attention_input_norm", "attention_norm", "feed_forward_input_norm", "norm"),
    *("query_norm", "key_norm"),
)
"""Those that a layer does not have are left out: their addresses are null."""


class ProductStructure(ctypes.Structure):
    """`struct Product` of products.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "offset", "scale", "bias")),
        *((name, ctypes.c_int64) for name in ("columns_in", "columns_out", "packed")),
    )


class NormStructure(ctypes.Structure):
    """`struct Norm` of rows.h."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("eps", ctypes.c_double),
        ("rms", ctypes.c_int64),
    )


class BlockStructure(ctypes.Structure):
    """`struct Block` of block.h."""

    _fields_ = (
        *((name, ProductStructure) for name in LINEARS),
        *((name, NormStructure) for name in NORMS),
        *((name, ctypes.c_int64) for name in ("heads", "key_heads", "activation", "turned")),
        *((name, ctypes.c_int64) for name in ("window", "causal")),
        ("scale", ctypes.c_double),
    )


class PositionsStructure(ctypes.Structure):
    """`struct Positions` of block.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("cosine", "sine", "added")),
        *((name, ctypes.c_void_p) for name in ("panels_of_queries", "panels_of_keys")),
        *((name, ctypes.c_void_p) for name in ("rows_of_queries", "rows_of_keys")),
        *((name, ctypes.c_int64) for name in ("span", "rows", "near")),
    )


class EmbeddingsStructure(ctypes.Structure):
    """`struct Embeddings` of embeddings.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("word", "word_scale", "position", "type")),
        ("norm", NormStructure),
        *((name, ctypes.c_int64) for name in ("words", "positions", "types", "size")),
        ("factor", ctypes.c_double),
    )


class IdsStructure(ctypes.Structure):
    """`struct Ids` of embeddings.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("word", "position", "type"))


def checked(x: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return `x` contiguous; raises TypeError if dtype, device or shape are not the expected."""
    if x.dtype != dtype or x.device.type != "cpu" or x.shape != shape:
        found = f"{x.dtype} {[*x.shape]} on {x.device}"
        raise TypeError(f"expected {dtype} {[*shape]} on the CPU, got {found}")
    return x.contiguous()


def check_borders(cu_seqlens: Tensor, num_tokens: int) -> None:
    """Check that every sequence has tokens and that together they are all tokens."""
    if (
        cu_seqlens.dtype != torch.int64
        or cu_seqlens.device.type != "cpu"
        or not cu_seqlens.is_contiguous()
    ):
        raise TypeError(f"cu_seqlens must be contiguous int64 on the CPU, got {cu_seqlens.dtype}")
    borders = cu_seqlens.tolist()
    if borders[0] != 0 or borders[-1] != num_tokens or any(map(ge, borders, borders[1:])):
        raise ValueError(f"cu_seqlens must increase from 0 to {num_tokens}")
