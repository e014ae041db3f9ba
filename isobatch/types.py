"""The types that cross rooms: texts, encodings, segments, and which rows of a sequence are read.

No torch here, so that planning and reporting can be read and tested without it. All are immutable.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from isobatch.errors import OptionError

Text = str
TextPair = tuple[str, str]
TextInput = Text | TextPair

Batch = tuple[int, ...]
"""Indices of the texts that are computed together."""

ScoreActivation = Literal["softmax", "sigmoid", "none"]

Task = Literal["text-classification", "token-classification", "feature-extraction"]
"""The task of a head, by Hugging Face's names: logits of a text, logits of each of its tokens, or a
vector."""

Precision = Literal["fp32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
"""How the products of the blocks are computed; everything else is float32 in each of them."""

EngineName = Literal["native", "transformers"]
ENGINES: tuple[EngineName, ...] = ("native", "transformers")
"""The code that computes a model: Isobatch's own, or a class of transformers, one text a call."""

WindowPooling = Literal["mean", "max", "first"]
WINDOW_POOLINGS: tuple[WindowPooling, ...] = ("mean", "max", "first")
"""How the outputs of a text's windows become its own."""


@dataclass(frozen=True, slots=True)
class TextWindows:
    """A text longer than the model is read in windows of the model's length.

    stride: tokens that neighbouring windows share, as in transformers; None for a quarter of a
    window. pooling: the output of the text is the "mean" or the "max" of its windows' outputs,
    number by number; or the output of the "first" window alone, and the text is marked as
    truncated. Raises OptionError for other values.
    """

    stride: int | None = None
    pooling: WindowPooling = "mean"

    def __post_init__(self) -> None:
        whole = isinstance(self.stride, int) and not isinstance(self.stride, bool)
        if self.stride is not None and not (whole and self.stride >= 0):
            raise OptionError(f"stride must be an integer of at least 0, got {self.stride!r}")
        if self.pooling not in WINDOW_POOLINGS:
            raise OptionError(
                f"the pooling of windows must be 'mean', 'max' or 'first', got {self.pooling!r}"
            )


Truncation = Literal["cut", "error", "window"] | TextWindows
TRUNCATIONS: tuple[Truncation, ...] = ("cut", "error", "window")
"""A text longer than the model is cut and marked, or rejected, or read in windows; "window" is
TextWindows()."""


class Rows(Enum):
    """Which rows of each sequence a block computes: those that the next layer or the head reads.

    FIRST and LAST give one row a sequence, [sequences, hidden]; ALL gives [tokens, hidden].
    """

    FIRST = 0
    LAST = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class Encoding:
    """The ids of one text, or one pair, special tokens included; it never contains padding.

    num_windows: in how many windows a text longer than the model is read. window_lengths: those of
    the windows, whose ids follow each other here; none of a text that the model reads at once.
    """

    input_ids: Sequence[int]
    token_type_ids: Sequence[int]
    truncated: bool = False
    num_windows: int = 1
    window_lengths: tuple[int, ...] = ()
    window_pooling: WindowPooling = "mean"

    def __len__(self) -> int:
        return len(self.input_ids)

    def windows(self) -> "Iterator[Encoding]":
        """Yield what the model reads at once: each window, or the whole text."""
        if not self.window_lengths:
            yield self
            return
        first = 0
        for length in self.window_lengths:
            ids = slice(first, first + length)
            yield Encoding(self.input_ids[ids], self.token_type_ids[ids])
            first += length


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

    def split(self, size: int = 1) -> Iterator["Segment"]:
        """Yield segments of `size` sequences, the last of those that are left."""
        for index in range(0, self.num_sequences, size):
            first_token = self.first_token + index * self.length
            count = min(size, self.num_sequences - index)
            yield Segment(self.first_sequence + index, first_token, count, self.length)
