"""Similarities of vectors, in double precision and in a fixed order of sums.

Number by number of the vectors, whole blocks of pairs are added at a time: a product of matrices
would add in an order that depends on its shape. Invariant: the similarity of two vectors is a
function of their numbers alone, the same on every machine.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isobatch.ambient import default_float_environment
from isobatch.errors import InputError, OptionError

_BLOCK = 256
"""Vectors of each side in a block: its 65,536 sums stay in the cache of a processor core."""

Doubles = NDArray[np.float64]
Term = Callable[[Doubles, Doubles], Doubles]
"""The summand of two columns, [rows, 1] and [columns]."""


def similarities(first: ArrayLike, second: ArrayLike, function: str) -> Doubles:
    """Compute each pair's similarity: [rows, size] and [columns, size] to [rows, columns].

    function: "cosine", "dot", or "euclidean" and "manhattan", which are distances times -1. A
    single vector is a row. Cosine is exactly 1.0 for equal vectors, and 0.0 for one of zeros.
    Raises OptionError for another name, InputError for arrays that do not fit each other.
    """
    if function not in _FUNCTIONS:
        raise OptionError(
            f"similarity {function!r} is not supported. Use one of: {', '.join(_FUNCTIONS)}"
        )
    rows, columns = _as_rows(first), _as_rows(second)
    if rows.shape[1] != columns.shape[1]:
        raise InputError(
            f"vectors of {rows.shape[1]} and of {columns.shape[1]} numbers cannot be compared. "
            "Compute both with the same model"
        )
    found = np.empty((len(rows), len(columns)), np.float64)
    with default_float_environment(), np.errstate(all="ignore"):  # the caller's may be "raise"
        for top in range(0, len(rows), _BLOCK):
            for left in range(0, len(columns), _BLOCK):
                block = slice(top, top + _BLOCK), slice(left, left + _BLOCK)
                found[block] = _FUNCTIONS[function](rows[block[0]], columns[block[1]])
    return found


def _as_rows(vectors: ArrayLike) -> Doubles:
    try:
        rows = np.atleast_2d(np.asarray(vectors, np.float64))
    except (TypeError, ValueError):
        raise InputError(
            f"expected vectors as numbers [texts, size], got {type(vectors).__name__}. Of "
            "predictions, pass [each.vector for each in predictions]"
        ) from None
    if rows.ndim != 2:
        raise InputError(f"expected vectors [texts, size], got an array of {rows.ndim} dimensions")
    return rows


def _sum(rows: Doubles, columns: Doubles, term: Term) -> Doubles:
    """Add the terms of each pair, from the first number of the vectors to the last."""
    total = np.zeros((len(rows), len(columns)), np.float64)
    for left, right in zip(rows.T, columns.T, strict=True):
        total += term(left[:, None], right)
    return total


def _cosine(rows: Doubles, columns: Doubles) -> Doubles:
    # The root of x² is x to the bit, so that equal vectors have 1.0; that of each norm is not.
    squares = _squares(rows)[:, None] * _squares(columns)
    products = _sum(rows, columns, np.multiply)
    return np.divide(products, np.sqrt(squares), out=np.zeros_like(products), where=squares != 0)


def _squares(rows: Doubles) -> Doubles:
    total = np.zeros(len(rows), np.float64)
    for column in rows.T:
        total += column * column
    return total


def _dot(rows: Doubles, columns: Doubles) -> Doubles:
    return _sum(rows, columns, np.multiply)


def _euclidean(rows: Doubles, columns: Doubles) -> Doubles:
    return -np.sqrt(_sum(rows, columns, lambda left, right: (left - right) * (left - right)))


def _manhattan(rows: Doubles, columns: Doubles) -> Doubles:
    return -_sum(rows, columns, lambda left, right: np.abs(left - right))


_FUNCTIONS: Mapping[str, Callable[[Doubles, Doubles], Doubles]] = {
    "cosine": _cosine,
    "dot": _dot,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}
