"""Labels: the task that values make, the order of their names, and the values that are refused."""

import json
import shlex
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobatch.errors import InputError, OptionError
from isobatch.training.data.label_scheme import LabelScheme, infer_labels
from isobatch.training.data.label_values import (
    flag_of,
    name_of,
    natural_order,
    number_of,
    plain_value,
    read_json_lists,
)
from isobatch.training.data.targets import check_classes, describe_target, make_targets
from isobatch.training.recipe import TrainingTask


def places_of(values: Sequence[object]) -> list[str]:
    return [f"a.csv:{row}" for row in range(2, len(values) + 2)]


def infer(
    values: Sequence[object], task: str = "auto", columns: Sequence[str] = ("label",)
) -> LabelScheme:
    return infer_labels(values, places_of(values), task, columns)  # type: ignore[arg-type]


HALVES = [number / 2 for number in range(12)]
AMBIGUOUS = "may be classes or amounts. Choose the task"


@pytest.mark.parametrize(
    ("values", "task", "labels", "said"),
    [
        (["b", "a", "b"], "single", ("a", "b"), "has 2 different texts (a, b)"),
        ([1, 0, 1], "single", ("0", "1"), "has 2 different whole numbers from 0 to 1, read as"),
        (["10", "9"], "single", ("9", "10"), "has 2 different whole numbers from 9 to 10, read"),
        ([1.0, 2.0], "single", ("1", "2"), "has 2 different whole numbers from 1 to 2, read as"),
        (
            ["1", "1.0", "2"],
            "single",
            ("1", "2"),
            "has 2 different whole numbers from 1 to 2, read",
        ),
        (["1.0", "2."], "single", ("1", "2"), "has 2 different whole numbers from 1 to 2, read"),
        ([True, False], "single", ("false", "true"), "has 2 different booleans (false, true)"),
        (["3+", "3", "4"], "single", ("3", "3+", "4"), "has 3 different texts (3, 3+, 4)"),
        (HALVES, "regression", ("label",), "has 12 different numbers from 0 to 5.5"),
        ([f"{each}" for each in HALVES], "regression", ("label",), "has 12 different numbers"),
        ([["a"], ["b", "c"], []], "multi", ("a", "b", "c"), "lists of 3 different labels"),
    ],
)
def test_a_task_is_found_and_its_evidence_stated(
    values: list[object], task: str, labels: tuple[str, ...], said: str
) -> None:
    scheme = infer(values)
    assert (scheme.task, scheme.labels) == (task, labels)
    assert said in scheme.evidence
    assert "'label'" in scheme.evidence


@pytest.mark.parametrize(
    "values", [list(range(21)), list(map(str, range(18, 90))), [0.5, 1.0, 1.5]]
)
def test_numbers_that_may_be_either_make_the_caller_choose(values: list[object]) -> None:
    with pytest.raises(OptionError, match=AMBIGUOUS):
        infer(values * 2)
    single, regression = infer(values * 2, "single"), infer(values * 2, "regression")
    assert len(single.labels) == len(values)
    assert regression.labels == ("label",)
    assert "as chosen" in single.evidence
    assert "as chosen" in regression.evidence


def test_twenty_whole_numbers_are_classes() -> None:
    assert infer(list(range(20)) * 2).task == "single"


def test_several_columns_of_flags_are_multiple_labels_in_their_order() -> None:
    scheme = infer([(1, "0"), (False, "true"), (1.0, "1.0")], columns=("toxic", "insult"))
    assert (scheme.task, scheme.labels) == ("multi", ("toxic", "insult"))
    assert "the 2 columns toxic, insult have 0 or 1" in scheme.evidence


def test_several_columns_of_numbers_are_a_regression_if_chosen() -> None:
    values = [(1, 0.5), (0, 1)]
    with pytest.raises(InputError, match=r"a\.csv:2: the column 'y' has 0\.5, .*--task regression"):
        infer(values, columns=("x", "y"))
    scheme = infer(values, "regression", ("x", "y"))
    assert make_targets(scheme, values, places_of(values), ("x", "y")).tolist() == [
        [1, 0.5],
        [0, 1],
    ]


@pytest.mark.parametrize(
    ("values", "task", "error", "said"),
    [
        ([], "auto", InputError, "there are no labelled texts"),
        (["a", None], "auto", InputError, "a.csv:3: the label is missing"),
        (["a", ["a"]], "auto", InputError, "a.csv:3: ['a'] is a list, but a.csv:2 has a single"),
        ([["a"], ["b"]], "single", OptionError, "has lists, such as ['a'] (a.csv:2)"),
        ([["a"], ["b"]], "regression", OptionError, "but the task is regression"),
        (["a;b", "c"], "multi", OptionError, "--label-separator ';'"),
        (["a|b", "c"], "multi", OptionError, "--label-separator '|'"),
        ([["a", ""], ["b"]], "auto", InputError, "a.csv:2: a list has an empty label"),
        ([[0, 1, 0], [1, 1, 0]], "auto", InputError, "two-dimensional array"),
        ([["a"], [["b"]]], "auto", InputError, "a.csv:3: a label is a text, a number or"),
        ([True, 0, True, 1], "auto", InputError, "has booleans and numbers"),
        ([f"text {n}" for n in range(50)], "auto", InputError, "these are not labels"),
        ([f"{n},5" for n in range(50)], "auto", InputError, "write decimal points instead of comm"),
        ([*range(30), "n/a"], "auto", InputError, "a.csv:32: the label 'n/a' is not a number"),
        (["a"], "binary", OptionError, "task must be auto, single, multi or regression"),
    ],
)
def test_values_that_make_no_task_are_refused(
    values: list[object], task: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as raised:
        infer(values, task)
    assert said in str(raised.value)


def test_one_label_column_is_needed_for_single_labels() -> None:
    with pytest.raises(OptionError, match="a text with one label has one column"):
        infer([(1, 0), (0, 1)], "single", ("a", "b"))


# ------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("mark", [",", ";", "|"])
def test_values_that_look_like_several_labels_get_a_hint(mark: str) -> None:
    names = ("sport", f"sport{mark} news", f"news{mark}film", "film")
    said = infer(names * 3).evidence
    assert f"if 'news{mark}film' is several labels, separate them: --label-separator" in said
    assert shlex.split(said)[-1] == mark
    assert "--label-separator" not in infer(names * 3, "single").evidence, "as chosen"
    cities = (f"Paris{mark} France", f"London{mark} England")
    assert "--label-separator" not in infer(cities * 3).evidence


def test_natural_order() -> None:
    assert natural_order(["10", "9", "-1", "1.5"]) == ("-1", "1.5", "9", "10")
    assert natural_order(["level 10", "Level 2", "b"]) == ("b", "Level 2", "level 10")
    assert natural_order(["b", "B", "a"]) == ("a", "B", "b")
    assert natural_order(["10", "x", "9"]) == ("9", "10", "x")


@given(st.lists(st.text(max_size=5), unique=True))
def test_the_order_is_the_same_for_any_order_of_the_rows(names: list[str]) -> None:
    assert natural_order(names) == natural_order(names[::-1])
    assert sorted(natural_order(names)) == sorted(names)


def test_numbers_flags_and_names() -> None:
    assert [number_of(each) for each in ("1", " 1", "1e3", "nan", "inf", "1_0", True, "٣")] == [
        1, None, 1000, None, None, None, None, None,
    ]  # fmt: skip
    assert number_of(10**400) == float("inf")
    assert [flag_of(each) for each in (0, 1.0, "1", "TRUE", False, 2, "no", "")] == [
        0, 1, 1, 1, 0, None, None, None,
    ]  # fmt: skip
    assert [name_of(each, whole=True) for each in (1.0, "01.0", "01", -0.0, True)] == [
        "1", "01", "01", "0", "true",
    ]  # fmt: skip
    assert [name_of(each, whole=False) for each in (1.0, "1.0", 1)] == ["1.0", "1.0", "1"]


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  ", np.float32("nan")])
def test_a_missing_value(missing: object) -> None:
    assert plain_value(missing, "a.csv:2") is None


@pytest.mark.parametrize(
    ("value", "plain"),
    [(np.str_(" a "), "a"), (np.int64(3), 3), (np.bool_(True), True), (np.float32(0.5), 0.5)],
)
def test_numpy_s_scalars_become_python_s(value: object, plain: object) -> None:
    found = plain_value(value, "a.csv:2")
    assert (found, type(found)) == (plain, type(plain))


def test_json_lists_are_read_only_where_all_texts_are_some() -> None:
    assert read_json_lists(['["a", "b"]', " [] "]) == [["a", "b"], []]
    for values in (['["a"]', "b"], ["[PAD]", "[CLS]"], ['["a"]', 1], ["[" * 9999 + "]"]):
        assert read_json_lists(values) == values


# ------------------------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    ("values", "task", "targets"),
    [
        (["b", "a"], "auto", [[0, 1], [1, 0]]),
        ([2.0, "1"], "auto", [[0, 1], [1, 0]]),
        ([["b"], [], ["a", "b"]], "auto", [[0, 1], [0, 0], [1, 1]]),
        ([0.5, "-2"], "regression", [[0.5], [-2]]),
    ],
)
def test_targets(values: list[object], task: str, targets: list[list[float]]) -> None:
    made = make_targets(infer(values, task), values, places_of(values), ("label",))
    assert made.dtype == np.float32
    assert made.tolist() == targets


@pytest.mark.parametrize("value", [1, 1.0, "1", "1.0", "01", np.int8(1)])
def test_a_number_is_found_in_any_spelling(value: object) -> None:
    scheme = infer([0, 1])
    assert make_targets(scheme, [value], ["b.csv:2"]).tolist() == [[0, 1]]


def test_a_number_with_leading_zeros_is_its_own_label_where_both_are() -> None:
    scheme = infer(["01", "1", "2"])
    assert scheme.labels == ("01", "1", "2")
    assert make_targets(scheme, ["1.0", "01"], ["", ""]).argmax(axis=1).tolist() == [1, 0]


def test_a_label_that_was_not_trained_on_is_refused_with_its_place() -> None:
    scheme = infer(["positive", "negative"])
    with pytest.raises(InputError) as raised:
        make_targets(scheme, ["positive", "Positiv"], ["b.csv:2", "b.csv:3"])
    assert str(raised.value).startswith("b.csv:3: the label 'Positiv' is in none of the training")
    assert "Did you mean 'positive'?" in str(raised.value)
    with pytest.raises(InputError, match=r"b\.csv:2: the label 'c'"):
        make_targets(infer([["a"], ["b"]]), [["a", "c"]], ["b.csv:2"])


@pytest.mark.parametrize(
    ("scheme", "value", "said"),
    [
        (infer(HALVES), "three", "b.csv:2: 'three' is not a number"),
        (infer(HALVES), True, "b.csv:2: 'True' is not a number"),
        (infer(HALVES), "1e39", "b.csv:2: 1e39 is not finite in float32"),
        (infer(HALVES), float("inf"), "b.csv:2: inf is not finite in float32"),
        (infer(["a", "b"]), ["a"], "b.csv:2: ['a'] is not one label"),
        (infer(["a", "b"]), None, "b.csv:2: the label is missing"),
        (infer([["a"], ["b"]]), "a", "b.csv:2: 'a' is a single value"),
        (infer([["a"], ["b"]]), (2, 0), "b.csv:2: '2' is neither 0 nor 1"),
    ],
)
def test_a_value_of_another_kind_is_refused(scheme: LabelScheme, value: object, said: str) -> None:
    with pytest.raises(InputError) as raised:
        make_targets(scheme, [value], ["b.csv:2"], ("a", "b"))
    assert said in str(raised.value)


def test_columns_are_matched_by_name() -> None:
    scheme = infer([(1, 0), (0, 1)], columns=("a", "b"))
    assert make_targets(scheme, [(1, 0)], ["b.csv:2"], ("b", "a")).tolist() == [[0, 1]]
    assert make_targets(scheme, [["b"]], ["b.csv:2"], ("tags",)).tolist() == [[0, 1]]
    with pytest.raises(OptionError, match="the label columns are a, c, but those of the"):
        make_targets(scheme, [(1, 0)], ["b.csv:2"], ("a", "c"))


@pytest.mark.parametrize(
    ("values", "task", "said"),
    [
        (["a", "a", "a"], "auto", "a.csv:2: the label is 'a' here and in all other texts"),
        (["a", "a", "b"], "auto", "a.csv:4: this is the only text with the label 'b'"),
        ([[], []], "auto", "a.csv:2: all texts have empty lists"),
        ([["a", "b"], ["a"], ["b", "a"]], "auto", "a.csv:2: this text and all others have the"),
        ([["a"], ["b"], ["b"], []], "auto", "a.csv:2: this is the only text with the label 'a'"),
        ([1, 1, 1], "regression", "a.csv:2: 'label' is 1 here and in all other texts"),
    ],
)
def test_classes_that_cannot_be_learned(
    values: list[object], task: TrainingTask, said: str
) -> None:
    scheme, places = infer(values, task), places_of(values)
    with pytest.raises(InputError) as raised:
        check_classes(scheme, make_targets(scheme, values, places, ("label",)), places)
    assert said in str(raised.value)


def test_a_column_without_any_text_cannot_be_learned() -> None:
    values = [(1, 0), (1, 0), (0, 0)]
    scheme = infer(values, columns=("a", "b"))
    with pytest.raises(InputError, match="neither this text nor any other has the label 'b'"):
        check_classes(scheme, make_targets(scheme, values, places_of(values), ("a", "b")), ["p"])


@pytest.mark.parametrize("values", [["a", "a", "b", "b"], [["a"], ["a"], []], HALVES])
def test_classes_that_can_be_learned(values: list[object]) -> None:
    scheme, places = infer(values), places_of(values)
    check_classes(scheme, make_targets(scheme, values, places, ("label",)), places)


def test_targets_in_words() -> None:
    multi = infer([["a"], ["b", "c"]])
    rows = make_targets(multi, [["c", "a"], []], ["", ""])
    assert [describe_target(multi, row) for row in rows] == ["a, c", "no label"]
    assert describe_target(infer(HALVES), np.array([0.5], np.float32)) == "0.5"


def test_a_list_names_are_whole_numbers_only_where_all_are() -> None:
    assert infer([[1.0], ["2"]]).labels == ("1", "2")
    assert infer([["1.0"], ["v"]]).labels == ("1.0", "v")
    assert infer(json.loads("[[1.5], [2.0]]")).labels == ("1.5", "2.0")
