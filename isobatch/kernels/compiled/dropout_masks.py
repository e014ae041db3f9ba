"""The compiled kernel of dropout: masks by Philox, without holding Python's interpreter lock."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isobatch.kernels.compiled.variants import kernels


def draw_masks(
    counter: tuple[int, int, int], keys: Sequence[int], counts: Sequence[int], dropped: int
) -> NDArray[np.float32]:
    """Draw the masks of `KeyedDropout`: 0 or 65,536 ÷ (65,536 - dropped), joined.

    counter: seed, epoch and place. counts: how many numbers each key has.
    """
    each_key, each_count = np.array(keys, np.uint64), np.array(counts, np.int64)
    mask = np.empty(sum(counts), np.float32)
    addresses = each_key.ctypes.data, each_count.ctypes.data
    kernels("fp32").module.draw_masks(*counter, *addresses, len(keys), dropped, mask.ctypes.data)
    return mask
