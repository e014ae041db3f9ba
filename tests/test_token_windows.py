"""Texts longer than the model: every token is read, in windows, and every entity is whole."""

import re
from pathlib import Path

import numpy as np
import pytest
import transformers
from tiny_checkpoints import Tiny
from tiny_token_models import write_token_checkpoint, write_word_tagger

from isobatch import TextWindows, TokenClassifier
from isobatch.checkpoint.windows import Window, cut_windows, join_tokens
from isobatch.errors import InputError, OptionError, TooLongError
from isobatch.types import Encoding, Truncation

WINDOW = 48
"""Tokens that the tokenizer of the tiny folders allows, two special ones included."""

TAGS = {"nice": "B-PER", "day": "I-PER", "film": "B-LOC"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives each word its tag in any context."""
    return write_word_tagger(tmp_path_factory.mktemp("tagger"), TAGS)


@pytest.fixture(scope="module")
def tagger(folder: Path) -> TokenClassifier:
    return TokenClassifier.from_pretrained(folder)


@pytest.mark.parametrize(
    ("num_tokens", "num_windows"),
    [(WINDOW - 1, 1), (WINDOW, 1), (WINDOW + 1, 2), (2 + 46 + 35, 2), (2 + 46 + 36, 3), (120, 4)],
)
def test_each_entity_of_a_long_text_is_found(
    tagger: TokenClassifier, num_tokens: int, num_windows: int
) -> None:
    """A window shares 11 of its 46 tokens, so each but the first adds 35."""
    words = ["a", "nice", "day", "film", "a", "film", "nice"] * num_tokens
    text = " ".join(words[: num_tokens - 2])
    prediction = tagger(text)
    assert prediction.num_windows == num_windows
    assert prediction.truncated is False
    expected = [(found.start(), found[0]) for found in re.finditer("nice day|nice|film", text)]
    assert [(each.start, each.text) for each in prediction.entities] == expected


@pytest.mark.parametrize("stride", [0, 1, 11, 44, 45])
def test_an_entity_at_a_border_is_whole(tagger: TokenClassifier, stride: int) -> None:
    for place in range(34, 60):
        words = ["a"] * 100
        words[place : place + 5] = ["nice", *["day"] * 4]
        prediction = tagger(" ".join(words), truncation=TextWindows(stride))
        assert [each.text for each in prediction.entities] == ["nice day day day day"]
        assert prediction.entities[0].start == 2 * place


def test_split_words_of_a_long_text_keep_their_numbers(tagger: TokenClassifier) -> None:
    words = ["a"] * 300
    words[250] = "film"
    (entity,) = tagger(words, is_split_into_words=True).entities
    assert (entity.start_word, entity.end_word, entity.text) == (250, 251, "film")


def test_a_token_has_the_logits_of_the_window_in_which_it_is_farthest_from_a_border() -> None:
    """Windows of 8 tokens with a first and a last special one; 6 of the text, 2 of them shared."""
    whole = Encoding([*range(16)], [0] * 16)
    windows = cut_windows(whole, range(1, 15), 8, 2)
    assert [window.tokens for window in windows] == [
        (0, 1, 2, 3, 4, 5, 6, 15),
        (0, 5, 6, 7, 8, 9, 10, 15),
        (0, 9, 10, 11, 12, 13, 14, 15),
    ]
    assert [window.encoding.input_ids for window in windows] == [
        list(window.tokens) for window in windows
    ]
    outputs = [np.full((8, 1), index, np.float32) for index in range(3)]
    owners = join_tokens(windows, outputs)[:, 0].tolist()
    assert owners == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]


def test_the_last_window_is_as_long_as_the_others() -> None:
    for length in range(9, 40):
        windows = cut_windows(Encoding([*range(length)], [0] * length), range(length), 8, 3)
        assert {len(window.encoding) for window in windows} == {8}
        assert sorted({each for window in windows for each in window.tokens}) == [*range(length)]
        outputs = [np.asarray(window.tokens, np.float32)[:, None] for window in windows]
        assert join_tokens(windows, outputs)[:, 0].tolist() == [*range(length)]


def test_windows_without_special_tokens_have_borders_too() -> None:
    windows = (
        Window(Encoding([0] * 4, [0] * 4), (0, 1, 2, 3)),
        Window(Encoding([0] * 4, [0] * 4), (2, 3, 4, 5)),
    )
    outputs = [np.full((4, 1), index, np.float32) for index in range(2)]
    assert join_tokens(windows, outputs)[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_tokens_are_those_of_a_longer_model_where_weights_are_local(
    tmp_path: Path, folder: Path
) -> None:
    """The same weights in a model that reads the text at once give the same bits."""
    longer = TokenClassifier.from_pretrained(write_word_tagger(tmp_path, TAGS, max_tokens=512))
    tagger = TokenClassifier.from_pretrained(folder)
    text = "a nice day, a film " * 60
    for aggregation in ("none", "simple", "first", "average", "max"):
        one, other = (each(text, aggregation) for each in (tagger, longer))
        assert one.entities == other.entities  # with their scores
        assert (one.num_windows, other.num_windows) == (10, 1)


def test_cut_and_error_are_done_where_they_are_asked_for(tagger: TokenClassifier) -> None:
    text = "a " * 45 + "nice day film"
    cut = tagger(text, truncation="cut")
    assert (cut.truncated, cut.num_tokens, cut.num_windows) == (True, WINDOW, 1)
    assert [each.text for each in cut.entities] == ["nice"]
    with pytest.raises(TooLongError, match="text 1: has more than 48 tokens"):
        tagger(["a", text], truncation="error")


def test_a_left_side_keeps_the_end_of_a_text_that_is_cut(tmp_path: Path) -> None:
    folder = write_word_tagger(tmp_path, TAGS)
    write = {"truncation_side": "left", "model_max_length": WINDOW}
    settings = transformers.BertTokenizer.from_pretrained(folder, **write)
    settings.save_pretrained(folder)
    tagger = TokenClassifier.from_pretrained(folder)
    text = "film" + " a" * 50 + " nice day"
    assert [each.text for each in tagger(text).entities] == ["film", "nice day"]
    cut = tagger(text, truncation="cut")
    assert cut.truncated
    (entity,) = cut.entities
    assert (entity.text, entity.start) == ("nice day", text.index("nice"))


def test_a_window_that_fails_is_the_error_of_its_text(
    tagger: TokenClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tagger.tokenize(["film"])[0].input_ids[1]  # type: ignore[union-attr]
    compute = tagger._compute

    def failing(encodings: list[Encoding]) -> object:
        outputs = compute(encodings)
        return [
            output * np.float32("nan") if bad in encoding.input_ids else output
            for output, encoding in zip(outputs, encodings, strict=True)
        ]

    monkeypatch.setattr(tagger, "_compute", failing)
    texts = ["a nice day", "a " * 100 + "film", "day"]
    first, second, third = tagger.predict_or_errors(texts)
    assert isinstance(second, InputError)
    assert "text 1: the model's logits are not finite" in str(second)
    assert not isinstance(first, InputError)
    assert not isinstance(third, InputError)


@pytest.mark.parametrize(
    ("truncation", "message"),
    [
        (TextWindows(stride=46), "stride must be less than 46"),
        (TextWindows(pooling="max"), r"TextWindows\(pooling='max'\) is for outputs of whole texts"),
        ("none", "truncation must be 'cut', 'error', 'window'"),
    ],
)
def test_other_windows_are_rejected(
    tagger: TokenClassifier, folder: Path, truncation: Truncation, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        tagger("a", truncation=truncation)
    with pytest.raises(OptionError, match=message):
        TokenClassifier.from_pretrained(folder, truncation=truncation)


def test_random_weights_read_the_end_of_a_long_text(tmp_path: Path) -> None:
    """Its tokens do not get the logits of a window that ends before them."""
    classifier = TokenClassifier.from_pretrained(write_token_checkpoint(tmp_path, Tiny("bert")))
    text = "today is a nice day " * 30
    encodings = classifier.tokenize([text, text[:-4] + "film"])
    long, other = classifier.forward(encodings)  # type: ignore[arg-type]
    assert np.array_equal(long[:100], other[:100])
    assert not np.array_equal(long[-30:], other[-30:])
