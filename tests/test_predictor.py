"""Classifier: inputs, predictions and errors, on the bundled model."""

import itertools
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import write_wordpiece_folder

from isobatch import Classifier, Prediction
from isobatch.checkpoint import bundled_folder
from isobatch.errors import InputError, IsobatchError, OptionError, TooLongError
from isobatch.tasks import pipeline, score_logits

NICE = "Today is a nice day!"


@pytest.fixture
def classifier(bundled_classifier: Callable[[str], Classifier]) -> Classifier:
    return bundled_classifier("fp32")


def test_one_text_is_one_prediction(classifier: Classifier) -> None:
    prediction = classifier(NICE)
    assert isinstance(prediction, Prediction)
    assert prediction.label == "POSITIVE"
    assert prediction.num_tokens == 8
    assert not prediction.truncated
    assert list(prediction.scores) == list(classifier.labels) == ["NEGATIVE", "POSITIVE"]
    assert math.isclose(sum(prediction.scores.values()), 1.0)
    assert prediction.score == max(prediction.scores.values())


def test_a_prediction_prints_as_documented(classifier: Classifier) -> None:
    shown = repr(classifier(NICE))
    assert shown.startswith("Prediction(label='POSITIVE', score=0.9")
    assert shown.endswith("), truncated=False)")


def test_scores_agree_with_transformers(classifier: Classifier) -> None:
    """With its float64, to which its own float32 comes within 6e-6 and ours within 4e-6."""
    folder = bundled_folder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float64
    )
    texts = [
        NICE,
        "But what about tomorrow? Im not sure.",
        "",
        "word " * 700,
        "[PAD] [SEP]",
        "é 😀",
    ]
    for text in texts:
        with torch.no_grad():
            expected = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0]
        prediction = classifier(text)
        assert prediction.logits == pytest.approx(expected.tolist(), abs=6e-6)
        assert prediction.score == pytest.approx(expected.softmax(0).max().item(), abs=2e-6)


def test_lists_and_other_iterables_give_predictions_in_order(classifier: Classifier) -> None:
    texts = ["good", "bad", "very long and " * 20, ""]
    expected = [classifier(text) for text in texts]
    assert classifier(texts) == expected
    assert classifier(iter(texts)) == expected
    assert list(classifier.predict_stream(iter(texts))) == expected
    assert [p.logits for p in expected] == [tuple(row) for row in classifier.logits(texts).tolist()]


def test_pairs_are_tuples(classifier: Classifier) -> None:
    pair = ("a question", "its answer")
    alone = classifier(pair)
    assert isinstance(alone, Prediction)
    assert alone.num_tokens == 7
    assert classifier([pair, "a text"])[0] == alone
    assert classifier(list(pair))[0] != alone


def test_no_texts_give_no_predictions(classifier: Classifier) -> None:
    assert classifier([]) == []
    assert list(classifier.predict_stream([])) == []
    assert classifier.logits([]).shape == (0, 2)
    assert classifier.logits([]).dtype == np.float32


def test_an_empty_text_is_a_text(classifier: Classifier) -> None:
    assert classifier("").num_tokens == 2


def test_special_tokens_in_a_text_are_read_as_transformers_reads_them(
    classifier: Classifier,
) -> None:
    assert classifier("[PAD] [SEP] [PAD]").num_tokens == 5


@pytest.mark.parametrize("text", ["word " * 200_000, "x" * 1_000_000], ids=["words", "one word"])
def test_a_megabyte_of_text(classifier: Classifier, text: str) -> None:
    prediction = classifier(text)
    assert prediction.num_tokens <= 512
    assert prediction.truncated == (prediction.num_tokens == 512)


def test_a_long_text_is_cut_and_marked_or_refused(classifier: Classifier) -> None:
    assert [each.truncated for each in classifier(["short", "word " * 600])] == [False, True]
    with pytest.raises(TooLongError, match=r"text 1: has more than 512 tokens"):
        classifier(["short", "word " * 600], truncation="error")
    strict = Classifier.from_pretrained(truncation="error", max_batch_tokens=7)
    assert strict.max_batch_tokens == 7
    with pytest.raises(TooLongError, match="text 0"):
        strict.logits(["word " * 600])
    assert strict("word " * 510).num_tokens == 512


@pytest.mark.parametrize(
    ("texts", "index"),
    [
        ([NICE, None], 1),
        ([float("nan")], 0),
        (["a", "b", b"bytes"], 2),
        (["a", ("b",)], 1),
        (["a", ("b", 1)], 1),
        (["a", ["b", "c"]], 1),
        (("a", "b", "c"), 0),
        (["fine", "lone \ud83d surrogate"], 1),
        (["fine", ("pair", "\udc00")], 1),
    ],
)
def test_a_non_string_input_is_named_by_its_index(
    classifier: Classifier, texts: object, index: int
) -> None:
    with pytest.raises(InputError, match=rf"^text {index}: "):
        classifier(texts)  # type: ignore[call-overload]


@pytest.mark.parametrize("texts", [3, None, b"bytes", {"text": "x"}])
def test_an_input_other_than_texts_is_refused(classifier: Classifier, texts: object) -> None:
    with pytest.raises(InputError, match="expected a text"):
        classifier(texts)  # type: ignore[call-overload]


@pytest.mark.parametrize("texts", ["bad", ("premise", "hypothesis"), {"a": 1}, b"bytes", None])
def test_methods_of_several_texts_want_a_list(classifier: Classifier, texts: Any) -> None:
    """A string is iterable: without a check each of its characters is a text."""
    for method in (
        *(classifier.logits, classifier.predict, classifier.predict_or_errors),
        *(classifier.tokenize, lambda given: list(classifier.predict_stream(given))),
    ):
        with pytest.raises(InputError, match="expected a "):
            method(texts)


def test_stream_reads_a_window_ahead_and_no_further(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TEXTS_AHEAD", 8)
    read = itertools.count()
    endless: Iterator[str] = (f"text {next(read)}" for _ in itertools.repeat(None))
    predictions = list(itertools.islice(classifier.predict_stream(endless), 20))
    assert next(read) == 24
    assert predictions == classifier([f"text {number}" for number in range(20)])


def test_stream_names_the_index_in_the_whole_stream(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TEXTS_AHEAD", 4)
    predictions = classifier.predict_stream(["a"] * 9 + [None])  # type: ignore[list-item]
    assert len(list(itertools.islice(predictions, 9))) == 9  # all earlier texts
    with pytest.raises(InputError, match=r"^text 9: "):
        next(predictions)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp64"},
        {"device": "abacus"},
        {"device": "meta"},
        {"device": -1},
        {"device": None},
        {"threads": 0},
        {"threads": "2"},
        {"threads": 2.0},
        {"max_batch_tokens": 0},
        {"max_batch_tokens": "512"},
        {"truncation": "perhaps"},
    ],
)
def test_an_invalid_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=str(next(iter(options.values())))):
        Classifier.from_pretrained(**options)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_a_device_says_so() -> None:
    with pytest.raises(OptionError, match="no CUDA device"):
        Classifier.from_pretrained(device="cuda")


def test_the_threads_option_sets_the_number_of_threads() -> None:
    Classifier.from_pretrained(threads=3)
    assert torch.get_num_threads() == 3


def test_a_weight_is_not_kept_twice(classifier: Classifier) -> None:
    """Parameters are left only where no kernel packs them: in tables and norms."""
    names = {name for name, _ in classifier._model.named_parameters()}
    assert {"embeddings.word.weight", "embeddings.norm.weight"} <= names
    assert not {name for name in names if name.startswith(("blocks.", "head."))}


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "expected"),
    [
        (None, 3, "softmax"),
        ("single_label_classification", 3, "softmax"),
        ("multi_label_classification", 3, "sigmoid"),
        (None, 1, "sigmoid"),
        ("regression", 1, "none"),
        ("regression", 2, "none"),
    ],
)
def test_scores_follow_the_problem_type(
    tmp_path: Path,
    tiny_folder: TinyFolder,
    problem_type: str | None,
    num_labels: int,
    expected: str,
) -> None:
    tiny = Tiny("bert", problem_type=problem_type, num_labels=num_labels)
    for file in tiny_folder(tiny).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    write_wordpiece_folder(tmp_path, "bert")
    prediction = Classifier.from_pretrained(tmp_path)("a b c")
    logits = torch.tensor(prediction.logits, dtype=torch.float64)
    scores = {"softmax": logits.softmax(0), "sigmoid": logits.sigmoid(), "none": logits}[expected]
    assert list(prediction.scores.values()) == pytest.approx(scores.tolist(), abs=1e-12)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_never_overflow(activation: str) -> None:
    scores = score_logits([-1e30, 1e30, 0.0], activation)  # type: ignore[arg-type]
    assert max(scores) == scores[1]
    assert all(0.0 <= score <= 1.0 for score in scores)


def test_all_errors_are_of_one_tree() -> None:
    from isobatch import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = [
        kind for kind in kinds if issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]
    assert all(issubclass(kind, IsobatchError) for kind in raised)
    assert sys.modules["isobatch.errors"] is errors


def test_a_classifier_describes_itself(classifier: Classifier) -> None:
    shown = repr(classifier)
    assert shown.startswith(f"Classifier({str(classifier.folder)!r}, ")
    assert shown.endswith("family='distilbert', precision='fp32', labels=[NEGATIVE, POSITIVE])")


def test_only_some_of_many_labels_are_in_the_description(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder(Tiny("bert", num_labels=9)), tmp_path, dirs_exist_ok=True)
    shown = repr(Classifier.from_pretrained(write_wordpiece_folder(tmp_path)))
    assert shown.endswith("labels=[LABEL_0, LABEL_1, LABEL_2, LABEL_3, LABEL_4, … (9)])")


def test_a_prediction_as_plain_values(classifier: Classifier) -> None:
    prediction = classifier(NICE)
    values = json.loads(json.dumps(prediction.to_dict()))
    values["logits"] = tuple(values["logits"])
    assert Prediction(**values) == prediction


def test_the_best_labels(classifier: Classifier) -> None:
    """As transformers' pipeline gives them: a list for a text, a list of lists for a list."""
    prediction = classifier(NICE)
    ranked = [
        {"label": label, "score": score}
        for label, score in sorted(prediction.scores.items(), key=lambda each: -each[1])
    ]
    assert classifier(NICE, top_k=1) == ranked[:1]
    assert classifier([NICE, "bad"], top_k=1)[0] == ranked[:1]
    assert classifier([NICE], top_k=None) == classifier.top_k([NICE], 7) == [ranked]
    assert classifier([], top_k=None) == []
    for k in (0, -1, True, "2", 1.0):
        with pytest.raises(OptionError, match="top_k must be an integer of at least 1"):
            classifier(NICE, top_k=k)  # type: ignore[call-overload]


def test_probabilities_as_in_scikit_learn(
    classifier: Classifier, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    found = classifier.predict_proba([NICE, "bad"])
    expected = [list(classifier(text).scores.values()) for text in (NICE, "bad")]
    assert found.tolist() == expected
    assert classifier.predict_proba([]).shape == (0, 2)
    regression = Tiny("bert", num_labels=1, problem_type="regression")
    shutil.copytree(tiny_folder(regression), tmp_path, dirs_exist_ok=True)
    with pytest.raises(OptionError, match=r"is a regression, without probabilities. Use logits"):
        Classifier.from_pretrained(write_wordpiece_folder(tmp_path)).predict_proba([NICE])
