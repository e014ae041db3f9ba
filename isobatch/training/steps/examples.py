"""Examples: encoded texts with their targets, as the training reads them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isobatch.types import Encoding

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts to train or to validate on; every field has one entry for each.

    targets: [texts, outputs]. For single labels a one in the column of the label, for multiple ones
    a one in each, for a regression the numbers. A text without a label has NaN, and is only
    trained on with a teacher. weights: with mean 1 over the training set. places: of the texts in
    their files, for messages. teacher_logits: [texts, outputs], None without a teacher.
    """

    encodings: Sequence[Encoding]
    targets: Floats
    weights: Floats
    places: Sequence[str]
    teacher_logits: Floats | None = None

    def __len__(self) -> int:
        return len(self.encodings)

    @property
    def lengths(self) -> list[int]:
        """The number of tokens of each text."""
        return [len(encoding) for encoding in self.encodings]


def text_key(encoding: Encoding) -> int:
    """Return 64 bits that identify a text by its ids: equal texts have equal dropout masks."""
    ids = np.array([encoding.input_ids, encoding.token_type_ids], "<i8").tobytes()
    return int.from_bytes(hashlib.blake2b(ids, digest_size=8).digest(), "little")
