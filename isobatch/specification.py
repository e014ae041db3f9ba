"""The specification of a model's layers, as data: read from config.json, computed by the kernels.

A field that a kernel does not implement makes that kernel unavailable, with the reason; it is never
ignored.
"""

from dataclasses import dataclass
from typing import Literal

from isobatch.types import Rows

Pool = Literal["first", "last", "mean", "max"]
"""How the rows of a sequence become one: its first or last row, or the mean or maximum of all."""


@dataclass(frozen=True, slots=True)
class PositionRule:
    """How the tokens of a sequence are numbered.

    padding_idx None: offset, offset + 1 … Otherwise RoBERTa's rule: tokens other than padding_idx
    are counted from padding_idx + 1 on, and padding_idx itself has the position padding_idx
    (fairseq's make_positions, kept by transformers).
    """

    padding_idx: int | None = None
    offset: int = 0

    @property
    def first(self) -> int:
        """Position of the first token: the rows of the position table before it are reserved."""
        return self.offset if self.padding_idx is None else self.padding_idx + 1


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embeddings: numbers i and i + size / 2 of a head are turned as a pair.

    The angle of position p is p / theta^(2i / size). size: how many numbers of a head are turned.
    factor: the angles are divided by it ("linear" scaling). bands: the scaling of Llama 3, which
    divides only the slow ones, (low_freq_factor, high_freq_factor, original positions).
    """

    theta: float
    size: int
    factor: float = 1.0
    bands: tuple[float, float, int] | None = None


PositionTerm = Literal["toeplitz", "disentangled"]
"""A term of the scores that depends on the distance of a query and a key.

toeplitz: a number for each head and distance (T5, MPNet). disentangled: products of queries and
keys with rows for the distances (DeBERTa).
"""


DistanceProduct = Literal["c2p", "p2c"]
"""Queries by the rows of keys (content to position), and keys by the rows of queries."""


@dataclass(frozen=True, slots=True)
class Disentangled:
    """The "disentangled" term: which row a distance query - key has, and what is multiplied by it.

    span: a distance has the row span + distance; further ones have the first or the last of 2 span
    rows. max_distance: with it, distances beyond span / 2 are grouped by their logarithm, up to
    this one. products: one or both. shared: the linears of keys and queries make both rows; without
    it linears of their own.
    """

    span: int
    max_distance: int | None = None
    products: tuple[DistanceProduct, ...] = ("c2p", "p2c")
    shared: bool = True

    @property
    def linears(self) -> tuple[str, ...]:
        """The linear that makes the rows of each product."""
        prefix = "" if self.shared else "position_"
        names = {"c2p": f"{prefix}key", "p2c": f"{prefix}query"}
        return tuple(names[product] for product in self.products)

    @property
    def name(self) -> str:
        """The name of the term in `isobatch info`."""
        groups = "" if self.max_distance is None else f" to {self.max_distance}"
        own = "" if self.shared else ", own projections"
        return f"disentangled {'+'.join(self.products)}, {2 * self.span} rows{groups}{own}"


@dataclass(frozen=True, slots=True)
class DistanceTable:
    """The table that the terms of all layers read, [rows, columns], and its norm if it has one."""

    term: PositionTerm
    num_rows: int
    num_columns: int
    norm: "NormSpec | None" = None


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    """Multi-head attention.

    num_key_heads: heads of keys and values, each for as many queries' heads; None for as many.
    scale: of the products, None for 1 / √head_dim. causal: a query reads no later key.
    window: the largest distance between a query and its keys, None for the whole sequence.
    head_norm: queries and keys are normalized by head before they are turned, RMS with weights.
    distances: of the positions "disentangled".
    """

    num_heads: int
    head_dim: int
    num_key_heads: int | None = None
    scale: float | None = None
    causal: bool = False
    window: int | None = None
    rotary: Rotary | None = None
    positions: PositionTerm | None = None
    head_norm: bool = False
    distances: Disentangled | None = None

    @property
    def query_size(self) -> int:
        """Width of queries and of the mixed values."""
        return self.num_heads * self.head_dim

    @property
    def key_size(self) -> int:
        """Width of keys and of values."""
        return (self.num_key_heads or self.num_heads) * self.head_dim

    @property
    def score_scale(self) -> float:
        """The factor of the products of queries and keys."""
        return self.head_dim**-0.5 if self.scale is None else self.scale

    @property
    def name(self) -> str:
        """The name of attention of this kind in `isobatch info`."""
        parts = [f"{self.num_heads}×{self.head_dim}"]
        parts += [] if self.num_key_heads is None else [f"of {self.num_key_heads} key heads"]
        parts += ["normalized"] * self.head_norm + ["causal"] * self.causal
        parts += [] if self.window is None else [f"window {self.window}"]
        parts += [] if self.rotary is None else [f"rotary {self.rotary.theta:g}"]
        positions = self.positions if self.distances is None else self.distances.name
        parts += [] if positions is None else [positions]
        return " ".join(parts)


NormPlace = Literal[
    "attention_input_norm", "attention_norm", "cross_norm", "feed_forward_input_norm", "norm"
]
"""The places of a norm: before attention, after its residual addition, after that of attention to
another sequence, before the feed-forward and after its residual addition."""

POST_NORM: tuple[NormPlace, ...] = ("attention_norm", "norm")
"""BERT's."""
PRE_NORM: tuple[NormPlace, ...] = ("attention_input_norm", "feed_forward_input_norm")

LINEARS = (
    *("query", "key", "value", "output"),
    *("cross_query", "cross_key", "cross_value", "cross_output"),
    *("up", "gate", "down"),
    *("position_key", "position_query"),
)
"""Every linear that a layer can have, in the order in which they are computed; the last two are
computed of a table of distances."""


@dataclass(frozen=True, slots=True)
class NormSpec:
    """Layer norm, or RMS norm, which subtracts no mean."""

    eps: float
    kind: Literal["layer", "rms"] = "layer"
    bias: bool = True


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One Transformer layer.

    norms: the places that have a norm; all are of one kind. gated: the feed-forward is
    down(activation(gate(x)) × up(x)). biases: the linears that have one. cross: a second attention,
    to the rows of another sequence, as in a decoder.
    """

    hidden_size: int
    attention: AttentionSpec
    intermediate_size: int
    activation: str
    norm: NormSpec
    norms: tuple[NormPlace, ...] = POST_NORM
    gated: bool = False
    biases: tuple[str, ...] = LINEARS
    cross: AttentionSpec | None = None

    @property
    def activated(self) -> str:
        """The linear whose result is activated."""
        return "gate" if self.gated else "up"

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The sizes (in, out) of its linears, in the order in which they are computed."""
        size, wide = self.hidden_size, self.intermediate_size
        sizes = _attention_linears("", size, self.attention)
        sizes |= {} if self.cross is None else _attention_linears("cross_", size, self.cross)
        sizes |= {"up": (size, wide)} | ({"gate": (size, wide)} if self.gated else {})
        return sizes | {"down": (wide, size)}

    @property
    def name(self) -> str:
        """The name of layers of this kind in `isobatch info`."""
        parts = [f"block {self.hidden_size}→{self.intermediate_size} {self.activation}"]
        parts += ["gated"] * self.gated + ["RMS"] * (self.norm.kind == "rms")
        if self.norms != POST_NORM:
            parts += ["pre-norm" if self.norms == PRE_NORM else " + ".join(self.norms)]
        if missing := [name for name in self.linears if name not in self.biases]:
            every = len(missing) == len(self.linears)
            parts += ["without biases" if every else f"without biases of {', '.join(missing)}"]
        crossing = "" if self.cross is None else f", cross {self.cross.name}"
        return f"{' '.join(parts)}, {self.attention.name}{crossing}"


def _attention_linears(
    prefix: str, size: int, attention: AttentionSpec
) -> dict[str, tuple[int, int]]:
    queries, keys = attention.query_size, attention.key_size
    sizes = {"query": (size, queries), "key": (size, keys), "value": (size, keys)}
    if attention.distances is not None and not attention.distances.shared:
        sizes |= dict.fromkeys(attention.distances.linears, (size, queries))
    return {f"{prefix}{name}": each for name, each in (sizes | {"output": (queries, size)}).items()}


@dataclass(frozen=True, slots=True)
class LinearStep:
    """activation(x Wᵀ + b), from in_features to out_features numbers; `name` is its module's."""

    name: str
    in_features: int
    out_features: int
    activation: str = "linear"
    bias: bool = True


@dataclass(frozen=True, slots=True)
class NormStep:
    """A norm of `size` numbers."""

    name: str
    size: int
    norm: NormSpec


@dataclass(frozen=True, slots=True)
class NormalizeStep:
    """Division by the Euclidean norm."""

    name: str = "normalize"


@dataclass(frozen=True, slots=True)
class CutStep:
    """The first `size` numbers."""

    size: int
    name: str = "cut"


@dataclass(frozen=True, slots=True)
class LibraryStep:
    """The whole head of the class `name` of transformers, to `size` numbers."""

    name: str
    size: int


HeadStep = LinearStep | NormStep | NormalizeStep | CutStep | LibraryStep


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """The part after the last layer: rows are pooled, then go through the steps.

    pools: one, or several whose results are concatenated; none for a head that reads every token.
    """

    pools: tuple[Pool, ...]
    steps: tuple[HeadStep, ...]

    @property
    def rows(self) -> Rows:
        """The rows of each sequence that the last layer computes."""
        if self.pools == ("first",):
            return Rows.FIRST
        return Rows.LAST if self.pools == ("last",) else Rows.ALL

    def output_size(self, hidden_size: int) -> int:
        """Return how many numbers come out, of rows of `hidden_size`."""
        size = hidden_size * max(1, len(self.pools))
        for step in self.steps:
            size = step_output_size(step, size)
        return size


def step_output_size(step: HeadStep, size: int) -> int:
    """Return how many numbers a step makes of `size`."""
    if isinstance(step, LinearStep):
        return step.out_features
    if isinstance(step, LibraryStep):
        return step.size
    return min(step.size, size) if isinstance(step, CutStep) else size
