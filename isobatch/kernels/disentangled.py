"""Disentangled attention (DeBERTa): the term of the distances of queries and keys.

The rows for the distances are constants of a model, and a text of n tokens needs 2n - 1 of them:
all queries are multiplied by these rows, and each query reads its own part of the products, which
begins one column before that of the query ahead. Invariant: a sequence's scores depend on its own
queries and keys alone, where `multiply` has it so.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from isobatch.kernels.distances import distance_rows
from isobatch.specification import Disentangled
from isobatch.types import Rows

Multiply = Callable[[Tensor, Tensor], Tensor]
"""[heads, rows, size] and [heads, columns, size] → products [heads, rows, columns]."""


def distance_scores(
    rule: Disentangled,
    query: Tensor,
    key: Tensor,
    positions: Tensor,
    rows: Rows,
    multiply: Multiply,
) -> Tensor:
    """Return [sequences, heads, query rows, length], not scaled.

    query: [sequences, heads, query rows, size]; key of all tokens. positions: [products, heads,
    2 span, size], the rows of each product.
    """
    length = key.shape[2]
    numbers = distance_rows(rule, length).to(key.device)
    if rows is not Rows.ALL:
        numbers = (numbers[:length] if rows is Rows.FIRST else numbers[length - 1 :]).flip(0)
    compute = _of_all if rows is Rows.ALL else _of_one
    scores = [
        compute(product == "c2p", query, key, table, numbers, multiply)
        for product, table in zip(rule.products, positions.unbind(0), strict=True)
    ]
    return scores[0] if len(scores) == 1 else scores[0] + scores[1]


def multiply_plainly(x: Tensor, columns: Tensor) -> Tensor:
    """Multiply by torch, differentiable."""
    return x @ columns.transpose(1, 2)


def _of_all(
    of_queries: bool, query: Tensor, key: Tensor, table: Tensor, numbers: Tensor, multiply: Multiply
) -> Tensor:
    """Compute one product for all queries: by query and key, or by key and query and turned."""
    x = query if of_queries else key
    num_sequences, num_heads, length, size = x.shape
    columns = table[:, numbers.flip(0) if of_queries else numbers]
    products = multiply(x.transpose(0, 1).reshape(num_heads, -1, size), columns)
    scores = _read_diagonally(products.view(num_heads, num_sequences, length, -1)).transpose(0, 1)
    return scores if of_queries else scores.transpose(2, 3)


def _of_one(
    of_queries: bool, query: Tensor, key: Tensor, table: Tensor, numbers: Tensor, multiply: Multiply
) -> Tensor:
    """Compute one product for one query of each sequence, whose keys have the rows `numbers`."""
    columns = table[:, numbers]
    if of_queries:
        return multiply(query[:, :, 0].transpose(0, 1), columns).transpose(0, 1)[:, :, None]
    return _halving_sum(key * columns)[:, :, None]


def _read_diagonally(products: Tensor) -> Tensor:
    """Take n of the 2n - 1 columns in each of n rows: from column n - 1 - row on."""
    length = products.shape[2]
    if length == 1:
        return products
    width = 2 * length - 2
    shifted = products.flatten(2)[..., length - 1 : length - 1 + length * width]
    return shifted.view(*products.shape[:2], length, width)[..., :length]


def _halving_sum(x: Tensor) -> Tensor:
    """Sum the last axis, by additions of halves, whose order depends on its size alone."""
    while (size := x.shape[-1]) > 1:
        half = size // 2
        x = torch.cat([x[..., :half] + x[..., size - half :], x[..., half : size - half]], dim=-1)
    return x[..., 0]
