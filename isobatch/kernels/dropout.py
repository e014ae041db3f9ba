"""Dropout: by torch's generator, or by a key for each text, so that masks ignore the neighbours.

Invariant of KeyedDropout: the mask of a text depends on its key, the place and the probability
alone: never on the batch, its order, the thread, or on what was drawn before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from isobatch.kernels.compiled.dropout_masks import draw_masks
from isobatch.kernels.compiled.variants import unavailable
from isobatch.types import Rows, Segment

_LEVELS = 2**16
"""Probabilities are multiples of 1 / 65,536: two bytes of the generator decide about a number."""


class Dropout(Protocol):
    """Sets numbers to zero with a probability, and divides the others by 1 - probability.

    place: identifies where in the model the mask belongs; each use has its own.
    """

    def rows(self, x: Tensor, probability: float, place: int, rows: Rows) -> Tensor:
        """Drop out of x: [tokens, size], or [sequences, size] unless `rows` is ALL."""

    def attention(self, x: Tensor, probability: float, place: int, segment: Segment) -> Tensor:
        """Drop out of attention weights, [sequences of the segment, heads, queries, keys]."""

    def table(self, x: Tensor, probability: float, place: int) -> Tensor:
        """Drop out of rows that all sequences read."""


class TorchDropout:
    """Dropout by torch's global generator, as torch.nn.Dropout does it."""

    def rows(self, x: Tensor, probability: float, place: int, rows: Rows) -> Tensor:
        return F.dropout(x, probability)

    def attention(self, x: Tensor, probability: float, place: int, segment: Segment) -> Tensor:
        return F.dropout(x, probability)

    def table(self, x: Tensor, probability: float, place: int) -> Tensor:
        return F.dropout(x, probability)


@dataclass(frozen=True, slots=True)
class KeyedDropout:
    """Dropout by a counter-based generator, for one batch.

    keys: a 64-bit key for each sequence. seed, epoch: the other two parts of what a mask depends
    on. The generator is Philox 4x64 (Salmon et al., 2011, "Parallel Random Numbers: As Easy as 1,
    2, 3"), whose key is (seed, key of the sequence) and whose counter starts at (0, 0, epoch,
    place). NumPy keeps the streams of its bit generators stable (NEP 19).
    """

    seed: int
    epoch: int
    keys: Sequence[int]
    lengths: Sequence[int]

    def rows(self, x: Tensor, probability: float, place: int, rows: Rows) -> Tensor:
        lengths = self.lengths if rows is Rows.ALL else [1] * len(self.keys)
        counts = [length * x.shape[1] for length in lengths]
        return self._masked(x, self.keys, counts, probability, place)

    def attention(self, x: Tensor, probability: float, place: int, segment: Segment) -> Tensor:
        keys = self.keys[segment.sequences]
        return self._masked(x, keys, [x[0].numel()] * len(keys), probability, place)

    def table(self, x: Tensor, probability: float, place: int) -> Tensor:
        """Drop out by a mask that is the same for all texts of an epoch: its key is 0."""
        return self._masked(x, [0], [x.numel()], probability, place)

    def _masked(
        self, x: Tensor, keys: Sequence[int], counts: Sequence[int], probability: float, place: int
    ) -> Tensor:
        """Multiply by 0 or by 1 ÷ (1 - probability), a ratio of the 65,536 levels."""
        if not probability:
            return x
        draw = draw_masks if unavailable("fp32") is None else masks_by_numpy
        counter = self.seed, self.epoch, place
        mask = draw(counter, keys, counts, round(probability * _LEVELS))
        return x * torch.from_numpy(mask).to(x.dtype).view(x.shape)


def masks_by_numpy(
    counter: tuple[int, int, int], keys: Sequence[int], counts: Sequence[int], dropped: int
) -> NDArray[np.float32]:
    """Draw the masks of the compiled kernel; 12 µs a key and 4 ns a number, where it takes 1."""
    seed, epoch, place = counter
    parts = []
    for key, count in zip(keys, counts, strict=True):
        generator = np.random.Philox(
            key=np.array([seed, key], np.uint64),
            counter=np.array([0, 0, epoch, place], np.uint64),
        )
        draws = generator.random_raw(-(-count // 4)).astype("<u8", copy=False)
        parts.append(draws.view("<u2")[:count] >= dropped)
    left = _LEVELS - dropped
    scale = np.float32(_LEVELS / left if left else 0.0)
    return np.multiply(np.concatenate(parts), scale, dtype=np.float32)
