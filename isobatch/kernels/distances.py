"""Distances of tokens: which row of a table each has, near ones singly and far ones in groups.

Computed by NumPy, each operation rounded to float32 as in transformers, and logarithms from
float64: where a group begins depends neither on the processor nor on the library of torch.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isobatch.ambient import default_float_environment
from isobatch.specification import Disentangled

_T5_BUCKETS = 32
_T5_MAX_DISTANCE = 128


def toeplitz(table: Tensor, span: int) -> Tensor:
    """Spread a table [rows, heads] over distances key - query: [heads, 2 span - 1], from 1 - span.

    The rows are T5's: half of them for keys before the query, half of those for a distance each.
    """
    return table[_t5_rows(span).to(table.device)].T.contiguous()


@lru_cache(maxsize=16)
@default_float_environment()  # later calls in any other one read what is cached
@torch.inference_mode(False)  # the cached tensor serves training, too
def _t5_rows(span: int) -> Tensor:
    return torch.from_numpy(t5_rows(np.arange(1 - span, span)))


def t5_rows(distances: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of each distance key - query, as T5 groups them with its own settings."""
    of_one_side = _T5_BUCKETS // 2
    exact = of_one_side // 2
    size = np.abs(distances)
    far = np.maximum(size, exact).astype(np.float32) / np.float32(exact)
    groups = _logarithm(far) / np.float32(math.log(_T5_MAX_DISTANCE / exact))
    groups = groups * np.float32(of_one_side - exact)
    grouped = np.minimum(exact + groups.astype(np.int64), of_one_side - 1)
    rows: NDArray[np.int64] = np.where(size < exact, size, grouped)
    return rows + np.where(distances > 0, of_one_side, 0)


@lru_cache(maxsize=128)
@default_float_environment()
@torch.inference_mode(False)
def distance_rows(rule: Disentangled, length: int) -> Tensor:
    """Return the row of each distance query - key, from 1 - length to length - 1."""
    return torch.from_numpy(rows_by_logarithm(np.arange(1 - length, length), rule))


def rows_by_logarithm(distances: NDArray[np.int64], rule: Disentangled) -> NDArray[np.int64]:
    """Return the row of each distance, as DeBERTa groups far ones."""
    last, numbers = 2 * rule.span - 1, distances
    if rule.max_distance is not None:
        exact = rule.span // 2
        size = np.abs(distances)
        far = np.maximum(size, exact).astype(np.float32) / np.float32(exact)
        farthest = np.array((rule.max_distance - 1) / exact, np.float32)
        groups = _logarithm(far) / _logarithm(farthest) * np.float32(exact - 1)
        grouped = (np.ceil(groups) + np.float32(exact)).astype(np.int64) * np.sign(distances)
        numbers = np.where(size <= exact, distances, grouped)
    return np.clip(numbers + rule.span, 0, last)


def _logarithm(numbers: Any) -> Any:
    return np.log(numbers.astype(np.float64)).astype(np.float32)
