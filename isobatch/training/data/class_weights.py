"""Weights of texts: those of their classes times their own, with mean 1 over the training texts.

Invariant: a weight depends on the training set as a whole, never on the texts of a step, so that a
text counts the same with any batch neighbours.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isobatch.errors import InputError, OptionError
from isobatch.evaluation.labels import spelled
from isobatch.training.data.label_scheme import LabelScheme
from isobatch.training.data.label_values import number_of
from isobatch.training.data.targets import Targets

ClassWeights = Literal["none", "balanced"] | Mapping[str, float]
"""For each label a weight; "balanced" gives all classes the same sum of weights."""


def read_class_weights(path: Path) -> dict[str, float]:
    """Read a JSON file such as {"spam": 5, "ham": 1}. OptionError if it is not one."""
    try:
        given = json.loads(path.read_text("utf-8"), object_pairs_hook=tuple)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}. Check the name") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path}: is not JSON: {error}. Fix it") from error
    if not isinstance(given, tuple):
        raise OptionError(f'{path}: must have one JSON object, such as {{"spam": 5, "ham": 1}}')
    names = [name for name, _ in given]
    if twice := [name for name in names if names.count(name) > 1]:
        raise OptionError(f"{path}: names the label {twice[0]!r} twice. Leave one out")
    for name, weight in given:
        _check(name, weight, f"{path}: ")
    return dict(given)


def text_weights(
    scheme: LabelScheme,
    targets: Targets,
    weights: Sequence[float] | None,
    choice: ClassWeights = "none",
) -> NDArray[np.float32]:
    """Compute the weight of each training text, with mean 1.

    weights: of the texts themselves. Raises OptionError for class weights that are not those of
    the scheme's labels, or of a task without single labels, and InputError if all weights are 0.
    """
    own = np.ones(len(targets)) if weights is None else np.asarray(weights, np.float64)
    if own.max() <= 0.0:
        raise InputError("the weights of all texts are 0. Give some a positive weight")
    own = own / own.max()  # no sum overflows
    if isinstance(choice, str):
        if choice not in ("none", "balanced"):
            raise OptionError(
                f"class weights must be none, balanced, or a weight for each label, got {choice!r}"
            )
        if choice == "none":
            return _with_mean_one(own)
    if scheme.task != "single":
        raise OptionError(
            f"class weights are for single labels, but the task is {scheme.task}: a text with "
            "several labels, or a number, has more than one class or none. Use a weight column"
        )
    by_class = (
        _balanced(scheme, targets, own)
        if isinstance(choice, str)
        else np.array(_given(scheme, choice))
    )
    product = own * by_class[targets.argmax(axis=1)]
    if product.max() <= 0.0:
        raise InputError("the weights of all texts are 0. Give some a positive weight")
    return _with_mean_one(product)


def _balanced(
    scheme: LabelScheme, targets: Targets, own: NDArray[np.float64]
) -> NDArray[np.float64]:
    sums = np.bincount(targets.argmax(axis=1), own, len(scheme.labels))
    if (empty := np.flatnonzero(sums == 0.0)).size:
        raise InputError(
            f"the label {scheme.labels[empty[0]]!r} has no training text with a positive weight, "
            "so the classes cannot be balanced. Add such a text"
        )
    balanced: NDArray[np.float64] = sums.max() / sums
    return balanced


def _given(scheme: LabelScheme, choice: Mapping[str, float]) -> list[float]:
    given = {spelled(name): weight for name, weight in choice.items()}
    known = ", ".join(scheme.labels[:20])
    if unknown := [name for name in given if name not in scheme.labels]:
        raise OptionError(
            f"class weights: there is no label {unknown[0]!r}; the labels are {known}. Fix its name"
        )
    if missing := [label for label in scheme.labels if label not in given]:
        raise OptionError(
            f"class weights: the label {missing[0]!r} has none. Add it; 1 is an ordinary weight"
        )
    found = [_check(label, given[label], "class weights: ") for label in scheme.labels]
    if max(found) <= 0.0:
        raise OptionError("class weights: all are 0. Give some a positive weight")
    return [weight / max(found) for weight in found]


def _check(name: object, weight: object, place: str) -> float:
    if isinstance(weight, np.generic):
        weight = weight.item()
    number = None if isinstance(weight, str) else number_of(weight)
    if number is None or not 0.0 <= number < math.inf:
        raise OptionError(
            f"{place}the weight of {name!r} is {str(weight)[:40]!r}, but must be a finite number "
            "of 0 or more. Fix it"
        )
    return number


def _with_mean_one(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Divide by the mean, whose sum is exact in any order of the texts."""
    mean = math.fsum(weights.tolist()) / len(weights)
    return (weights / mean).astype(np.float32)
