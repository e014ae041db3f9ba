"""The types that cross rooms: texts, encodings, segments, and which rows of a sequence are read.

No torch here, so that planning and reporting can be read and tested without it. All are immutable.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Text = str
TextPair = tuple[str, str]
TextInput = Text | TextPair

Batch = tuple[int, ...]
"""Indices of the texts that are computed together."""

ScoreActivation = Literal["softmax", "sigmoid", "none"]

Precision = Literal["fp32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
"""How the products of the blocks are computed; everything else is float32 in each of them."""

Truncation = Literal["cut", "error"]
TRUNCATIONS: tuple[Truncation, ...] = ("cut", "error")


class Rows(Enum):
    """Which rows of each sequence a block computes: those that the next layer or the head reads.

    FIRST and LAST give one row a sequence, [sequences, hidden]; ALL gives [tokens, hidden].
    """

    FIRST = 0
    LAST = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class Encoding:
    """The ids of one text, or one pair, special tokens included; it never contains padding."""

    input_ids: Sequence[int]
    token_type_ids: Sequence[int]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Segment:
    """A contiguous group of equal-length sequences, processed by one attention call."""

    first_sequence: int
    first_token: int
    num_sequences: int
    length: int

    @property
    def sequences(self) -> slice:
        """The position of its sequences among all sequences."""
        return slice(self.first_sequence, self.first_sequence + self.num_sequences)

    @property
    def tokens(self) -> slice:
        """The position of its tokens among all tokens."""
        return slice(self.first_token, self.first_token + self.num_sequences * self.length)

    def split(self) -> Iterator["Segment"]:
        """Yield a segment of one sequence for each sequence."""
        for index in range(self.num_sequences):
            first_token = self.first_token + index * self.length
            yield Segment(self.first_sequence + index, first_token, 1, self.length)
