"""From attention tensors to what the page draws: weights in few bytes, and the share of pads.

It knows no model. Invariant: shares are summed from the weights as computed, before any rounding.
"""

import base64

import numpy as np
from torch import Tensor

from isobatch.page.data import Attention

SCALE = 65535
"""One whole, in the unit of the weights that the page gets."""


def describe_attention(weights: Tensor, length: int) -> Attention:
    """The attention of a row with `length` real tokens; weights [layers, heads, columns, columns].

    Only real tokens ask here: what a pad looks at, the head never reads directly.
    """
    asked = weights[:, :, :length].double()
    leaks = asked[..., length:].sum(dim=-1)
    return Attention(
        weights=_in_bytes(asked),
        leaks=tuple(tuple(map(_shares, layer)) for layer in leaks),
        head_leaks=tuple(map(_shares, leaks.mean(dim=-1))),
        leak=float(leaks.mean()),
    )


def _in_bytes(weights: Tensor) -> str:
    rounded = np.rint(weights.numpy() * SCALE).astype("<u2")
    return base64.b64encode(rounded.tobytes()).decode("ascii")


def _shares(values: Tensor) -> tuple[float, ...]:
    """Six significant digits: more would only make the page longer."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())
