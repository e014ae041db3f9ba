"""LessonData: all that the page shows, as plain values.

It computes nothing. Invariant: `as_dict` holds only what JSON has, so that the page drawn from a
file and the page drawn from a server's answer are the same.
"""

from dataclasses import asdict, dataclass
from typing import Any

from isobatch.page.verdict import Verdict

Leaks = tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class Attention:
    """Who looks at whom in one row of the padded batch, in every layer and head.

    weights: base64 of unsigned 16-bit numbers, low byte first, in units of 1/65535:
    [layers, heads, real tokens of the row, columns of the batch]. leaks: the share of each token's
    attention that falls on pads, [layers, heads, real tokens]. head_leaks: their means,
    [layers, heads].
    """

    weights: str
    leaks: Leaks
    head_leaks: tuple[tuple[float, ...], ...]
    leak: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The logits of one sentence, computed in one way; `bits` are their bytes in hexadecimal."""

    way: str
    logits: tuple[float, ...]
    bits: tuple[str, ...]
    label: str
    score: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Sentence:
    """One row of the batch; `labels` name the logits that are shown, in the checkpoint's order."""

    text: str
    cut: bool
    tokens: tuple[str, ...]
    input_ids: tuple[int, ...]
    attention_mask: tuple[int, ...]
    num_tokens: int
    unmasked: Attention
    masked: Attention
    labels: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """One batch of strangers: indices of `Company.neighbours`, and where the sentence stood."""

    neighbours: tuple[int, ...]
    place: int
    columns: int
    pads: int


@dataclass(frozen=True, slots=True)
class Strip:
    """One way of computing, over all draws: how far from alone the logit lay that moved furthest.

    steps: the same in neighbouring float32 numbers. num_moved and num_flipped count the draws in
    which any bit of any logit, and the label, changed.
    """

    way: str
    differences: tuple[float, ...]
    steps: tuple[int, ...]
    num_moved: int
    num_flipped: int
    largest: float


@dataclass(frozen=True, slots=True)
class Company:
    """The sentence of that index among random neighbours, again and again."""

    sentence: int
    neighbours: tuple[str, ...]
    draws: tuple[Draw, ...]
    strips: tuple[Strip, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What computed all this; the bits depend on it."""

    checkpoint: str
    family: str
    labels: tuple[str, ...]
    num_layers: int
    num_heads: int
    pad_token: str
    versions: str
    instruction_set: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the page takes; `left_out` counts the sentences that were too many."""

    max_sentences: int
    max_tokens: int
    left_out: int


@dataclass(frozen=True, slots=True)
class LessonData:
    """The whole page. Rows of the batch are in the order of the sentences.

    `company` is None where it was left out to answer sooner.
    """

    facts: Facts
    limits: Limits
    sentences: tuple[Sentence, ...]
    company: Company | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
