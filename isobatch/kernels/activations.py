"""Activations by Hugging Face's names, and which of them oneDNN can fuse into a linear.

Invariant: a name means the same function here as in transformers' ACT2FN, or is rejected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from isobatch.errors import UnsupportedModelError


@dataclass(frozen=True, slots=True)
class Activation:
    """A function, and its name and algorithm as a oneDNN post-op where there is one."""

    name: str
    function: Callable[[Tensor], Tensor]
    fused: tuple[str, str] | None = None

    def __reduce__(self) -> tuple[Callable[[str], "Activation"], tuple[str]]:
        """Pickle the name: some of the functions have none that pickle could find."""
        return activation_named, (self.name,)

    def by_row(self, x: Tensor) -> Tensor:
        """Apply the function to each row separately, x [rows, columns].

        torch computes the last few numbers of a CPU tensor one by one and the others in vectors,
        with other bits for silu, sigmoid and similar functions; a single row always ends at the
        same column.
        """
        if x.device.type != "cpu":
            return self.function(x)
        return torch.stack([self.function(row) for row in x])


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_tanh_gelu = partial(F.gelu, approximate="tanh")

IDENTITY = Activation("linear", lambda x: x, ("none", ""))
_ERF_GELU = Activation("gelu", F.gelu, ("gelu", "none"))
_TANH_GELU = Activation("gelu_new", _tanh_gelu, ("gelu", "tanh"))
_SILU = Activation("silu", F.silu, ("swish", ""))

_BY_NAME = {
    "gelu": _ERF_GELU,
    "gelu_python": _ERF_GELU,
    "gelu_new": _TANH_GELU,
    "gelu_fast": _TANH_GELU,
    "gelu_accurate": _TANH_GELU,
    "gelu_pytorch_tanh": _TANH_GELU,
    "quick_gelu": Activation("quick_gelu", _quick_gelu),
    "relu": Activation("relu", F.relu, ("relu", "")),
    "relu6": Activation("relu6", F.relu6),
    "silu": _SILU,
    "swish": _SILU,
    "mish": Activation("mish", F.mish),
    "tanh": Activation("tanh", torch.tanh, ("tanh", "")),
    "sigmoid": Activation("sigmoid", torch.sigmoid, ("sigmoid", "")),
    "linear": IDENTITY,
}


def activation_named(name: str) -> Activation:
    """Return the activation that transformers calls `name`; raises UnsupportedModelError."""
    if name not in _BY_NAME:
        raise UnsupportedModelError(
            f"activation {name!r} is not supported; supported: {', '.join(_BY_NAME)}"
        )
    return _BY_NAME[name]
