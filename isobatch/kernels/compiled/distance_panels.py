"""Rows for distances as the compiled kernels read them: in panels, and which one a distance has.

For the products of queries both are in the order of key - query, for those of keys in that of
query - key, so that the rows that a query or a key needs lie side by side and in order.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.kernels.block_formula import BlockOperations, project_positions
from isobatch.kernels.compiled.structures import checked
from isobatch.kernels.distances import distance_rows
from isobatch.specification import BlockSpec, Disentangled, DistanceProduct

_LENGTHS = 128
"""The rows of distances are listed for multiples of this length: few lists for all batches."""


class DistancePanels:
    """The rows of both products, each [heads, rows / panel, size, panel], of a tensor `context`."""

    def __init__(
        self,
        spec: BlockSpec,
        linears: Mapping[str, Callable[[Tensor], Tensor]],
        context: Tensor,
        panel: int,
    ) -> None:
        """Project `context` [2 span, hidden] by the linears of the layer, and lay the rows out."""
        rule = spec.attention.distances
        assert rule is not None
        self.context = context
        given = checked(context.detach(), 2 * rule.span, spec.hidden_size)
        rows = project_positions(BlockOperations(spec, linears, {}), given)
        assert rows is not None
        self._panels = {
            product: _in_panels(each.flip(1) if product == "c2p" else each, panel)
            for product, each in zip(rule.products, rows.unbind(0), strict=True)
        }
        self.num_rows = 2 * rule.span + -2 * rule.span % panel
        self.near = rule.span - 1 if rule.max_distance is None else rule.span // 2
        """The largest distance up to which each has a row of its own."""

    def address(self, product: DistanceProduct) -> int | None:
        """Return where the rows of a product are, None if the layer does not have it."""
        panels = self._panels.get(product)
        return None if panels is None else panels.data_ptr()


def _in_panels(rows: Tensor, panel: int) -> Tensor:
    filled = F.pad(rows, (0, 0, 0, -rows.shape[1] % panel))
    heads, _, size = filled.shape
    return filled.view(heads, -1, panel, size).transpose(2, 3).contiguous()


class RowNumbers(NamedTuple):
    """The row of each distance in the order of its panels, int32 [2 span - 1], from 1 - span on."""

    of_queries: Tensor
    of_keys: Tensor
    span: int


def row_numbers(rule: Disentangled, longest: int) -> RowNumbers:
    """List the rows for sequences of at least `longest` tokens."""
    return listed_rows(rule, longest + -longest % _LENGTHS)


@lru_cache(maxsize=16)
def listed_rows(rule: Disentangled, span: int) -> RowNumbers:
    """List the rows for sequences of up to `span` tokens."""
    numbers = distance_rows(rule, span).to(torch.int32)
    return RowNumbers(2 * rule.span - 1 - numbers.flip(0), numbers, span)
