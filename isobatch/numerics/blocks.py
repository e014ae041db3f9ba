"""One Transformer block as its layers, and how it is computed from them.

`compute_by_layers` is the formula; a BlockKernel computes the same in one go. It knows no model.
Invariant: a sequence's rows depend on its own rows alone.
"""

from collections.abc import Callable, Sequence
from operator import call
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from isobatch.core import Run
from isobatch.numerics.attention import PackedAttention
from isobatch.numerics.linear import Linear


class BlockLayers(NamedTuple):
    """The modules of one block, with the norm after the residual, as BERT has it."""

    query: Linear
    key: Linear
    value: Linear
    attend: PackedAttention
    output: Linear
    attention_norm: nn.LayerNorm
    up: Linear
    down: Linear
    norm: nn.LayerNorm

    @property
    def linears(self) -> tuple[Linear, ...]:
        return (self.query, self.key, self.value, self.output, self.up, self.down)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Every weight and bias, in the order of the modules."""
        return [parameter for module in self for parameter in module.parameters()]


class BlockKernel(Protocol):
    """A way to compute one block, bound to its weights."""

    def __call__(
        self, hidden: Tensor, cu_seqlens: Tensor, runs: Sequence[Run], *, first_only: bool
    ) -> Tensor:
        """hidden [tokens, hidden] → the same, or [sequences, hidden] of the first tokens."""


ApplyLinear = Callable[..., Tensor]
"""A linear, its input and perhaps a residual → its result."""


def compute_by_layers(
    layers: BlockLayers,
    hidden: Tensor,
    cu_seqlens: Tensor,
    runs: Sequence[Run],
    *,
    first_only: bool,
    apply: ApplyLinear = call,
) -> Tensor:
    """The block, layer by layer; shapes as in BlockKernel. `apply` calls each linear."""
    asking = hidden[cu_seqlens[:-1]] if first_only else hidden
    query = apply(layers.query, asking)
    key, value = apply(layers.key, hidden), apply(layers.value, hidden)
    mixed = layers.attend(query, key, value, runs, first_only=first_only)
    attended = layers.attention_norm(apply(layers.output, mixed, asking))
    result: Tensor = layers.norm(apply(layers.down, apply(layers.up, attended), attended))
    return result
