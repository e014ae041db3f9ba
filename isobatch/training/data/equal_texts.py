"""Equal texts: those that differ in case and white space alone, found by a hash of each.

Invariant: the number of a group depends on which texts there are, not on their order, so that a
split by groups is the same for the same rows in another order.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isobatch.types import TextInput

Groups = NDArray[np.int64]
"""For each text the number of its group, from 0."""


def group_equal_texts(texts: Sequence[TextInput]) -> Groups:
    """Return the group of each text; of pairs both texts are compared.

    Groups are numbered by 128 bits of BLAKE2b: two different texts among 10⁹ share them with a
    probability of about 10⁻²¹.
    """
    data = b"".join([_digest(text) for text in texts])
    halves = np.frombuffer(data, ">u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    ordered = halves[order]
    begins = np.ones(len(texts), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    groups = np.empty(len(texts), np.int64)
    groups[order] = np.cumsum(begins) - 1
    return groups


def _digest(text: TextInput) -> bytes:
    parts = (text,) if isinstance(text, str) else text
    # White space within a part is single, so that a line end separates the two of a pair.
    normal = "\n".join([" ".join(part.casefold().split()) for part in parts])
    return hashlib.blake2b(normal.encode(errors="surrogatepass"), digest_size=16).digest()
