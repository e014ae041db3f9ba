"""The specification of a model's layers, as data: read from config.json, computed by the kernels.

A field that a kernel does not implement makes that kernel unavailable, with the reason; it is never
ignored.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PositionRule:
    """How the tokens of a sequence are numbered.

    padding_idx None: 0, 1, 2 … Otherwise RoBERTa's rule: tokens other than padding_idx are counted
    from padding_idx + 1 on, and padding_idx itself has the position padding_idx (fairseq's
    make_positions, kept by transformers).
    """

    padding_idx: int | None = None

    @property
    def first(self) -> int:
        """Position of the first token: the rows of the position table before it are reserved."""
        return 0 if self.padding_idx is None else self.padding_idx + 1


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One Transformer layer.

    norm: "post" normalizes after each residual addition (BERT), "pre" before each sub-layer.
    gated: the feed-forward is down(activation(gate(x)) × up(x)). biases: the linears have them.
    positions: "embedded" are added to the embeddings, so that the layer has none of its own.
    window: the largest distance between a query and its keys, None for the whole sequence.
    """

    hidden_size: int
    num_heads: int
    intermediate_size: int
    activation: str
    norm_eps: float
    norm: Literal["post", "pre"] = "post"
    gated: bool = False
    biases: bool = True
    positions: Literal["embedded"] = "embedded"
    window: int | None = None

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def name(self) -> str:
        """The name of layers of this kind in `isobatch info`."""
        parts = [f"block {self.hidden_size}→{self.intermediate_size} {self.activation}"]
        parts += ["gated"] * self.gated + ["pre-norm"] * (self.norm == "pre")
        parts += ["without biases"] * (not self.biases)
        parts += [] if self.window is None else [f"window {self.window}"]
        return f"{' '.join(parts)}, {self.num_heads}×{self.head_dim}"
