"""Prepared data: two sets that have every text once, their targets and weights, and the facts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isobatch.errors import InputError
from isobatch.tables import TableFile, detect_format
from isobatch.training.data.data_facts import count_truncated
from isobatch.training.data.dataset import (
    LabelledColumns,
    LabelledTexts,
    labelled_texts,
    read_labelled,
)
from isobatch.training.data.prepared_data import prepare_data, with_unlabelled
from isobatch.types import Encoding

TEXTS = [f"text {row}" for row in range(40)]
LABELS = ["b", "a"] * 20


def test_texts_targets_weights_and_places_go_together() -> None:
    weights = [float(row + 1) for row in range(40)]
    data = prepare_data(labelled_texts(TEXTS, LABELS, weights), validation_share=0.25, seed=3)
    assert (len(data.train), len(data.validation)) == (30, 10)
    assert sorted(data.train_rows + data.validation_rows) == list(range(40))
    for part, rows in ((data.train, data.train_rows), (data.validation, data.validation_rows)):
        assert part.texts == [TEXTS[row] for row in rows]
        assert part.places == [f"text {row}" for row in rows]
        assert [data.scheme.labels[each] for each in part.targets.argmax(axis=1)] == [
            LABELS[row] for row in rows
        ]
    wanted = np.array([weights[row] for row in data.train_rows])
    assert np.allclose(data.train.weights, wanted / wanted.mean())
    assert set(data.validation.weights.tolist()) == {1.0}, "metrics are not weighted"
    assert data.notes == (data.scheme.evidence,)
    assert data.facts.train_labels == {"a": 15, "b": 15}
    assert data.facts.validation_labels == {"a": 5, "b": 5}
    assert data.facts.split_share == 0.25


def test_class_weights_count_in_training_alone() -> None:
    texts = labelled_texts(TEXTS, ["a"] * 30 + ["b"] * 10)
    data = prepare_data(texts, class_weights="balanced")
    assert len(set(data.train.weights.tolist())) == 2
    assert set(data.validation.weights.tolist()) == {1.0}


def test_given_validation_texts_are_all_of_the_validation() -> None:
    given = labelled_texts(["Text  1", "new", "newer"], ["b", "a", "a"])
    data = prepare_data(labelled_texts(TEXTS, LABELS), given)
    assert data.train.texts == TEXTS
    assert data.validation.texts == ["Text  1", "new", "newer"]
    assert data.validation.targets.tolist() == [[0, 1], [1, 0], [1, 0]]
    assert (data.validation_rows, data.facts.split_share) == ((), None)
    facts = data.facts
    assert facts.num_duplicates == 0
    assert (facts.num_shared, facts.shared_places) == (1, ("text 0",))
    assert any("1 validation text also among the training texts" in note for note in data.notes)
    # "text 1" is an "a" in training and a "b" here.
    assert facts.num_contradictions == 1


def test_duplicates_and_contradictions_are_counted_and_listed() -> None:
    texts = [*TEXTS, "TEXT 0", "text  1", "text 1 ", "text 2"]
    data = prepare_data(labelled_texts(texts, [*LABELS, "b", "b", "a", "a"]))
    facts = data.facts
    assert facts.num_duplicates == 4
    assert facts.num_shared == 0
    assert facts.num_contradictions == 2
    first, second = facts.contradictions
    assert (first.text, first.labels, first.places) == ("text 1", ("a", "b"), ("text 1", "text 41"))
    assert second.places == ("text 2", "text 43")
    assert any("4 texts equal to an earlier one" in note for note in data.notes)
    assert any("text 1 (a), text 41 (b)" in note for note in data.notes)
    assert json.loads(json.dumps(facts.as_dict()))["num_duplicates"] == 4


def test_equal_texts_with_equal_labels_do_not_contradict() -> None:
    data = prepare_data(labelled_texts([*TEXTS, *TEXTS], [*LABELS, *LABELS]))
    assert (data.facts.num_duplicates, data.facts.num_contradictions) == (40, 0)
    held = {data.validation.texts[row].casefold() for row in range(len(data.validation))}
    assert not held & set(data.train.texts)


def test_pairs_are_duplicates_only_as_pairs() -> None:
    pairs = [(text, "and") for text in TEXTS]
    data = prepare_data(
        labelled_texts([*pairs, ("text 0", "AND"), ("and", "text 0")], [*LABELS, "b", "b"])
    )
    assert data.facts.num_duplicates == 1


def test_notes_on_rare_absent_and_similar_labels() -> None:
    labels = ["pos"] * 76 + ["Pos"] * 2 + ["neg"] * 2
    notes = prepare_data(labelled_texts([f"text {row}" for row in range(80)], labels)).notes
    assert any("--class-weights balanced" in note for note in notes)
    assert any("no validation text has the label" in note for note in notes)
    assert any("differ in case alone" in note for note in notes)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "NaN"], "'NaN' is read as the name of a label"),
        (
            ["a", "b", "a; b"],
            "the label 'a; b' looks like several; split it with --label-separator",
        ),
    ],
)
def test_notes_on_names_that_are_probably_not_meant(labels: list[str], said: str) -> None:
    rows = labels * 10
    texts = TEXTS[: len(rows)]
    assert any(said in note for note in prepare_data(labelled_texts(texts, rows)).notes)
    other = [label.replace("a; b", "c; b").replace("NaN", "NaN values") for label in rows]
    assert len(prepare_data(labelled_texts(texts, other)).notes) == 1


def test_a_note_on_rare_labels_is_only_for_those_who_can_weight_them() -> None:
    labels = ["pos"] * 38 + ["neg"] * 2
    texts = labelled_texts(TEXTS * 2, labels * 2)
    rare = labelled_texts([f"text {row}" for row in range(80)], ["a"] * 77 + ["b"] * 3)
    assert "consider" in prepare_data(rare).notes[1]
    assert not any("consider" in note for note in prepare_data(texts).notes)
    assert not any(
        "consider" in note for note in prepare_data(rare, class_weights="balanced").notes
    )


def test_a_regression_has_numbers_and_no_counts() -> None:
    numbers = [row / 8 for row in range(40)]
    data = prepare_data(labelled_texts(TEXTS, numbers))
    assert data.scheme.task == "regression"
    assert data.train.targets.shape == (36, 1)
    assert data.facts.train_labels == {}


def test_multiple_labels() -> None:
    data = prepare_data(labelled_texts(TEXTS, [["x"], ["x", "y"], ["y"], []] * 10))
    assert data.scheme.task == "multi"
    assert data.train.targets.shape == (len(data.train), 2)
    assert len(data.validation) in (3, 4, 5)
    assert data.facts.validation_labels == {"x": 2, "y": 2}


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        (
            labelled_texts(["x", "y"], ["a", "c"]),
            "text 1: the label 'c' is in none of the training",
        ),
        (labelled_texts([], []), "there are no validation texts"),
        (
            labelled_texts([("x", "y")], ["a"]),
            "text 0: this is a single pair, but the training has",
        ),
    ],
)
def test_a_validation_that_does_not_fit_is_refused(validation: LabelledTexts, said: str) -> None:
    with pytest.raises(InputError) as raised:
        prepare_data(labelled_texts(TEXTS, LABELS), validation)
    assert said in str(raised.value)


def test_data_that_cannot_be_learned_is_refused() -> None:
    for labels, said in (
        (["a"] * 40, "text 0: the label is 'a' here and in all other texts"),
        (["a"] * 39 + ["b"], "text 39: this is the only text with the label 'b'"),
    ):
        with pytest.raises(InputError, match=said):
            prepare_data(labelled_texts(TEXTS, labels))
    with pytest.raises(InputError, match="there are no labelled texts"):
        prepare_data(labelled_texts([], []))


def test_files_end_in_the_same_data_as_python(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS, strict=True))
    path.write_text(f"text,label\n{rows}lost,\n,b\n")
    columns = LabelledColumns(skip_unlabelled=True, skip_empty=True)
    read = read_labelled([TableFile(path, *detect_format(path.name))], columns)
    data, other = prepare_data(read), prepare_data(labelled_texts(TEXTS, LABELS))
    assert data.train.texts == other.train.texts
    assert np.array_equal(data.train.targets, other.train.targets)
    assert (data.facts.num_unlabelled, data.facts.num_empty) == (1, 1)
    assert data.facts.files[0]["rows"] == 42
    assert data.notes[1:] == ("1 row without a label left out", "1 row with an empty text left out")


def test_truncated_texts_are_counted() -> None:
    encodings = [Encoding([1], [0], truncated) for truncated in (False, True, True)]
    facts = count_truncated(encodings, ["a.csv:2", "a.csv:3", "a.csv:4"], 512)
    assert (facts.num_truncated, facts.places) == (2, ("a.csv:3", "a.csv:4"))
    assert facts.note() == "2 of 3 texts cut at 512 tokens; the first: a.csv:3"
    assert count_truncated(encodings[:1], ["a.csv:2"], 512).note() is None


def test_texts_without_weight_may_all_be_held_out() -> None:
    held = prepare_data(labelled_texts(TEXTS, LABELS)).validation_rows
    weights = [0.0 if row in held else 1.0 for row in range(40)]
    data = prepare_data(labelled_texts(TEXTS, LABELS, weights))
    assert data.validation_rows == held
    assert set(data.validation.weights.tolist()) == {1.0}


def test_unlabelled_texts_that_are_held_out_are_not_trained_on() -> None:
    data = prepare_data(labelled_texts(TEXTS, LABELS))
    held = data.validation.texts[0]
    unlabelled = replace(
        labelled_texts(["new", f" {held.upper()}", "newer"], ["a"] * 3), num_empty=2
    )
    train, notes = with_unlabelled(data, unlabelled)
    assert train.texts == [*data.train.texts, "new", "newer"]
    assert len(train) == len(train.targets) == len(train.weights) == len(train.places)
    assert np.isnan(train.targets[-2:]).all()
    assert notes == (
        "1 text without labels left out: among the validation texts",
        "2 empty texts without labels left out",
    )
    assert with_unlabelled(data, None) == (data.train, ())
