"""BatchEncoding's words and characters against transformers' own, pickling, and the collator."""

import copy
import pickle
from typing import Any

import pytest
import torch
import transformers
from compat.conftest import Checkpoint
from tiny_checkpoints import Tiny

from isobatch import AutoTokenizer, DataCollatorWithPadding
from isobatch.compat.batch_encoding import BatchEncoding
from isobatch.errors import InputError, OptionError

TEXTS = ["Today is a nice day!", "But what about tomorrow?"]
PAIRS = ["a café", "nice"]


@pytest.fixture(params=["bert", "roberta"])
def both(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> list[Any]:
    folder = checkpoint(Tiny(request.param))
    return [
        AutoTokenizer.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    ]


def test_words_and_characters_are_those_of_transformers(both: list[Any]) -> None:
    for args in ((TEXTS[0],), (TEXTS,), (TEXTS[0], PAIRS[0]), (TEXTS, PAIRS)):
        ours, theirs = (tokenizer(*args, padding=True) for tokenizer in both)
        assert ours.n_sequences == theirs.n_sequences
        assert ours.is_fast is theirs.is_fast is True
        for row in range(len(theirs.encodings)):
            for method in ("tokens", "word_ids", "sequence_ids"):
                assert getattr(ours, method)(row) == getattr(theirs, method)(row)
            for token in range(len(theirs.tokens(row))):
                for method in ("token_to_sequence", "token_to_word", "token_to_chars"):
                    found, expected = (getattr(each, method)(row, token) for each in (ours, theirs))
                    assert found == expected, (method, row, token)
                    assert type(found).__name__ == type(expected).__name__
            for place in range(6):
                for method in ("char_to_token", "char_to_word", "word_to_tokens"):
                    found, expected = (getattr(each, method)(row, place) for each in (ours, theirs))
                    assert found == expected, (method, row, place)
            assert ours.word_to_chars(row, 0) == theirs.word_to_chars(row, 0)
        assert ours.char_to_token(1) == theirs.char_to_token(1)
        assert ours[0].tokens == theirs[0].tokens


def test_rows_and_tokens_that_do_not_exist_are_named(both: list[Any]) -> None:
    encoded = both[0](TEXTS)
    with pytest.raises(InputError, match="no row 2 of 2"):
        encoded.word_ids(2)
    with pytest.raises(InputError, match="no token 99"):
        encoded.token_to_chars(0, 99)
    assert encoded.token_to_word(0, -2) == encoded.word_ids(0)[-2]
    for made in (both[0].pad(dict(encoded)), BatchEncoding({"input_ids": [1]})):
        with pytest.raises(OptionError, match=r"word_ids\(\) needs what tokenizer"):
            made.word_ids()
        assert made[:1] == {name: values[:1] for name, values in made.items()}


def test_copies_and_pickles_are_equal(both: list[Any]) -> None:
    encoded = both[0](TEXTS, padding=True, return_tensors="pt")
    for again in (pickle.loads(pickle.dumps(encoded)), copy.deepcopy(encoded)):
        assert type(again) is BatchEncoding
        assert torch.equal(again.input_ids, encoded.input_ids)
        assert again.word_ids(1) == encoded.word_ids(1)
    lists = both[0](TEXTS, padding=True)
    assert torch.equal(lists.convert_to_tensors("pt").input_ids, encoded.input_ids)


def test_facts_of_a_tokenizer_are_those_of_transformers(both: list[Any]) -> None:
    ours, theirs = both
    for name in (
        "vocab",
        "added_tokens_encoder",
        "max_len_single_sentence",
        "max_len_sentences_pair",
        "pad_token_type_id",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    for pair in (False, True):
        assert ours.num_special_tokens_to_add(pair) == theirs.num_special_tokens_to_add(pair)
    tokens = theirs.tokenize(TEXTS[0])
    assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)
    ids = theirs.encode(TEXTS[0])
    for tokenizer in both:
        mask = tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
        assert mask == [1, *[0] * (len(ids) - 2), 1]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("add_tokens", "in transformers"),
        ("add_special_tokens", "in transformers"),
        ("train_new_from_iterator", "in transformers"),
        ("encode_plus", "Call tokenizer"),
        ("prepare_for_model", "Call tokenizer"),
        ("push_to_hub", "save_pretrained"),
        ("apply_chat_template", "takes texts"),
    ],
)
def test_methods_that_are_not_supported_are_named(method: str, words: str, both: list[Any]) -> None:
    with pytest.raises(OptionError, match=f"tokenizer.{method} is not supported.*{words}"):
        getattr(both[0], method)(["x"])
    with pytest.raises(AttributeError, match="nonsense"):
        both[0].nonsense  # noqa: B018 - the access is the test


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pad_to_max_length": True}, "padding='max_length'"),
        ({"text_target": "a"}, "labels"),
        ({"return_overflowing_tokens": True}, "Cut the text"),
        ({"nonsense": 1}, "supported: text, text_pair, add_special_tokens"),
    ],
)
def test_options_of_a_call_that_are_not_supported_are_named(
    options: dict[str, Any], words: str, both: list[Any]
) -> None:
    with pytest.raises(OptionError, match=words):
        both[0]("a", **options)


def test_neutral_options_of_a_call_are_accepted(both: list[Any]) -> None:
    neutral = {"stride": 0, "is_split_into_words": False, "verbose": False, "text_target": None}
    assert both[0](TEXTS, **neutral) == both[0](TEXTS)


def test_the_collator_is_that_of_transformers(both: list[Any]) -> None:
    ours, theirs = both
    for label in ("label", "label_ids", "labels"):
        rows = [{**theirs(text), label: index} for index, text in enumerate(TEXTS)]
        found = DataCollatorWithPadding(ours, pad_to_multiple_of=8)(rows)
        expected = transformers.DataCollatorWithPadding(theirs, pad_to_multiple_of=8)(rows)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(
        transformers.DataCollatorWithPadding(ours)(rows)["input_ids"],
        transformers.DataCollatorWithPadding(theirs)(rows)["input_ids"],
    )
