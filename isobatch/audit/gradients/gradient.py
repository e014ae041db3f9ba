"""Gradients by the names of their parameters, and how far one is from another.

Invariant: a gradient is a copy of what a step returned, as frameworks reuse the memory; a parameter
without a gradient counts as zeros.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.subject import AnswerError

Gradient = Mapping[str, NDArray[Any]]
"""float32 or float64 arrays by the name of the parameter, or by its number."""

PIECE = 2**16
"""Numbers of a gradient that are computed with at a time."""

LEAST_SHARE = 0.01
"""Of the whole gradient: smaller parts are judged as if they were of this size.

Some are zero but for rounding, such as that of the bias of the keys of attention, which softmax
cancels.
"""


@dataclass(frozen=True, slots=True)
class GradientGap:
    """How far a gradient is from the expected one: `size` relative to the gradients of texts."""

    size: float
    parameter: str


def read_gradient(value: Any, called: str) -> Gradient:
    """Copy what a step returned: a mapping, a list or one array; or a module, for its `.grad`.

    Elements are arrays, tensors of any framework, or None. Raises AnswerError for anything else.
    """
    if hasattr(value, "named_parameters"):
        named = [(name, each.grad) for name, each in value.named_parameters()]
    elif isinstance(value, Mapping):
        named = [(str(name), each) for name, each in value.items()]
    elif isinstance(value, list | tuple):
        named = [(str(number), each) for number, each in enumerate(value)]
    else:
        named = [("gradient", value)]
    gradient = {name: _array(each, name, called) for name, each in named if each is not None}
    if not sum(each.size for each in gradient.values()):
        raise AnswerError(
            f"{called}: returned no gradient. Return one for each parameter, as "
            "{name: parameter.grad for name, parameter in model.named_parameters()}, before "
            "zero_grad()"
        )
    return gradient


def _array(value: Any, name: str, called: str) -> NDArray[Any]:
    if hasattr(value, "detach"):  # a tensor of torch
        if value.requires_grad and value.is_leaf:
            raise AnswerError(
                f"{called}: {name} is a parameter, not its gradient. Return parameter.grad"
            )
        value = value.detach()
        value = (value.to_dense() if value.is_sparse else value).cpu()
        value = (value if value.element_size() == 8 else value.float()).numpy()
    try:
        array = np.array(value)
    except (TypeError, ValueError) as error:
        raise AnswerError(f"{called}: {name} cannot be read as an array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise AnswerError(f"{called}: {name} is not an array of numbers, but {array.dtype}")
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


def weighted_sum(weights: Sequence[float], gradients: Sequence[Gradient]) -> Gradient:
    """Add gradients, each times its weight, in float64."""
    total: dict[str, NDArray[np.float64]] = {}
    for weight, gradient in zip(weights, gradients, strict=True):
        for name, values in gradient.items():
            if name not in total:
                total[name] = np.zeros(values.shape)
            for sums, piece in _pieces(total[name], values):
                sums += weight * piece.astype(np.float64)
    return total


def mean(gradients: Sequence[Gradient]) -> Gradient:
    """Return the mean of gradients, in float64."""
    return weighted_sum([1.0 / len(gradients)] * len(gradients), gradients)


def inner(first: Gradient, second: Gradient) -> float:
    """Return the inner product of two gradients."""
    shared = first.keys() & second.keys()
    return math.fsum(each for name in shared for each in _products(first[name], second[name]))


def _products(first: NDArray[Any], second: NDArray[Any]) -> Iterator[float]:
    for one, other in _pieces(first, second):
        yield float(np.dot(one.astype(np.float64), other.astype(np.float64)))


def _pieces(first: NDArray[Any], second: NDArray[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield views of pieces that fit the processor's cache: gradients do not."""
    one, other = first.reshape(-1), second.reshape(-1)
    for start in range(0, one.size, PIECE):
        yield one[start : start + PIECE], other[start : start + PIECE]


def norm(gradient: Gradient, name: str | None = None) -> float:
    """Return the Euclidean norm over all parameters, or of the one of that name."""
    chosen = gradient if name is None else {name: gradient[name]}
    return math.sqrt(inner(chosen, chosen))


def num_numbers(gradient: Gradient) -> int:
    """Return how many numbers a gradient has."""
    return sum(each.size for each in gradient.values())


def _distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the Euclidean distance; a NaN at the same place in both counts as equal."""
    squares = []
    with np.errstate(invalid="ignore", over="ignore"):
        for one, other in _pieces(first, second):
            difference = np.subtract(one, other, dtype=np.float64)
            square = float(np.dot(difference, difference))
            if not math.isfinite(square):
                difference[np.isnan(one) & np.isnan(other)] = 0.0
                square = float(np.dot(difference, difference))
            squares.append(square)
    return math.sqrt(sum(squares))


class GradientScale:
    """The size of each parameter's gradient, by which gaps are judged."""

    def __init__(self, gradients: Iterable[Gradient]) -> None:
        squares: dict[str, float] = {}
        number = 0
        for gradient in gradients:
            number += 1
            for name in gradient:
                squares[name] = squares.get(name, 0.0) + norm(gradient, name) ** 2
        self.whole = math.sqrt(math.fsum(squares.values()) / max(number, 1))
        self._parts = {name: math.sqrt(each / number) for name, each in squares.items()}

    def gap(self, found: Gradient, expected: Gradient) -> GradientGap:
        """Return the largest gap of a parameter; infinity where only one of the two is finite."""
        gaps = [GradientGap(0.0, "")]
        for name in dict.fromkeys([*found, *expected]):
            first, second = found.get(name), expected.get(name)
            if first is None or second is None:
                distance = norm(found if second is None else expected, name)
            elif first.shape != second.shape:
                raise AnswerError(
                    f"the gradient of {name} has the shape {list(first.shape)}, before "
                    f"{list(second.shape)}"
                )
            else:
                distance = _distance(first, second)
            allowed = max(self._parts.get(name, 0.0), LEAST_SHARE * self.whole)
            size = distance / allowed if math.isfinite(distance) and allowed else math.inf
            gaps.append(GradientGap(size if distance else 0.0, name))
        return max(gaps, key=lambda each: each.size)
