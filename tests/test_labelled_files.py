"""Labelled files to an Evaluation: every row counts once, against the right label."""

import json
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from isobatch import Classifier
from isobatch.errors import InputError, OptionError, TableError
from isobatch.evaluation import (
    Evaluation,
    LabelledFiles,
    LabelOptions,
    evaluate_files,
    labels_of_column,
    match_labels,
)
from isobatch.tables import CsvDialect, TableFile, detect_format
from isobatch.training.data.label_values import plain_value

TEXTS = ("a fine film", "a dull film", "what a mess, from start to end", "good")
LABELS = ("POSITIVE", "NEGATIVE", "NEGATIVE", "POSITIVE")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.from_pretrained()


def table(path: Path, content: str, **dialect: bool) -> TableFile:
    path.write_text(content, encoding="utf-8")
    return TableFile(path, *detect_format(path.name), CsvDialect(**dialect))


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def evaluated(classifier: Classifier) -> Callable[..., Evaluation]:
    def evaluate(*tables: TableFile, label_column: str = "label", **options: Any) -> Evaluation:
        names = [each.name for each in fields(LabelOptions)]
        label = {name: options.pop(name) for name in names if name in options}
        files = LabelledFiles(tables, LabelOptions(label_column, **label), **options)
        return evaluate_files(files, classifier)

    return evaluate


def test_every_row_is_held_against_its_label(
    classifier: Classifier, evaluated: Callable[..., Evaluation], tmp_path: Path
) -> None:
    wrong = ("NEGATIVE", *LABELS[1:])
    rows = "".join(f'"{text}",{label}\n' for text, label in zip(TEXTS, wrong, strict=True))
    evaluation = evaluated(table(tmp_path / "dev.csv", f"sentence,label\n{rows}"))
    predictions = classifier(list(TEXTS))
    right = [
        prediction.label == label for prediction, label in zip(predictions, wrong, strict=True)
    ]
    assert (evaluation.num_texts, evaluation.num_correct) == (4, sum(right))
    assert evaluation.accuracy == sum(right) / 4
    worst = evaluation.mistakes[0]
    assert (worst.place, worst.text) == ("dev.csv:2", TEXTS[0])
    assert (worst.expected, worst.predicted) == ("NEGATIVE", "POSITIVE")
    assert worst.score == predictions[0].score


@pytest.mark.parametrize("names", [("NEGATIVE", "POSITIVE"), ("negative", "Positive"), (0, 1)])
def test_labels_are_names_or_indices(
    names: tuple[object, object], evaluated: Callable[..., Evaluation], tmp_path: Path
) -> None:
    label_of = dict(zip(("NEGATIVE", "POSITIVE"), names, strict=True))
    rows = [{"text": t, "gold": label_of[label]} for t, label in zip(TEXTS, LABELS, strict=True)]
    evaluation = evaluated(table(tmp_path / "dev.jsonl", lines(*rows)), label_column="gold")
    assert evaluation.num_texts == 4
    assert evaluation.classes[1].support == 2


def test_files_are_read_as_one_and_a_cached_text_counts_again(
    evaluated: Callable[..., Evaluation], tmp_path: Path
) -> None:
    first = table(tmp_path / "a.tsv", "good\t1\n" * 3, header=False)
    second = table(tmp_path / "b.tsv", "bad\t0\ngood\t1\n", header=False)
    evaluation = evaluated(first, second, label_column="column_2")
    assert (evaluation.num_texts, evaluation.num_correct) == (5, 5)
    assert [each.support for each in evaluation.classes] == [1, 4]


def test_a_row_without_a_prediction_is_counted_and_named_by_its_id(
    evaluated: Callable[..., Evaluation], tmp_path: Path
) -> None:
    rows = [{"id": "x7", "text": None, "label": 1}, {"id": "x8", "text": "bad", "label": 1}]
    evaluation = evaluated(table(tmp_path / "d.jsonl", lines(*rows)), id_column="id")
    assert (evaluation.num_texts, evaluation.num_errors) == (1, 1)
    assert (evaluation.errors[0].place, evaluation.errors[0].reason) == (
        "d.jsonl:1 (id x7)",
        "text is null",
    )
    assert evaluation.mistakes[0].place == "d.jsonl:2 (id x8)"


def test_a_text_that_is_too_long_is_an_error_only_on_request(
    evaluated: Callable[..., Evaluation], tmp_path: Path
) -> None:
    rows = [{"text": "word " * 600, "label": 1}, {"text": "good", "label": 1}]
    file = table(tmp_path / "long.jsonl", lines(*rows))
    assert (evaluated(file).num_texts, evaluated(file).num_truncated) == (2, 1)
    assert evaluated(file, truncation="error").num_errors == 1


def test_empty_texts_are_counted_and_errors_only_on_request(
    evaluated: Callable[..., Evaluation], tmp_path: Path
) -> None:
    texts = ["good", "", " \t", None, "bad"]
    file = table(tmp_path / "d.jsonl", lines(*({"text": text, "label": 1} for text in texts)))
    found = evaluated(file)
    assert (found.num_texts, found.num_empty, found.num_errors) == (4, 2, 1)
    found = evaluated(file, on_empty="error")
    assert (found.num_texts, found.num_empty, found.num_errors) == (2, 0, 3)
    assert [(each.place, each.reason) for each in found.errors] == [
        ("d.jsonl:2", "text is empty or white space"),
        ("d.jsonl:3", "text is empty or white space"),
        ("d.jsonl:4", "text is null"),
    ]


@pytest.mark.parametrize(
    ("content", "options", "error", "words"),
    [
        ("text,label\ngood,1\nbad,2\n", {}, InputError, "d.csv:3"),
        ("text,label\ngood,\n", {}, InputError, "d.csv:2: the label is missing"),
        ("text,label\n", {}, InputError, "at least one row"),
        ("text,label\ngood,1\n", {"label_column": "gold"}, OptionError, "it has text, label"),
        (
            "a,b,label\ng,b,1\n",
            {},
            OptionError,
            "cannot find the text column: none has a common name",
        ),
        ("text,label\ngood\n", {}, TableError, "d.csv:2"),
    ],
)
def test_what_cannot_be_evaluated_is_named(
    content: str,
    options: dict[str, str],
    error: type[Exception],
    words: str,
    evaluated: Callable[..., Evaluation],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match="(?s)" + words.replace("?", r"\?").replace(".", r"\.")):
        evaluated(table(tmp_path / "d.csv", content), **options)


def test_labels_are_looked_at_before_anything_is_computed(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outputs(*arguments: object) -> None:
        raise AssertionError("computed before the last label was known to be one")

    monkeypatch.setattr(Classifier, "_outputs", outputs)
    file = table(tmp_path / "d.csv", "text,label\n" + "good,1\n" * 5000 + "bad,nonsense\n")
    with pytest.raises(InputError, match=r"nonsense.*d\.csv:5002"):
        evaluate_files(LabelledFiles((file,), LabelOptions("label")), classifier)


def test_rows_without_a_label_are_left_out_on_request_and_not_computed(
    evaluated: Callable[..., Evaluation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    predict = Classifier.predict_or_errors

    def spy(self: Classifier, texts: list[str], **options: Any) -> Any:
        computed.extend(texts)
        return predict(self, texts, **options)

    monkeypatch.setattr(Classifier, "predict_or_errors", spy)
    rows: list[dict[str, object]] = [
        {"text": "good", "label": 1.0, "lang": "en"},
        {"text": "null", "label": None, "lang": "en"},
        {"text": "missing", "lang": "de"},
        {"text": "blank", "label": " "},
    ]
    file = table(tmp_path / "d.jsonl", lines(*rows))
    found = evaluated(file, skip_unlabelled=True, by="lang")
    assert (found.num_texts, found.num_unlabelled, found.num_errors) == (1, 3, 0)
    assert [(s.value, s.num_texts, s.num_unlabelled) for s in found.slices] == [
        ("(no value)", 0, 1),
        ("de", 0, 1),
        ("en", 1, 1),
    ]
    assert "1.0 as the index 1" in found.notes[0]
    assert computed == ["good"]
    with pytest.raises(InputError, match=r"d\.jsonl:2: .* --skip-unlabelled"):
        evaluated(file)
    only = table(tmp_path / "no.csv", "text,label\na,\nb,\n")
    with pytest.raises(InputError, match=r"no labelled texts .*2 rows without a label"):
        evaluated(only, skip_unlabelled=True)


def test_bad_rows_are_counted_and_stop_nothing(
    classifier: Classifier,
    evaluated: Callable[..., Evaluation],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[dict[str, object]] = [
        {"text": "good", "label": 1},
        {"text": "junk", "label": 7},
        {"text": 3, "label": 0},
        {"text": "bad", "label": 0},
    ]
    file = table(tmp_path / "d.jsonl", lines(*rows))
    found = evaluated(file, on_bad_label="row")
    assert (found.num_texts, found.num_errors, found.accuracy) == (2, 2, 1.0)
    assert [each.place for each in found.errors] == ["d.jsonl:2", "d.jsonl:3"]
    assert "label '7': not one of NEGATIVE, POSITIVE" in found.errors[0].reason
    with pytest.raises(InputError, match=r" 7 \(d\.jsonl:2\); .*0 to 1.*--on-bad-label row"):
        evaluated(file)
    predict = classifier.predict_or_errors

    def failing(texts: list[str], **options: Any) -> list[Any]:
        results = zip(texts, predict(texts, **options), strict=True)
        return [InputError("not finite") if text == "bad" else found for text, found in results]

    monkeypatch.setattr(classifier, "predict_or_errors", failing)
    found = evaluated(file, on_bad_label="row")
    assert (found.num_texts, found.num_errors) == (1, 3)
    assert "not finite" in found.errors[-1].reason


def test_many_different_labels_are_not_a_label_column(
    evaluated: Callable[..., Evaluation], tmp_path: Path
) -> None:
    rows = "".join(f"good,text {n}\n" for n in range(10_005))
    file = table(tmp_path / "d.csv", f"text,label\n{rows}")
    with pytest.raises(InputError, match=r"more than 10,000 different values.*--label-column"):
        evaluated(file)
    with pytest.raises(OptionError, match="no column 'where'"):
        evaluated(file, by="where")


@pytest.mark.parametrize(
    ("value", "index"),
    [
        *[(1.0, 0), ("1.0", 0), (2.5, 2), (2.0, 1)],
    ],
)
def test_a_number_that_names_a_label_is_that_label(value: object, index: int) -> None:
    assert match_labels([value], ["1.0", "2.0", "2.5"], ["place"]).indices == [index]
    unknown = match_labels([0], ["1.0", "2.0", "2.5"], ["place"])
    assert unknown.indices == [None], "0 is no index where labels are numbers"


def test_decimals_of_parquet_are_the_labels_that_training_makes_of_them() -> None:
    values = [Decimal("1.00"), Decimal("2"), Decimal("2.50")]
    labels = [str(plain_value(each, "place")) for each in values]
    assert match_labels(values, labels, ["place"] * 3).indices == [0, 1, 2]


def test_labels_of_a_column_have_no_spaces_around_them(tmp_path: Path) -> None:
    file = table(tmp_path / "dev.csv", "text,label\na,sports\nb,sports \nc, art\n")
    files = LabelledFiles((file,), LabelOptions("label"))
    assert labels_of_column(files) == ("art", "sports")
