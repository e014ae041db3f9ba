"""Weights of texts: mean 1 over the training set, the same for a text in any step."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isobatch.errors import InputError, OptionError
from isobatch.training.data.class_weights import read_class_weights, text_weights
from isobatch.training.data.label_scheme import LabelScheme

SCHEME = LabelScheme("single", ("a", "b"), "")
TARGETS = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]


def test_without_weights_all_are_one() -> None:
    weights = text_weights(SCHEME, TARGETS, None)
    assert weights.dtype == np.float32
    assert weights.tolist() == [1, 1, 1, 1]


def test_balanced_classes_have_the_same_sum() -> None:
    weights = text_weights(SCHEME, TARGETS, None, "balanced")
    assert np.allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2])
    with_own = text_weights(SCHEME, TARGETS, [1, 2, 3, 4], "balanced")
    assert with_own[:3].sum() == pytest.approx(with_own[3], rel=1e-6)
    assert np.allclose(with_own[:3] / with_own[0], [1, 2, 3])


def test_given_classes_are_normalized_over_the_set() -> None:
    weights = text_weights(SCHEME, TARGETS, [1, 1, 2, 1], {"a": 10, "b": 30})
    assert np.allclose(weights, np.array([10, 10, 20, 30]) / 17.5)


@given(st.lists(st.floats(0, sys.float_info.max), min_size=4, max_size=4).filter(any))
@example([sys.float_info.max] * 4)
@example([5e-324, 0.0, 0.0, 0.0])
def test_the_mean_is_one_for_any_weights(own: list[float]) -> None:
    assert np.mean(text_weights(SCHEME, TARGETS, own), dtype=np.float64) == pytest.approx(1, 1e-6)


def test_numbers_name_labels() -> None:
    scheme = LabelScheme("single", ("0", "1"), "")
    by_number: Any = {0: 1, np.int64(1): np.float32(3)}
    assert text_weights(scheme, TARGETS, None, by_number)[3] == 2


@pytest.mark.parametrize(
    ("choice", "own", "error", "said"),
    [
        ("none", [0, 0, 0, 0], InputError, "the weights of all texts are 0"),
        ({"a": 0, "b": 1}, [1, 1, 1, 0], InputError, "the weights of all texts are 0"),
        (
            "balanced",
            [1, 1, 1, 0],
            InputError,
            "the label 'b' has no training text with a positive",
        ),
        ("even", None, OptionError, "must be none, balanced, or a weight for each label"),
        ({"a": 1}, None, OptionError, "the label 'b' has none"),
        ({"a": 1, "b": 1, "c": 1}, None, OptionError, "there is no label 'c'; the labels are a, b"),
        ({"a": 1, "b": -1}, None, OptionError, "the weight of 'b' is '-1'"),
        ({"a": 1, "b": float("nan")}, None, OptionError, "the weight of 'b' is 'nan'"),
        ({"a": 1, "b": True}, None, OptionError, "the weight of 'b' is 'True'"),
        ({"a": 0, "b": 0}, None, OptionError, "all are 0"),
    ],
)
def test_weights_that_mean_nothing_are_refused(
    choice: Any, own: list[float] | None, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as raised:
        text_weights(SCHEME, TARGETS, own, choice)
    assert said in str(raised.value)


@pytest.mark.parametrize("task", ["multi", "regression"])
def test_only_single_labels_have_class_weights(task: Any) -> None:
    scheme = LabelScheme(task, ("a", "b"), "")
    assert text_weights(scheme, TARGETS, None, "none").tolist() == [1, 1, 1, 1]
    for choice in ("balanced", {"a": 1.0, "b": 1.0}):
        with pytest.raises(OptionError, match=f"but the task is {task}"):
            text_weights(scheme, TARGETS, None, choice)  # type: ignore[arg-type]


def test_a_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"a": 1, "b": 2.5}))
    assert read_class_weights(path) == {"a": 1, "b": 2.5}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "must have one JSON object"),
        ("[]", "must have one JSON object"),
        ("3", "must have one JSON object"),
        ('{"a": 1, "a": 2}', "names the label 'a' twice"),
        ('{"a": "1"}', "the weight of 'a' is '1'"),
        ('{"a": {"b": 1}}', "the weight of 'a' is"),
        ('{"a": NaN}', "the weight of 'a' is 'nan'"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_of_weights_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "weights.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionError) as raised:
        read_class_weights(path)
    assert str(raised.value).startswith(str(path))
    assert said in str(raised.value)
