"""The nouns that cross rooms: Encoding, Batch, Run, Precision, Prediction.

No torch here, so that planning and reporting can be read and tested without it. All are immutable.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Text = str
TextPair = tuple[str, str]
TextInput = Text | TextPair

Batch = tuple[int, ...]
"""Indices of the texts that are computed together."""

Activation = Literal["softmax", "sigmoid", "none"]

Precision = Literal["fp32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
"""How the products of the blocks are computed; everything else is float32 in each of them."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text, or one pair, as the model reads it; special tokens included, never a pad."""

    input_ids: Sequence[int]
    token_type_ids: Sequence[int]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring sequences of one length: what attention computes in one call."""

    first_sequence: int
    first_token: int
    num_sequences: int
    length: int

    @property
    def sequences(self) -> slice:
        """Where its sequences lie among all sequences."""
        return slice(self.first_sequence, self.first_sequence + self.num_sequences)

    @property
    def tokens(self) -> slice:
        """Where its tokens lie among all tokens."""
        return slice(self.first_token, self.first_token + self.num_sequences * self.length)

    def split(self) -> Iterator["Run"]:
        """The same sequences, each as a run of its own."""
        for index in range(self.num_sequences):
            first_token = self.first_token + index * self.length
            yield Run(self.first_sequence + index, first_token, 1, self.length)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one text.

    `score` is the score of `label`, the highest; `scores` has every label in the order of the
    checkpoint. For a regression checkpoint both are the plain number.
    """

    label: str
    score: float
    logits: tuple[float, ...]
    truncated: bool
    num_tokens: int = field(repr=False)
    scores: dict[str, float] = field(repr=False)


def predict(
    logits: Sequence[float], labels: Sequence[str], activation: Activation, encoding: Encoding
) -> Prediction:
    """Turn the logits of one encoded text into a Prediction."""
    scores = activate(logits, activation)
    best = max(range(len(scores)), key=scores.__getitem__)
    return Prediction(
        label=labels[best],
        score=scores[best],
        logits=tuple(logits),
        truncated=encoding.truncated,
        num_tokens=len(encoding),
        scores=dict(zip(labels, scores, strict=True)),
    )


def activate(logits: Sequence[float], activation: Activation) -> list[float]:
    """Scores of one row, in double precision.

    One row at a time and in plain Python: a vectorised exp may treat the tail of an array
    differently from its body, and then a score would depend on its neighbours.
    """
    if activation == "softmax":
        highest = max(logits)
        powers = [math.exp(value - highest) for value in logits]
        total = math.fsum(powers)
        return [power / total for power in powers]
    if activation == "sigmoid":
        return [_sigmoid(value) for value in logits]
    return list(logits)


def _sigmoid(value: float) -> float:
    """The logistic function, written so that exp never overflows."""
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)
