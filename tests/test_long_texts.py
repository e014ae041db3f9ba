"""Texts longer than the model, read in windows: the windows, their outputs, and errors.

Tiny checkpoints whose tokenizer allows 24 tokens. transformers is the reference of the windows.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tiny_checkpoints import Tiny, TinyFolder, reference_model
from tokenizer_folders import write_bpe_folder, write_unigram_folder, write_wordpiece_folder

from isobatch import Classifier, TextWindows
from isobatch.batching.cache import OutputCache
from isobatch.checkpoint import windows
from isobatch.checkpoint.truncation import read_truncation, truncation_record
from isobatch.errors import InputError, OptionError, TooLongError
from isobatch.tasks.window_pooling import pool_outputs
from isobatch.types import Encoding, TextInput, Truncation

MAX_TOKENS = 24
TEXT = "Today is a nice day but what about tomorrow film cast better than its plot"
WORDS = TEXT.split()
WRITERS = {
    "bert": write_wordpiece_folder,
    "roberta": write_bpe_folder,
    "xlm-roberta": write_unigram_folder,
}


def text_of(num_words: int, first: int = 0) -> str:
    return " ".join(WORDS[(first + 3 * index) % len(WORDS)] for index in range(num_words))


LONG, LONGER = text_of(60), text_of(110, first=5)

Load = Callable[..., Classifier]


@pytest.fixture
def load(tiny_folder: TinyFolder, tmp_path: Path) -> Load:
    """Load a tiny checkpoint whose texts have at most MAX_TOKENS tokens."""

    def load(model_type: str = "bert", side: str = "right", **options: Any) -> Classifier:
        folder = tmp_path / f"{model_type}-{side}"
        if not folder.exists():
            shutil.copytree(tiny_folder(Tiny(model_type, num_labels=3)), folder)
            settings = {"model_max_length": MAX_TOKENS, "truncation_side": side}
            WRITERS[model_type](folder, model_type, options=settings)
        return Classifier.from_pretrained(folder, **options)

    return load


@pytest.fixture
def classifier(load: Load) -> Classifier:
    return load()


def windows_of_transformers(
    classifier: Classifier, text: TextInput, stride: int, strategy: bool | str = True
) -> list[dict[str, list[int]]]:
    """The windows as transformers' users make them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(classifier.folder)
    rows = tokenizer(
        *([text] if isinstance(text, str) else text),
        truncation=strategy,
        max_length=MAX_TOKENS,
        stride=stride,
        return_overflowing_tokens=True,
        return_token_type_ids=True,
    )
    names = ("input_ids", "token_type_ids")
    found = [dict(zip(names, row, strict=True)) for row in zip(*map(rows.get, names), strict=True)]
    return found[::-1] if classifier.truncation_side == "left" else found


@torch.inference_mode()
def mean_of_transformers(
    classifier: Classifier, rows: Sequence[dict[str, list[int]]]
) -> NDArray[np.float64]:
    model = reference_model(classifier.folder)
    takes_types = model.config.model_type == "bert"
    found = []
    for row in rows:
        inputs = {name: torch.tensor([ids]) for name, ids in row.items()}
        if not takes_types:
            del inputs["token_type_ids"]
        found.append(model(**inputs).logits[0].double().numpy())
    return np.mean(found, axis=0)


def encoded(classifier: Classifier, text: TextInput, truncation: Truncation) -> Encoding:
    (found,) = classifier.tokenize([text], truncation=truncation)
    assert isinstance(found, Encoding)
    return found


@pytest.mark.parametrize("model_type", WRITERS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_windows_and_their_mean_are_those_of_transformers(
    model_type: str, side: str, load: Load
) -> None:
    classifier = load(model_type, side)
    assert classifier.truncation_side == side
    room = MAX_TOKENS - 2
    for text in (LONG, LONGER):
        for stride in (0, 1, 7, room - 1):
            how = TextWindows(stride)
            rows = windows_of_transformers(classifier, text, stride)
            encoding = encoded(classifier, text, how)
            assert [each.input_ids for each in encoding.windows()] == [
                row["input_ids"] for row in rows
            ]
            assert encoding.num_windows == len(rows) > 1
            assert not encoding.truncated
            (found,) = classifier.logits([text], truncation=how)
            assert np.abs(found - mean_of_transformers(classifier, rows)).max() <= 1e-5


def test_the_longer_text_of_a_pair_is_in_windows_with_all_of_the_other(load: Load) -> None:
    for model_type in ("bert", "roberta"):
        classifier = load(model_type)
        for pair, strategy in (
            (("what about it", LONG), "only_second"),
            ((LONG, "what about it"), "only_first"),
        ):
            rows = windows_of_transformers(classifier, pair, 3, strategy)
            encoding = encoded(classifier, pair, TextWindows(3))
            assert [each.input_ids for each in encoding.windows()] == [
                row["input_ids"] for row in rows
            ]
            if model_type == "bert":
                assert [each.token_type_ids for each in encoding.windows()] == [
                    row["token_type_ids"] for row in rows
                ]
            (found,) = classifier.logits([pair], truncation=TextWindows(3))
            assert np.abs(found - mean_of_transformers(classifier, rows)).max() <= 1e-5


def test_every_window_has_the_special_tokens_and_at_most_the_model_s_length(
    classifier: Classifier,
) -> None:
    for window in encoded(classifier, LONGER, "window").windows():
        assert (window.input_ids[0], window.input_ids[-1]) == (2, 3)
        assert 2 not in window.input_ids[1:]
        assert len(window) <= MAX_TOKENS


def test_a_text_that_fits_is_as_without_windows(classifier: Classifier) -> None:
    whole = "a b " * 11
    texts = ["", "Today is a nice day", whole, ("a", "b"), ("a " * 10, "b " * 11)]
    assert encoded(classifier, whole, "error").num_windows == 1
    assert len(encoded(classifier, whole, "error")) == MAX_TOKENS
    for truncation in ("window", TextWindows(5, "max"), TextWindows(0, "first")):
        assert classifier(texts, truncation=truncation) == classifier(texts)
    assert encoded(classifier, whole + "a", "window").num_windows == 2


def test_the_default_stride_is_a_quarter_of_a_window(classifier: Classifier) -> None:
    assert classifier([LONG], truncation="window") == classifier([LONG], truncation=TextWindows(5))
    assert classifier([LONG], truncation="window") != classifier([LONG], truncation=TextWindows(4))


def test_the_maximum_is_that_of_each_logit(classifier: Classifier) -> None:
    how = TextWindows(2, "max")
    rows = classifier.forward([*encoded(classifier, LONG, how).windows()])
    assert len(rows) > 2
    prediction = classifier(LONG, truncation=how)
    assert prediction.logits == tuple(np.max(rows, axis=0).tolist())
    assert prediction.label == classifier.labels[int(np.argmax(prediction.logits))]


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_first_window_is_that_of_a_cut_text_and_marked(side: str, load: Load) -> None:
    classifier = load(side=side)
    first = classifier(LONG, truncation=TextWindows(3, "first"))
    assert first.logits == classifier(LONG).logits
    assert first.truncated
    assert first.num_windows == classifier(LONG, truncation=TextWindows(3)).num_windows > 1
    assert first.num_tokens == MAX_TOKENS


def test_a_prediction_says_how_many_windows_and_tokens_were_read(classifier: Classifier) -> None:
    prediction = classifier(LONG, truncation=TextWindows(0))
    encoding = encoded(classifier, LONG, TextWindows(0))
    assert prediction.num_windows == encoding.num_windows == len(encoding.window_lengths) > 2
    assert prediction.num_tokens == sum(encoding.window_lengths)
    assert prediction.to_dict()["num_windows"] == prediction.num_windows
    assert not prediction.truncated
    assert classifier(LONG).num_windows == 1


def test_every_method_reads_windows(load: Load) -> None:
    cut, whole = load(), load(truncation=TextWindows(4))
    texts = ["short", LONG, ("a", LONGER)]
    expected = cut(texts, truncation=TextWindows(4))
    assert [each.num_windows > 1 for each in expected] == [False, True, True]
    assert whole(texts) == whole.predict(texts) == whole.predict_or_errors(texts) == expected
    assert whole.predict_or_errors(texts, cache=OutputCache()) == expected
    assert list(whole.predict_stream(texts)) == expected
    assert [whole(text) for text in texts] == expected
    assert [tuple(row) for row in whole.logits(texts).tolist()] == [e.logits for e in expected]
    assert [dict(zip(whole.labels, row, strict=True)) for row in whole.predict_proba(texts)] == [
        each.scores for each in expected
    ]
    assert [each[0]["label"] for each in whole(texts, top_k=1)] == [e.label for e in expected]
    assert whole(texts, truncation="cut") == cut(texts)
    with pytest.raises(TooLongError, match='allow truncation="cut" or "window"'):
        whole(texts, truncation="error")


def test_windows_are_cached_like_texts(classifier: Classifier) -> None:
    cache, how = OutputCache(), TextWindows(0)
    (first,) = classifier.predict_or_errors([LONG], truncation=how, cache=cache)
    shared = encoded(classifier, LONG, how).num_windows - 1
    # The longer text has the same windows, but for the last of the shorter one.
    (_,) = classifier.predict_or_errors([LONG + " " + LONG], truncation=how, cache=cache)
    num_windows = encoded(classifier, LONG + " " + LONG, how).num_windows
    assert len(cache) == shared + 1 + num_windows - shared
    assert cache.hits == 0, "of each text something was computed"
    assert classifier.predict_or_errors([LONG], truncation=how, cache=cache) == [first]
    assert cache.hits == 1


def test_a_window_that_fails_is_an_error_of_its_text_alone(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = TextWindows(0)
    bad = list(encoded(classifier, LONG, how).windows())[1].input_ids
    compute = classifier._compute

    def failing(encodings: Sequence[Encoding]) -> list[NDArray[np.float32]]:
        if any(each.input_ids == bad for each in encodings):
            raise RuntimeError("planted")
        return compute(encodings)

    expected = classifier(["short", LONGER], truncation=how)
    monkeypatch.setattr(classifier, "_compute", failing)
    one, error, other = classifier.predict_or_errors(["short", LONG, LONGER], truncation=how)
    assert [one, other] == expected
    assert str(error) == "text 1: the model failed on it: RuntimeError: planted"
    with pytest.raises(InputError, match=r"^text 1: the model failed"):
        classifier(["short", LONG, LONGER], truncation=how)


@pytest.mark.parametrize("stride", [-1, 1.5, "3", True])
def test_a_stride_is_a_number_of_tokens(stride: Any) -> None:
    with pytest.raises(
        OptionError, match=f"^stride must be an integer of at least 0, got {stride!r}"
    ):
        TextWindows(stride)


def test_other_poolings_and_truncations_are_errors(classifier: Classifier) -> None:
    with pytest.raises(OptionError, match="must be 'mean', 'max' or 'first', got 'median'"):
        TextWindows(0, "median")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"'cut', 'error', 'window' or TextWindows.* got 'slide'"):
        classifier(["a"], truncation="slide")  # type: ignore[call-overload]


def test_a_stride_that_a_window_has_no_room_for_is_an_error_at_once(load: Load) -> None:
    message = r"^stride must be less than 22, the number of text tokens that .*, got 22$"
    with pytest.raises(OptionError, match=message):
        load(truncation=TextWindows(22))
    with pytest.raises(OptionError, match=message):
        load()(["short"], truncation=TextWindows(22))
    assert load(truncation=TextWindows(21))(LONG).num_windows > 20


def test_a_pair_without_room_for_windows_is_an_error_of_its_own(classifier: Classifier) -> None:
    texts: list[TextInput] = ["a", ("a " * 20, LONG), (("a " * 8), LONG)]
    one, error, other = classifier.predict_or_errors(texts, truncation=TextWindows(12))
    assert [one.num_windows, other.num_windows] == [
        1,
        encoded(classifier, texts[2], TextWindows(12)).num_windows,
    ]
    assert isinstance(error, InputError)
    assert str(error).startswith(
        "text 1: cannot be read in windows of 24 tokens: 23 tokens are repeated"
    )


def test_more_windows_than_memory_allows_are_an_error(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = encoded(classifier, LONG, TextWindows(21)).num_windows
    monkeypatch.setattr(windows, "MAX_WINDOWS", number - 1)
    short, error = classifier.predict_or_errors(["a", LONG], truncation=TextWindows(21))
    assert str(error) == (
        f"text 1: would be read in {number} windows, more than the {number - 1} that one text may "
        "have. Shorten it, or use a smaller stride"
    )
    assert short == classifier("a")
    assert classifier(LONG, truncation=TextWindows(20)).num_windows < number


def test_a_megabyte_is_read_in_windows_of_which_no_token_is_lost(classifier: Classifier) -> None:
    text = "nice day " * 100_000
    encoding = encoded(classifier, text, TextWindows(0))
    assert sum(encoding.window_lengths) - 2 * encoding.num_windows == 200_000
    assert encoding.num_windows == -(-200_000 // 22)


def test_a_mean_of_vectors_gets_their_length_again() -> None:
    vectors = [np.array(row, np.float32) for row in ([1, 0], [0, 1], [0, 1])]
    assert pool_outputs(vectors, "mean", normalize=False).tolist() == [
        np.float32(1 / 3),
        np.float32(2 / 3),
    ]
    pooled = pool_outputs(vectors, "mean", normalize=True)
    assert pooled.dtype == np.float32
    assert pooled.tolist() == [np.float32(1 / 5**0.5), np.float32(2 / 5**0.5)]
    zeros = [np.zeros(2, np.float32)] * 2
    assert pool_outputs(zeros, "mean", normalize=True).tolist() == [0.0, 0.0]


def test_a_mean_is_rounded_once() -> None:
    """In single precision the sum would lose the small number."""
    rows = [np.array([each], np.float32) for each in (2.0**24, 1.0, -(2.0**24), 1.0)]
    assert pool_outputs(rows, "mean", normalize=False).tolist() == [0.5]
    zeros = [np.array([each], np.float32) for each in (-0.0, 0.0)]
    for pair in (zeros, zeros[::-1]):
        assert not np.signbit(pool_outputs(pair, "max", normalize=False)[0])


@pytest.mark.parametrize("truncation", ["cut", "error", TextWindows(), TextWindows(3, "max")])
def test_a_truncation_is_read_back_from_its_record(truncation: Truncation) -> None:
    assert read_truncation(truncation_record(truncation)) == truncation
    assert truncation_record("window") == truncation_record(TextWindows())


@pytest.mark.parametrize("record", [None, "slide", {"stride": 3}, {"stride": -1, "pooling": "max"}])
def test_a_record_that_is_none_is_an_error(record: object) -> None:
    with pytest.raises(OptionError):
        read_truncation(record)
