"""Window pooling: the windows of a text are computed like texts of their own, then pooled.

In double precision, number by number and in the order of the text, then rounded once. Invariant:
the output of a text in windows is a function of its windows' outputs alone, the same on every
machine; no window's output depends on a batch, so neither does that of the text.
"""

import math
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from isobatch.ambient import default_float_environment
from isobatch.batching.cache import Output, OutputCache
from isobatch.errors import InputError
from isobatch.types import Encoding, WindowPooling

Combine = Callable[[Sequence[Output], Encoding], Output]
"""Outputs of a text's windows, in its order, and its encoding → the output of the text."""

_SMALLEST_NORM = 1e-12
"""Of isobatch.kernels.normalize_rows: a vector of zeros stays one."""


def compute_windows(
    encodings: Sequence[Encoding],
    compute: Callable[[Sequence[Encoding]], list[Output | InputError]],
    combine: Combine,
    cache: OutputCache | None = None,
) -> list[Output | InputError]:
    """Return the output of each encoding, which may have several windows.

    compute: for encodings that are read at once, which `cache` may have. A text has the error of
    its first window with one.
    """
    if not any(encoding.window_lengths for encoding in encodings):
        return compute(encodings) if cache is None else cache.get_or_compute(encodings, compute)
    parts = [list(encoding.windows()) for encoding in encodings]
    windows = [window for part in parts for window in part]
    if cache is None:
        outputs = iter(compute(windows))
    else:
        texts = [text for text, part in enumerate(parts) for _ in part]
        outputs = iter(cache.get_or_compute(windows, compute, texts))
    found = [list(islice(outputs, len(part))) for part in parts]
    return [_joined(*pair, combine) for pair in zip(found, encodings, strict=True)]


def _joined(
    outputs: Sequence[Output | InputError], encoding: Encoding, combine: Combine
) -> Output | InputError:
    computed: list[Output] = []
    for output in outputs:
        if isinstance(output, InputError):
            return output
        computed.append(output)
    return combine(computed, encoding) if encoding.window_lengths else computed[0]


def pool_outputs(outputs: Sequence[Output], pooling: WindowPooling, *, normalize: bool) -> Output:
    """Pool the outputs of all windows, float32 [outputs] each.

    normalize: divide by the Euclidean norm, for vectors of length one, whose mean is shorter.
    """
    with default_float_environment(), np.errstate(all="ignore"):  # the caller's may be "raise"
        pooled = outputs[0].astype(np.float64)
        for output in outputs[1:]:
            # Zero is added because the maximum of 0 and -0 may be either.
            pooled = pooled + output if pooling == "mean" else np.maximum(pooled, output) + 0.0
        if pooling == "mean":
            pooled = pooled / len(outputs)
        if normalize:
            # fsum rounds once, so that the order of the numbers does not matter.
            norm = math.sqrt(math.fsum((pooled * pooled).tolist()))
            pooled = pooled / max(norm, _SMALLEST_NORM)
        return pooled.astype(np.float32)
