"""The drop-in tokenizer against transformers' own, on tiny tokenizers of every kind."""

import copy
import inspect
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_folders import (
    SENTENCES,
    write_bpe_folder,
    write_llama_folder,
    write_unigram_folder,
    write_wordpiece_folder,
)

from isobatch.compat.batch_encoding import BatchEncoding
from isobatch.compat.tokenizer import AutoTokenizer, Tokenizer
from isobatch.errors import InputError, IsobatchError, IsobatchWarning, OptionError

LESSON = ["Today is a nice day!", "But what about tomorrow? Im not sure."]
LONG = "Today is not sure, but what about a nice day tomorrow? " * 4
SHORT_AND_LONG = ["nice", *LESSON, "", LONG]
Both = tuple[Tokenizer, Any]
"""Our tokenizer and transformers', of the same folder."""

WRITERS = {
    "bert": lambda folder: write_wordpiece_folder(folder, "bert"),
    "bert, cased": lambda folder: write_wordpiece_folder(folder, "bert", lowercase=False),
    "bert, vocab.txt": lambda folder: write_wordpiece_folder(folder, "bert", tokenizer_json=False),
    "distilbert": lambda folder: write_wordpiece_folder(folder, "distilbert"),
    "electra": lambda folder: write_wordpiece_folder(folder, "electra"),
    "roberta": lambda folder: write_bpe_folder(folder),
    "roberta, merges.txt": lambda folder: write_bpe_folder(folder, tokenizer_json=False),
    "xlm-roberta": lambda folder: write_unigram_folder(folder),
    "camembert": lambda folder: write_unigram_folder(folder, "camembert"),
}

DISTINCT = ("bert", "distilbert", "roberta", "xlm-roberta")
"""Kinds tested with every option; the others differ from them in files only."""

INPUTS = {
    "one text": (LESSON[0],),
    "an empty text": ("",),
    "one pair": (LESSON[1], SENTENCES[2]),
    "a pair of which one is empty": (LESSON[0], ""),
    "batch": (SHORT_AND_LONG,),
    "tuple": (tuple(LESSON),),
    "two lists": (LESSON, list(SENTENCES[2:4])),
    "list of pairs": ([(LESSON[0], "nice"), ("", SENTENCES[2])],),
    "list of lists of two": ([[LESSON[0], "nice"], ["a", "b"]],),
    "texts and pairs": ([LESSON[0], ("nice", "day"), "a"],),
}
PADDINGS = (False, True, "max_length", "do_not_pad")
TRUNCATIONS = (None, False, True, "only_first", "only_second")
MAX_LENGTHS = (None, 6, 20)
EXTRAS = (
    {},
    {"return_length": True, "return_special_tokens_mask": True, "return_offsets_mapping": True},
    {"return_token_type_ids": True, "return_attention_mask": False},
    {"return_token_type_ids": False, "add_special_tokens": False},
)


def write(name: str, folder: Path) -> Path:
    return WRITERS[name](folder)


def load_both(folder: Path) -> Both:
    return AutoTokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Both]:
    return {name: load_both(write(name, tmp_path_factory.mktemp("folder"))) for name in WRITERS}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The tokenizers library's threads cost more than they save on texts as short as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        yield


@pytest.fixture(params=list(WRITERS))
def both(request: pytest.FixtureRequest, all_of_them: dict[str, Both]) -> Both:
    return all_of_them[request.param]


@pytest.fixture
def bert(all_of_them: dict[str, Both]) -> Tokenizer:
    return all_of_them["bert"][0]


def result_of(call: Any, *args: Any, **options: Any) -> Any:
    """The result of a call, or the error that it raises; warnings have their own tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return call(*args, **options)
        except Exception as error:  # noqa: BLE001 - every error is compared
            return error


def assert_same(ours: Any, theirs: Any) -> None:
    """The same keys in the same order, and values of the same kind, dtype, shape and content."""
    assert not isinstance(ours, Exception), ours
    assert list(ours) == list(theirs)
    assert str(ours) == str(theirs)
    for key, value in theirs.items():
        assert type(ours[key]) is type(value), key
        if isinstance(value, list):
            assert ours[key] == value, key
        else:
            assert ours[key].dtype == value.dtype, key
            assert ours[key].tolist() == value.tolist(), key
            assert ours[key].shape == value.shape, key


def assert_agree(both: Both, *args: Any, **options: Any) -> None:
    """Both raise, or both return the same; ragged object arrays are rejected by us alone."""
    ours, theirs = (result_of(one, *args, **options) for one in both)
    if is_rejected(theirs):
        assert isinstance(ours, IsobatchError), (args, options, theirs)
        assert isinstance(ours, ValueError)
    else:
        assert_same(ours, theirs)


def is_rejected(theirs: Any) -> bool:
    return isinstance(theirs, Exception) or str(getattr(theirs.input_ids, "dtype", "")) == "object"


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("kind", DISTINCT)
def test_every_option_does_what_it_does_in_transformers(
    all_of_them: dict[str, Both], kind: str, name: str
) -> None:
    for padding, truncation, max_length in itertools.product(PADDINGS, TRUNCATIONS, MAX_LENGTHS):
        tensors = {True: "pt", "max_length": "np"}.get(padding)
        options = {"padding": padding, "truncation": truncation, "max_length": max_length}
        assert_agree(all_of_them[kind], *INPUTS[name], **options, return_tensors=tensors)


@pytest.mark.parametrize("name", ["one text", "batch", "list of pairs"])
@pytest.mark.parametrize("kind", DISTINCT)
def test_sides_multiples_and_columns_are_those_of_transformers(
    all_of_them: dict[str, Both], kind: str, name: str
) -> None:
    for side, multiple, padding, extra in itertools.product(
        (None, "left"), (None, 4), (False, "longest", "max_length"), EXTRAS
    ):
        options = {"padding": padding, "padding_side": side, "pad_to_multiple_of": multiple}
        for cut in ({}, {"truncation": True, "max_length": 8}):
            assert_agree(all_of_them[kind], *INPUTS[name], **options, **cut, **extra)


texts = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from([*" ".join(SENTENCES).split(), "[SEP]", "</s>", "[PAD]", "\u00a0", "İ"]),
        max_size=12,
    ).map(" ".join),
)
inputs = st.one_of(
    texts.map(lambda text: (text,)),
    st.tuples(texts, texts),
    st.lists(texts, min_size=1, max_size=4).map(lambda rows: (rows,)),
    st.lists(st.tuples(texts, texts), min_size=1, max_size=4).map(lambda rows: (rows,)),
)
options = st.fixed_dictionaries(
    {},
    optional={
        "padding": st.sampled_from([*PADDINGS, "longest", "wrong"]),
        "truncation": st.sampled_from([*TRUNCATIONS, "longest_first", "do_not_truncate", "wrong"]),
        "max_length": st.integers(4, 40),
        "pad_to_multiple_of": st.integers(1, 9),
        "padding_side": st.sampled_from(["left", "right"]),
        "return_tensors": st.sampled_from([None, "pt", "np"]),
        "add_special_tokens": st.booleans(),
        "return_token_type_ids": st.booleans(),
        "return_attention_mask": st.booleans(),
        "return_special_tokens_mask": st.booleans(),
        "return_offsets_mapping": st.booleans(),
        "return_length": st.booleans(),
    },
)


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(list(WRITERS)), given_inputs=inputs, given_options=options)
def test_any_text_with_any_options_is_as_in_transformers(
    all_of_them: dict[str, Both],
    name: str,
    given_inputs: tuple[Any, ...],
    given_options: dict[str, Any],
) -> None:
    assert_agree(all_of_them[name], *given_inputs, **given_options)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(list(WRITERS)), text=texts, flag=st.booleans(), tidy=st.booleans())
def test_tokens_ids_and_text_are_converted_as_in_transformers(
    all_of_them: dict[str, Both], name: str, text: str, flag: bool, tidy: bool
) -> None:
    ours, theirs = all_of_them[name]
    tokens = theirs.tokenize(text, add_special_tokens=flag)
    ids = theirs.encode(text)
    assert ours.tokenize(text, add_special_tokens=flag) == tokens
    assert result_of(ours.encode, text) == ids
    assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
    assert ours.convert_ids_to_tokens(ids, flag) == theirs.convert_ids_to_tokens(ids, flag)
    how = {"skip_special_tokens": flag, "clean_up_tokenization_spaces": tidy}
    assert ours.decode(ids, **how) == theirs.decode(ids, **how)


def test_the_lesson_prints_as_in_the_lesson(all_of_them: dict[str, Both]) -> None:
    ours, theirs = all_of_them["distilbert"]
    inputs = ours(LESSON, padding=True, return_tensors="pt")
    assert str(inputs) == str(theirs(LESSON, padding=True, return_tensors="pt"))
    assert list({**inputs}) == ["input_ids", "attention_mask"]
    assert inputs.input_ids is inputs["input_ids"]
    assert inputs.input_ids[0, 8:].tolist() == [0, 0, 0]
    assert inputs.attention_mask.tolist() == [[1] * 8 + [0] * 3, [1] * 11]
    assert inputs.tokens(0)[:2] == ["[CLS]", "today"]
    assert inputs.tokens(0)[-4:] == ["[SEP]", "[PAD]", "[PAD]", "[PAD]"]


def test_token_type_ids_of_distilbert_depend_on_the_class_that_its_tokenizer_states(
    tmp_path: Path,
) -> None:
    """transformers 5 takes a BertTokenizer for DistilBERT, whose model ignores token types."""
    classes = ("DistilBertTokenizer", "BertTokenizer", "PreTrainedTokenizerFast", None)
    for stated, typed in zip(classes, (False, True, False, True), strict=True):
        options = {"tokenizer_class": stated}
        folder = write_wordpiece_folder(tmp_path / str(stated), "distilbert", options=options)
        both = load_both(folder)
        assert ("token_type_ids" in both[0].model_input_names) is typed
        assert_agree(both, LESSON)


def test_model_input_names_are_taken_from_tokenizer_config_where_it_states_them(
    tmp_path: Path,
) -> None:
    stated = ["input_ids", "attention_mask"]
    both = load_both(write_wordpiece_folder(tmp_path, options={"model_input_names": stated}))
    assert both[0].model_input_names == stated
    assert_agree(both, LESSON)


def test_a_folder_without_config_json_is_judged_by_its_tokenizer_class(tmp_path: Path) -> None:
    for model_type, typed in (("bert", True), ("electra", True), ("distilbert", False)):
        folder = write_wordpiece_folder(tmp_path / model_type, model_type)
        (folder / "config.json").unlink()
        names = AutoTokenizer.from_pretrained(folder).model_input_names
        assert ("token_type_ids" in names) is typed


ATTRIBUTES = (
    *(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")),
    *(f"{name}_token_id" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")),
    "vocab_size",
    "model_max_length",
    "model_input_names",
    "padding_side",
    "truncation_side",
    "special_tokens_map",
    "is_fast",
    "name_or_path",
)


def test_attributes_are_those_of_transformers(both: Both) -> None:
    ours, theirs = both
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.get_vocab().items() <= theirs.get_vocab().items()
    assert repr(ours).startswith("Tokenizer(name_or_path=")
    if "NOTUSED" not in str(theirs.all_special_tokens):  # transformers adds CamemBERT's by itself
        assert len(ours) == len(theirs)
        assert ours.all_special_tokens == theirs.all_special_tokens
        assert ours.all_special_ids == theirs.all_special_ids


def test_the_pad_token_can_be_set_to_a_token_of_the_vocabulary(tmp_path: Path) -> None:
    folder = write_llama_folder(tmp_path / "llama")
    ours, theirs = load_both(folder)
    with pytest.raises(OptionError, match=r"no pad token. Set one, such as tokenizer.pad_token ="):
        ours(LESSON, padding=True)
    for tokenizer in (ours, theirs):
        tokenizer.pad_token = tokenizer.eos_token
    assert_same(ours(LESSON, padding=True), theirs(LESSON, padding=True))
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.pad_token_id == theirs.pad_token_id == ours.eos_token_id
    ours.pad_token_id = theirs.pad_token_id = ours.unk_token_id
    assert ours.pad_token == theirs.pad_token
    ours.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").pad_token == ours.unk_token
    for token in ("<no such token>", 7.5):
        with pytest.raises(OptionError, match="is not in the vocabulary"):
            ours.pad_token = token
    with pytest.raises(OptionError, match="is not in the vocabulary"):
        ours.pad_token_id = len(ours)


@pytest.mark.parametrize("name", ["cls_token", "eos_token_id", "add_bos_token", "do_lower_case"])
def test_what_would_change_the_ids_of_a_text_cannot_be_set(bert: Tokenizer, name: str) -> None:
    with pytest.raises(OptionError, match=f"tokenizer.{name.removesuffix('_id')} cannot be set"):
        setattr(bert, name, "[UNK]")
    assert bert.cls_token == "[CLS]"


def test_decode_and_convert_take_lists_arrays_tensors_and_batches(both: Both) -> None:
    ours, theirs = both
    row = theirs.encode(LESSON[0])
    batch = theirs(LESSON, padding=True, return_tensors="pt").input_ids
    for ids in (row, tuple(row), np.array(row), torch.tensor(row), row[0], batch, batch.tolist()):
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.batch_decode(ids) == theirs.batch_decode(ids)
        assert ours.batch_decode(ids, True) == theirs.batch_decode(ids, True)
    for ids in (row, np.array(row), torch.tensor(row), row[0], 10_000_000, []):
        assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)
    assert ours.decode([]) == theirs.decode([])
    assert ours.convert_tokens_to_ids("no such") == theirs.convert_tokens_to_ids("no such")


def test_encode_and_tokenize_take_pairs_and_options(both: Both) -> None:
    ours, theirs = both
    for options in ({}, {"max_length": 7}, {"padding": "max_length"}, {"return_tensors": "np"}):
        one, other = (t.encode(*LESSON, **options) for t in both)
        assert type(one) is type(other)
        assert list(np.ravel(one)) == list(np.ravel(other))
    for pair in (LESSON, (LESSON[0], None), (LESSON[0], "")):
        assert ours.tokenize(*pair) == theirs.tokenize(*pair)
        assert ours.tokenize(*pair, True) == theirs.tokenize(*pair, True)
    assert ours(LESSON).tokens(1) == theirs(LESSON).tokens(1)


def paddable(tokenizer: Any) -> list[Any]:
    """Inputs of tokenizer.pad: one encoding, a batch, a list; lists, arrays, tensors."""
    batch = tokenizer(LESSON)
    listed = [tokenizer(text, return_special_tokens_mask=True) for text in LESSON]
    labelled = [{**encoding, "label": index} for index, encoding in enumerate(listed)]
    tensors = [{key: torch.tensor(row) for key, row in one.items()} for one in listed]
    arrays = [{key: np.array(row) for key, row in one.items()} for one in listed]
    bare = {"input_ids": batch["input_ids"], "labels": [0.5, 1.0]}
    rectangle = tokenizer([LESSON[0]] * 2, return_tensors="pt")
    return [batch, listed, labelled, tensors, arrays, bare, rectangle, listed[0], tuple(listed)]


def test_pad_agrees_with_transformers(both: Both) -> None:
    for index, options in itertools.product(
        range(len(paddable(both[0]))),
        (
            {},
            {"padding": "max_length", "max_length": 15},
            {"padding": "max_length"},
            {"padding": "max_length", "max_length": 5},
            {"padding": False},
            {"pad_to_multiple_of": 8, "padding_side": "left"},
            {"return_tensors": "pt"},
            {"return_tensors": "np"},
        ),
    ):
        ours, theirs = (result_of(one.pad, paddable(one)[index], **options) for one in both)
        if is_rejected(theirs):
            assert isinstance(ours, OptionError)
        else:
            assert_same(ours, theirs)


def test_pad_leaves_its_input_unchanged(bert: Tokenizer) -> None:
    for given_encodings in paddable(bert):
        before = copy.deepcopy(given_encodings)
        bert.pad(given_encodings, padding="max_length", max_length=30)
        assert str(given_encodings) == str(before)


def test_pad_without_a_mask_returns_none(bert: Tokenizer) -> None:
    padded = bert.pad(bert(LESSON), return_attention_mask=False, return_tensors="pt")
    assert list(padded) == ["input_ids", "token_type_ids"]


def test_transformers_own_collator_works_with_our_tokenizer(both: Both) -> None:
    batches = [
        transformers.DataCollatorWithPadding(one)([dict(one(text)) for text in LESSON])
        for one in both
    ]
    assert_same(*batches)


def test_sides_of_tokenizer_config_or_of_from_pretrained_hold(tmp_path: Path) -> None:
    sides = {"padding_side": "left", "truncation_side": "left"}
    for index, (stated, requested) in enumerate(((sides, {}), ({}, sides))):
        folder = write_wordpiece_folder(tmp_path / str(index), options=stated)
        both = (
            AutoTokenizer.from_pretrained(folder, **requested),
            transformers.AutoTokenizer.from_pretrained(folder, **requested),
        )
        assert both[0].padding_side == both[0].truncation_side == "left"
        assert_agree(both, SHORT_AND_LONG, padding=True, truncation=True, max_length=7)
        for tokenizer in both:
            tokenizer.padding_side = tokenizer.truncation_side = "right"
        assert_agree(both, SHORT_AND_LONG, padding=True, truncation=True, max_length=7)


def test_a_length_and_padding_switched_on_in_tokenizer_json_are_ignored(tmp_path: Path) -> None:
    folder = write_wordpiece_folder(tmp_path)
    plain = AutoTokenizer.from_pretrained(folder)(LESSON)
    raw = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    raw["truncation"] = {
        "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    raw["padding"] = {
        "strategy": {"Fixed": 5}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(raw), "utf-8")
    both = load_both(folder)
    assert both[0](LESSON) == plain
    assert_agree(both, SHORT_AND_LONG)


@pytest.mark.parametrize("name", WRITERS)
def test_a_saved_tokenizer_is_the_same_here_and_in_transformers(name: str, tmp_path: Path) -> None:
    folder = write(name, tmp_path / "first")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer(LESSON, truncation=True, max_length=4)  # must not be saved
    files = tokenizer.save_pretrained(tmp_path / "saved" / "deep")
    assert sorted(Path(file).name for file in files) == ["tokenizer.json", "tokenizer_config.json"]
    saved = Path(files[0]).parent
    again = AutoTokenizer.from_pretrained(saved)
    (saved / "config.json").write_bytes((folder / "config.json").read_bytes())
    theirs = transformers.AutoTokenizer.from_pretrained(saved)
    for options in ({}, {"padding": True}, {"truncation": True}, {"padding": "max_length"}):
        expected = result_of(tokenizer, SHORT_AND_LONG, **options)
        assert_same(result_of(again, SHORT_AND_LONG, **options), expected)
        assert_same(result_of(theirs, SHORT_AND_LONG, **options), expected)
    assert again.special_tokens_map == tokenizer.special_tokens_map
    assert again.model_max_length == tokenizer.model_max_length == 48


def test_a_tokenizer_without_a_class_is_saved_so_that_nothing_is_guessed(
    tmp_path: Path,
) -> None:
    options = {"tokenizer_class": None, "do_lower_case": False}
    folder = write_wordpiece_folder(
        tmp_path / "first", "distilbert", lowercase=False, tokenizer_json=False, options=options
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_bytes((folder / "config.json").read_bytes())
    for again in load_both(tmp_path / "saved"):
        assert_same(again(LESSON, padding=True), tokenizer(LESSON, padding=True))


def test_saving_keeps_options_but_no_paths(tmp_path: Path) -> None:
    stated = {"name_or_path": "/home/someone", "strip_accents": True, "tokenizer_class": None}
    folder = write_bpe_folder(tmp_path / "first", options=stated)
    special = {"additional_special_tokens": ["<s>", "a", "none such"], "pad_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special), "utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.all_special_tokens[-2:] == ["a", "none such"]
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text("utf-8"))
    assert "name_or_path" not in saved
    assert saved["strip_accents"] is True
    (tmp_path / "saved" / "config.json").write_bytes((folder / "config.json").read_bytes())
    for again in load_both(tmp_path / "saved"):
        assert again.all_special_tokens == tokenizer.all_special_tokens
        assert again.pad_token == "<unk>"
        assert_same(again("a none such"), tokenizer("a none such"))


def remove_special_tokens(folder: Path) -> Path:
    """A tokenizer.json that is used as it is and names no special tokens."""
    options = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(options), "utf-8")
    return folder


def test_without_a_pad_token_padding_is_rejected_and_nothing_is_guessed(tmp_path: Path) -> None:
    folder = remove_special_tokens(write_wordpiece_folder(tmp_path))
    tokenizer, theirs = load_both(folder)
    assert tokenizer.pad_token is theirs.pad_token is None
    assert tokenizer.pad_token_id is None
    assert len(tokenizer(LESSON).input_ids) == 2
    with pytest.raises(OptionError, match="no pad token"):
        tokenizer(LESSON, padding=True)
    with pytest.raises(OptionError, match="no pad token"):
        tokenizer.pad(tokenizer(LESSON))
    named = AutoTokenizer.from_pretrained(folder, pad_token="[PAD]")
    assert named(LESSON, padding=True).input_ids[0][-1] == named.pad_token_id == 0


def test_special_tokens_map_takes_precedence_over_tokenizer_config(tmp_path: Path) -> None:
    folder = write_bpe_folder(tmp_path, options={"unk_token": "<s>", "mask_token": "none such"})
    special = {"unk_token": "<pad>", "pad_token": {"content": "<unk>"}, "cls_token": "a new one"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special), "utf-8")
    ours, theirs = load_both(folder)
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.special_tokens_map["unk_token"] == "<pad>"
    assert ours.mask_token_id == theirs.mask_token_id == len(ours) - 1
    assert_agree((ours, theirs), [*LESSON, "none such as a new one"])


def test_without_a_limit_nothing_is_truncated_and_a_warning_says_so(tmp_path: Path) -> None:
    ours, theirs = load_both(write_wordpiece_folder(tmp_path, options={"model_max_length": None}))
    assert ours.model_max_length == theirs.model_max_length == int(1e30)
    for options in ({"truncation": True}, {"padding": "max_length"}):
        with pytest.warns(IsobatchWarning, match="no model_max_length; pass max_length"):
            assert_same(ours(SHORT_AND_LONG, **options), theirs(SHORT_AND_LONG, **options))
    with pytest.warns(IsobatchWarning, match="no model_max_length"):
        ours(LESSON, truncation=True, max_length=ours.model_max_length)
    assert ours("nice", truncation=True, max_length=3).input_ids == ours("nice").input_ids


def test_warnings_point_at_the_script(bert: Tokenizer) -> None:
    calls = (
        (lambda: bert(LESSON, padding=True, max_length=8), "max_length is ignored"),
        (lambda: bert(LESSON, max_length=8, truncation=False), "max_length is ignored"),
        (lambda: bert(LESSON, pad_to_multiple_of=8), "pad_to_multiple_of is ignored"),
        (lambda: bert.pad(bert(LESSON), max_length=8), "max_length is ignored"),
        (lambda: bert(SHORT_AND_LONG), "text 4: has 54 tokens, but the model accepts 48"),
    )
    for call, message in calls:
        with pytest.warns(IsobatchWarning, match=message) as caught:
            call()
        assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((None,), "must be a string or a list"),
        ((7,), "must be a string or a list"),
        ((iter(LESSON),), "must be a string or a list"),
        ((["a", None],), "text 1: expected a string"),
        ((["a", "b", 3],), "text 2: expected a string"),
        (([["a", "b", "c"]],), "text 0: expected a string"),
        ((["a", "b"], "c"), "list of 2 strings"),
        ((["a", "b"], ["c"]), "list of 2 strings"),
        (("a", ["c"]), "text 0: expected"),
        (([("a", "b")], ["c"]), "text 0: expected"),
        (("\ud800",), "text 0: character 0 is a lone surrogate"),
        ((["a", "b", "ab\udfff"],), "text 2: character 2 is a lone surrogate"),
        ((["a", ("b", "c\udc00")],), "text 1: character 1 is a lone surrogate"),
    ],
)
def test_non_string_texts_are_rejected_with_their_index(
    bert: Tokenizer, args: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        bert(*args)


def test_tokenize_takes_one_text_alone(bert: Tokenizer) -> None:
    with pytest.raises(InputError, match="tokenize\\(\\) takes one text, got list"):
        bert.tokenize(LESSON)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "wrong"}, "padding must be one of False, 'do_not_pad', True"),
        ({"padding": None}, "padding must be one of"),
        ({"padding": ["longest"]}, "padding must be one of"),
        ({"truncation": "wrong"}, "truncation must be one of"),
        ({"padding": True, "padding_side": "up"}, "padding_side must be 'right' or 'left'"),
        ({"max_length": 0}, "max_length must be a positive integer"),
        ({"max_length": -3, "truncation": True}, "max_length must be a positive integer"),
        ({"max_length": True}, "max_length must be a positive integer"),
        ({"max_length": 2.5}, "max_length must be a positive integer"),
        ({"padding": True, "pad_to_multiple_of": 0}, "pad_to_multiple_of must be a positive"),
        ({"max_length": 1}, "no room for the 2 special tokens"),
        ({"return_tensors": "tf"}, "must be 'pt', 'np' or None"),
        ({"return_tensors": "pt"}, "use padding=True"),
        ({"return_tensors": "np"}, "rows of 8 to 11 tokens do not form a tensor"),
        (
            {"padding": True, "truncation": True, "max_length": 6, "pad_to_multiple_of": 4},
            "cannot be padded to a multiple of 4",
        ),
    ],
)
def test_invalid_options_are_rejected(
    bert: Tokenizer, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        bert(LESSON, **options)


def test_an_untruncatable_text_is_named(bert: Tokenizer) -> None:
    rows = [("a", "b"), ("nice", SENTENCES[2])]
    with pytest.raises(
        InputError, match=r"text 1: cannot be truncated to 8 tokens by 'only_first'"
    ):
        bert(rows, truncation="only_first", max_length=8)
    with pytest.raises(
        InputError, match=r"text 0: cannot be truncated to 6 tokens by 'only_second'"
    ):
        bert(LESSON[0], truncation="only_second", max_length=6)


@pytest.mark.parametrize("ids", [[1, -1], [2**40], [1.5], ["a"], -1])
def test_invalid_ids_are_rejected(bert: Tokenizer, ids: Any) -> None:
    with pytest.raises(InputError, match="invalid token id at position"):
        bert.decode(ids)


@pytest.mark.parametrize(
    ("encodings", "message"),
    [
        ({}, "pad\\(\\) needs input_ids \\(got nothing\\)"),
        ([{"ids": [1]}], "needs input_ids \\(got ids\\)"),
        ([{"input_ids": [1], "label": 0}, {"input_ids": [2]}], "encoding 1: has no label"),
        ({"input_ids": [[1], [2]], "labels": [1]}, "labels: must have one entry for each of the 2"),
        ({"input_ids": [[1], [2]], "labels": 1}, "labels: must have one entry"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1]]}, "attention_mask: row 0 must be as long"),
    ],
)
def test_pad_rejects_inconsistent_encodings(bert: Tokenizer, encodings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bert.pad(encodings)


def test_text_columns_cannot_become_tensors(bert: Tokenizer) -> None:
    with pytest.raises(OptionError, match="name: cannot be converted to a tensor"):
        bert.pad([{"input_ids": [1], "name": "a"}], return_tensors="pt")
    with pytest.raises(OptionError, match="extra: cannot be converted to a tensor"):
        bert.pad([{"input_ids": [1], "extra": None}], return_tensors="np")


def test_an_empty_list_gives_no_rows(bert: Tokenizer) -> None:
    assert bert([]) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    for tensors in ("pt", "np"):
        assert bert([], padding=True, return_tensors=tensors).input_ids.shape == (0, 0)
    assert bert.pad([]) == {"input_ids": [], "attention_mask": []}


def test_unknown_keywords_are_never_dropped(bert: Tokenizer, tmp_path: Path) -> None:
    folder = write_wordpiece_folder(tmp_path)
    for wrong in ({"subfolder": "a"}, {"cache_dir": "b"}, {"do_lowercase": False}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            AutoTokenizer.from_pretrained(folder, **wrong)
    for wrong in ({"stride": 2}, {"paddding": True}):
        for call in (bert, bert.encode):
            with pytest.raises(OptionError, match=f"{next(iter(wrong))}"):
                call("a", **wrong)


def test_settings_are_taken_from_the_keywords_of_from_pretrained(tmp_path: Path) -> None:
    folder = write_wordpiece_folder(tmp_path)
    for options in (
        {"model_max_length": 9, "truncation_side": "left"},
        {"do_lower_case": False},
        {"pad_token": "[UNK]", "additional_special_tokens": ["nice"]},
        {"model_input_names": ["input_ids"]},
    ):
        ours = AutoTokenizer.from_pretrained(folder, **options)
        theirs = transformers.AutoTokenizer.from_pretrained(folder, **options)
        assert_same(ours(LESSON, truncation=True), theirs(LESSON, truncation=True))
        assert ours.all_special_ids == theirs.all_special_ids


def test_use_fast_must_be_true(tmp_path: Path) -> None:
    folder = write_wordpiece_folder(tmp_path)
    assert AutoTokenizer.from_pretrained(str(folder), use_fast=True)("a").input_ids
    with pytest.raises(OptionError, match="use_fast=False"):
        AutoTokenizer.from_pretrained(folder, use_fast=False)
    with pytest.raises(OptionError, match="padding_side must be"):
        AutoTokenizer.from_pretrained(folder, padding_side="middle")


def test_threads_do_not_see_each_others_truncation(bert: Tokenizer) -> None:
    text = "nice " * 20

    def length(limit: int) -> int:
        return len(bert(text, truncation=True, max_length=limit).input_ids)

    limits = [3 + index % 20 for index in range(400)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(length, limits)) == limits


def test_a_batch_encoding_is_a_dict_with_attributes(bert: Tokenizer) -> None:
    inputs = bert(LESSON, padding=True, return_tensors="pt")
    assert isinstance(inputs, Mapping)
    assert inputs.to("cpu") is inputs
    assert inputs.to(torch.device("cpu"))["input_ids"].device.type == "cpu"
    with pytest.raises(OptionError, match="takes a device"):
        inputs.to(torch.float16)
    with pytest.raises(AttributeError, match=r"no 'labels' .* input_ids, token_type_ids"):
        inputs.labels  # noqa: B018 - the access is the test
    with pytest.raises(KeyError):
        inputs["labels"]
    assert copy.copy(inputs) == inputs
    assert copy.deepcopy(BatchEncoding({"a": [1]})).a == [1]
    inputs["labels"] = torch.tensor([1, 0])
    assert inputs.labels.tolist() == [1, 0]
    with pytest.raises(OptionError, match="pad\\(\\) and scripts keep no tokens"):
        bert.pad(inputs).tokens()
    assert bert(LESSON).to("cpu") == bert(LESSON)


def test_a_call_takes_the_parameters_of_transformers_under_their_names() -> None:
    ours = dict(inspect.signature(Tokenizer.__call__).parameters)
    del ours["positional"]  # only to reject them by name
    theirs = inspect.signature(transformers.BertTokenizer.__call__).parameters
    assert ours.keys() <= theirs.keys()
    assert {name: ours[name].default for name in ours if name != "text"} == {
        name: theirs[name].default for name in ours if name != "text"
    }
