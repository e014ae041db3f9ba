"""Rotary position embeddings: the angles of each position, and the turning of queries and keys.

The angles are in float32, as in transformers, and their cosines rounded from float64. Invariant: a
number of the table depends on its position and index alone, not on the length of the table.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isobatch.ambient import default_float_environment
from isobatch.specification import Rotary

_SHORTEST_TABLE = 512


def rotate(heads: Tensor, rotary: Rotary, first: int = 0) -> Tensor:
    """Turn [sequences, rows, heads, head_dim]; the first row has the position `first`."""
    cosine, sine = angles(rotary, first + heads.shape[1], heads.device)
    cosine, sine = (
        table[first : first + heads.shape[1], None].to(heads.dtype) for table in (cosine, sine)
    )
    half = rotary.size // 2
    low, high, rest = heads[..., :half], heads[..., half : 2 * half], heads[..., 2 * half :]
    return torch.cat([low * cosine - high * sine, high * cosine + low * sine, rest], dim=3)


def angles(rotary: Rotary, num_positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of at least that many positions, float32 [positions, size / 2]."""
    return _table(rotary, max(_SHORTEST_TABLE, 1 << (num_positions - 1).bit_length()), device)


def rotary_table(rotary: Rotary, num_positions: int) -> tuple[NDArray[np.float32], ...]:
    """Compute cosines and sines, [positions, size / 2] each."""
    angles = np.arange(num_positions, dtype=np.float32)[:, None] * inverse_frequencies(rotary)
    wide = angles.astype(np.float64)
    return np.cos(wide).astype(np.float32), np.sin(wide).astype(np.float32)


def inverse_frequencies(rotary: Rotary) -> NDArray[np.float32]:
    """Compute the angle of one position, [size / 2], each operation rounded to float32."""
    exponents = np.arange(0, rotary.size, 2, dtype=np.float32) / np.float32(rotary.size)
    powers = (rotary.theta ** exponents.astype(np.float64)).astype(np.float32)
    inverse = np.float32(1) / powers
    slow = inverse / np.float32(rotary.factor)
    return slow if rotary.bands is None else _banded(inverse, slow, rotary.bands)


def _banded(
    fast: NDArray[np.float32], slow: NDArray[np.float32], bands: tuple[float, float, int]
) -> NDArray[np.float32]:
    """Divide the slow angles only, and those between in part (transformers' "llama3")."""
    low, high, original = bands
    wavelengths = np.float32(2 * math.pi) / fast
    smooth = (np.float32(original) / wavelengths - np.float32(low)) / np.float32(high - low)
    between = (np.float32(1) - smooth) * slow + smooth * fast
    known = np.where(wavelengths > original / low, slow, fast)
    is_between = (wavelengths >= original / high) & (wavelengths <= original / low)
    return np.where(is_between, between, known).astype(np.float32)


@lru_cache(maxsize=16)  # lengths are powers of two, so that there are few tables
@default_float_environment()  # which later calls in any other one read
@torch.inference_mode(False)  # which serve training, too
def _table(rotary: Rotary, num_positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    cosine, sine = rotary_table(rotary, num_positions)
    return torch.from_numpy(cosine).to(device), torch.from_numpy(sine).to(device)
