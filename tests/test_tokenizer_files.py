"""Any combination of tokenizer files gives the ids of transformers, or is rejected.

A generator draws which files a folder has and what they say, contradictions included. The negative
controls are readers with the faults that users have met; the generator must find each of them.
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from tokenizer_folders import (
    write_albert_folder,
    write_bpe_folder,
    write_deberta_folder,
    write_llama_folder,
    write_qwen_folder,
    write_unigram_folder,
    write_wordpiece_folder,
)
from tokenizers import Tokenizer, processors

from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer, read_tokenizer
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.compat import AutoTokenizer
from isobatch.errors import CheckpointError
from isobatch.types import TextInput

TEXTS: tuple[TextInput, ...] = (
    "Today is a nice day!",
    "TODAY Café naïve 今日は good",
    "a <s>NOTUSED [URL] good [MASK] <mask> [url] nice",
    "  two  spaces [SEP] </s> <new>x",
    "",
    " ".join(["today", "is", "a", "nice", "day"] * 6),
    ("Today", "a nice day"),
    (" ".join(["today"] * 20), " ".join(["nice day"] * 9)),
)
LIMIT = 32
"""Tokens that the model takes; folders without a limit of their own are cut to it."""

WRITERS: Mapping[str, Callable[..., Path]] = {
    "bert": write_wordpiece_folder,
    "distilbert": write_wordpiece_folder,
    "electra": write_wordpiece_folder,
    "mpnet": write_wordpiece_folder,
    "roberta": write_bpe_folder,
    "xlm-roberta": write_unigram_folder,
    "camembert": write_unigram_folder,
    "albert": write_albert_folder,
    "deberta-v2": write_deberta_folder,
    "qwen3": write_qwen_folder,
    "qwen2": write_qwen_folder,
    "llama": write_llama_folder,
    "llama 3": partial(write_llama_folder, byte_level=True),
}
OWN_CLASSES = {
    "bert": ("BertTokenizer", "BertTokenizerFast"),
    "distilbert": ("DistilBertTokenizer", "DistilBertTokenizerFast", "BertTokenizer"),
    "electra": ("ElectraTokenizer", "ElectraTokenizerFast"),
    "mpnet": ("MPNetTokenizer", "MPNetTokenizerFast"),
    "roberta": ("RobertaTokenizer", "RobertaTokenizerFast", "BartTokenizer"),
    "xlm-roberta": ("XLMRobertaTokenizer", "XLMRobertaTokenizerFast"),
    "camembert": ("CamembertTokenizer", "CamembertTokenizerFast"),
    "albert": ("AlbertTokenizer", "AlbertTokenizerFast"),
    "deberta-v2": ("DebertaV2Tokenizer", "DebertaV2TokenizerFast"),
    "qwen3": ("Qwen2Tokenizer", "Qwen2TokenizerFast"),
    "qwen2": ("Qwen2Tokenizer", "LlamaTokenizerFast"),
    "llama": ("LlamaTokenizer", "LlamaTokenizerFast"),
    "llama 3": ("PreTrainedTokenizerFast", "LlamaTokenizer"),
}
PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizer")
UNSUPPORTED = ("BertweetTokenizer", "NoSuchTokenizer")

Files = Mapping[str, str]


@cache
def base_files(model_type: str) -> Files:
    """The files of a tiny tokenizer of that family, as texts."""
    with tempfile.TemporaryDirectory() as place:
        folder = WRITERS[model_type](Path(place), model_type.partition(" ")[0])
        return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def token(content: str, *, typed: bool = True, **flags: bool) -> dict[str, object]:
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    object_type = {"__type": "AddedToken"} if typed else {}
    return {"content": content, **dict.fromkeys(names, False), **flags, **object_type}


def tokens(*, typed: bool) -> st.SearchStrategy[object]:
    content = st.sampled_from(["[URL]", "[CLS]", "<s>", "[MASK]", "nice", "<new>", "[PAD]"])
    flags = st.fixed_dictionaries(
        {},
        optional={"lstrip": st.booleans(), "normalized": st.booleans(), "special": st.just(True)},
    )
    objects = st.builds(lambda text, chosen: token(text, typed=typed, **chosen), content, flags)
    return content | objects


NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
OPTIONS: Mapping[str, st.SearchStrategy[object]] = {
    "do_lower_case": st.sampled_from([True, False, False, "yes", None]),
    "strip_accents": st.sampled_from([True, False, None]),
    "tokenize_chinese_chars": st.booleans(),
    "add_prefix_space": st.booleans(),
    "split_by_punct": st.booleans(),
    "trim_offsets": st.booleans(),
    "model_max_length": st.sampled_from([9, 16, 20.0, int(1e30), None, 0, "16"]),
    "max_len": st.sampled_from([12, 24]),
    "truncation_side": st.sampled_from(["left", "right", "left", "middle"]),
    "padding_side": st.sampled_from(["left", "right"]),
    "model_input_names": st.sampled_from(
        [["input_ids", "attention_mask"], ["input_ids", "token_type_ids"], ["input_ids"]]
    ),
    "split_special_tokens": st.booleans(),
    "clean_up_tokenization_spaces": st.booleans(),
    "additional_special_tokens": st.lists(tokens(typed=True), max_size=2),
    "extra_special_tokens": st.lists(tokens(typed=True), max_size=2)
    | st.sampled_from([{"image_token": "[URL]"}, {"cls_token": "nice"}]),
    "image_token": tokens(typed=True),
    "added_tokens_decoder": st.dictionaries(
        st.sampled_from(["5", "300", "301", "0"]),
        tokens(typed=False).map(lambda each: each if isinstance(each, dict) else token(each)),
        max_size=2,
    ),
    "never_split": st.just(["nice"]),
    "name_or_path": st.just("someone/else"),
    "add_bos_token": st.booleans(),
    **{f"{name}_token": tokens(typed=True) | st.none() for name in NAMES},
}
REJECTED_OPTIONS: Mapping[str, st.SearchStrategy[object]] = {
    "add_special_tokens": st.booleans(),
    "auto_map": st.just({"AutoTokenizer": ["a.B", "a.C"]}),
    "vocab": st.just({"a": 0}),
}


@dataclass(frozen=True)
class FolderPlan:
    """Which files a folder has, and how they differ from those of the family."""

    model_type: str
    removed: frozenset[str]
    options: Mapping[str, object]
    stated_class: str | None
    class_in_config: bool
    special_tokens_map: Mapping[str, object] | None
    added_tokens: Mapping[str, int] | None
    changes: tuple[str, ...]

    def write(self, folder: Path) -> None:
        files = {k: v for k, v in base_files(self.model_type).items() if k not in self.removed}
        config = {"model_type": self.model_type.partition(" ")[0]}
        stated: dict[str, object] = {"model_max_length": 48} | dict(self.options)
        if self.stated_class and self.class_in_config:
            config["tokenizer_class"] = self.stated_class
        elif self.stated_class:
            stated["tokenizer_class"] = self.stated_class
        files["config.json"] = json.dumps(config)
        if "tokenizer_config.json" not in self.removed:
            files["tokenizer_config.json"] = json.dumps(stated)
        if self.special_tokens_map is not None:
            files["special_tokens_map.json"] = json.dumps(self.special_tokens_map)
        if self.added_tokens is not None:
            files["added_tokens.json"] = json.dumps(self.added_tokens)
        if "tokenizer.json" in files:
            content = json.loads(files["tokenizer.json"])
            for name in self.changes:
                CHANGES[name](content)
            files["tokenizer.json"] = json.dumps(content)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")


def set_truncation(direction: str) -> Callable[[dict[str, Any]], None]:
    section = {"direction": direction, "max_length": 14, "strategy": "LongestFirst", "stride": 0}
    return lambda content: content.update(truncation=section)


def set_normalizer(**options: object) -> Callable[[dict[str, Any]], None]:
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    accents = {"strip_accents": None, "lowercase": True}
    return lambda content: content.update(normalizer=normalizer | accents | options)


PADDING = {
    "strategy": "BatchLongest",
    "direction": "Left",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}
CHANGES: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "no template": lambda content: content.update(post_processor=None),
    "cased": set_normalizer(lowercase=False),
    "accents": set_normalizer(strip_accents=True, lowercase=False),
    "Chinese": set_normalizer(handle_chinese_chars=False),
    "no normalizer": lambda content: content.update(normalizer=None),
    "cut at the start": set_truncation("Left"),
    "cut at the end": set_truncation("Right"),
    "padding": lambda content: content.update(padding=PADDING),
    "a token": lambda content: content["added_tokens"].append(
        {"id": 9_000, **token("[URL]", typed=False)}
    ),
    "no added tokens": lambda content: content.update(added_tokens=[]),
    "other prefix": lambda content: content["model"].update(continuing_subword_prefix="@@"),
}


@st.composite
def folder_plans(draw: st.DrawFn) -> FolderPlan:
    model_type = draw(st.sampled_from(sorted(WRITERS)))
    names = sorted(base_files(model_type))
    removable = [name for name in names if name != "config.json"]
    classes = [*OWN_CLASSES[model_type] * 3, *PLAIN, *UNSUPPORTED, *OWN_CLASSES["bert"]]
    option_names = draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=4, unique=True))
    options = {name: draw(OPTIONS[name]) for name in option_names}
    if draw(st.integers(0, 19)) == 7:
        name = draw(st.sampled_from(sorted(REJECTED_OPTIONS)))
        options[name] = draw(REJECTED_OPTIONS[name])
    mapped = st.dictionaries(
        st.sampled_from([*(f"{name}_token" for name in NAMES), "additional_special_tokens"]),
        tokens(typed=False),
        max_size=3,
    ).map(lambda found: {k: [v] if k.startswith("add") else v for k, v in found.items()})
    added = st.dictionaries(st.sampled_from(["[URL]", "nice", "<new>"]), st.integers(0, 400))
    return FolderPlan(
        model_type,
        frozenset(draw(st.lists(st.sampled_from(removable), max_size=1))),
        options,
        draw(st.none() | st.sampled_from(classes)),
        draw(st.booleans()),
        draw(st.none() | mapped),
        draw(st.none() | added),
        tuple(draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=2, unique=True))),
    )


Row = tuple[list[int], list[int]] | None
Rows = list[Row]
Reader = Callable[[Path], CheckpointTokenizer]


@contextmanager
def written(plan: FolderPlan) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        plan.write(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


def oracle(folder: Path) -> Rows | None:
    """Encode as transformers does; None if it raises, or makes up a tokenizer without files.

    It truncates to its own limit, or to that of the model.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        limit = int(min(tokenizer.model_max_length, LIMIT))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return None
    made_up = tokenizer.vocab_size <= 6
    return None if made_up else [row(tokenizer, text, limit) for text in TEXTS]


def row(tokenizer: Any, text: TextInput, limit: int) -> Row:
    """The ids and token types of one text; None if it cannot be encoded."""
    parts = text if isinstance(text, tuple) else (text,)
    try:
        encoded = tokenizer(*parts, truncation=True, max_length=limit)
    except Exception:  # noqa: BLE001 - the tokenizers library raises bare Exception
        return None
    ids = list(encoded.input_ids)
    return (ids, list(encoded.get("token_type_ids", [0] * len(ids)))) if ids else None


def ours(folder: Path, read: Reader = read_tokenizer) -> Rows | None:
    """Encode as Isobatch does; None if it rejects the folder."""
    try:
        encoder = TextEncoder(read(folder), LIMIT)
    except CheckpointError:
        return None
    rows: Rows = []
    for text in TEXTS:
        try:
            (encoding,) = encoder.encode([text])
        except Exception:  # noqa: BLE001
            rows.append(None)
        else:
            rows.append((list(encoding.input_ids), list(encoding.token_type_ids)))
    return rows


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore", UserWarning)


NO_DEADLINE = settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@NO_DEADLINE
@given(folder_plans())
def test_the_ids_are_those_of_transformers_or_the_folder_is_rejected(plan: FolderPlan) -> None:
    with written(plan) as folder:
        expected = oracle(folder)
        found = ours(folder)
        if found is None:
            return
        assert expected is not None, "transformers rejects this folder"
        assert found == expected
        checkpoint = read_tokenizer(folder)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert checkpoint.special_tokens == theirs.special_tokens_map
        assert list(checkpoint.model_input_names) == theirs.model_input_names
        assert checkpoint.truncation_side == theirs.truncation_side
        assert checkpoint.padding_side == theirs.padding_side
        assert checkpoint.backend.get_vocab_size() == len(theirs)
        drop_in, limit = (
            AutoTokenizer.from_pretrained(folder),
            int(min(theirs.model_max_length, LIMIT)),
        )
        assert [row(drop_in, text, limit) for text in TEXTS] == expected


def read_edited(folder: Path, name: str, edit: Callable[[dict[str, Any]], object]) -> Any:
    """Read the folder as if a file said something else."""
    path = folder / name
    before = path.read_text("utf-8") if path.exists() else None
    content = json.loads(before or "{}")
    edit(content)
    path.write_text(json.dumps(content), "utf-8")
    try:
        return read_tokenizer(folder)
    finally:
        path.unlink() if before is None else path.write_text(before, "utf-8")


def without_options(*names: str) -> Reader:
    def edit(content: dict[str, Any]) -> None:
        for name in names:
            content.pop(name, None)

    return lambda folder: read_edited(folder, "tokenizer_config.json", edit)


def unchanged_backend(folder: Path) -> Tokenizer | None:
    """Read tokenizer.json by the library alone; None without one, or where the library panics."""
    if not (folder / "tokenizer.json").exists():
        return None
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except BaseException as error:  # PanicException cannot be imported
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def part_of_file(name: str) -> Reader:
    """A reader that takes a component from tokenizer.json for every class."""

    def read(folder: Path) -> CheckpointTokenizer:
        checkpoint = read_tokenizer(folder)
        component = getattr(unchanged_backend(folder), name, None)
        if component is not None:
            setattr(checkpoint.backend, name, component)
        return checkpoint

    return read


def ignoring_added_tokens(folder: Path) -> CheckpointTokenizer:
    return read_edited(folder, "added_tokens.json", lambda content: content.clear())


def without_template(folder: Path) -> CheckpointTokenizer:
    checkpoint = read_tokenizer(folder)
    stored = unchanged_backend(folder)
    if stored is not None and stored.post_processor is None:
        plain = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
        checkpoint.backend.post_processor = plain
    return checkpoint


FAULTS: Mapping[str, Reader] = {
    "truncates the end, ignoring truncation_side": lambda folder: replace(
        read_tokenizer(folder), truncation_side="right"
    ),
    "passes token types, ignoring model_input_names": lambda folder: replace(
        read_tokenizer(folder), model_input_names=("input_ids", "token_type_ids")
    ),
    "ignores added_tokens.json": ignoring_added_tokens,
    "ignores added_tokens_decoder": without_options("added_tokens_decoder"),
    "ignores special_tokens_map.json": lambda folder: read_edited(
        folder, "special_tokens_map.json", lambda content: content.clear()
    ),
    "ignores special tokens of tokenizer_config.json": without_options(
        *(f"{name}_token" for name in NAMES), "extra_special_tokens", "additional_special_tokens"
    ),
    "follows the normalizer of tokenizer.json": part_of_file("normalizer"),
    "follows the pre-tokenizer of tokenizer.json": part_of_file("pre_tokenizer"),
    "follows the template of tokenizer.json": part_of_file("post_processor"),
    "adds no special tokens where tokenizer.json has no template": without_template,
    "ignores strip_accents": without_options("strip_accents"),
    "ignores tokenize_chinese_chars": without_options("tokenize_chinese_chars"),
    "ignores split_special_tokens": without_options("split_special_tokens"),
    "ignores model_max_length": without_options("model_max_length", "max_len"),
    "ignores the class": lambda folder: read_edited(
        folder,
        "tokenizer_config.json",
        lambda content: content.update(tokenizer_class="PreTrainedTokenizerFast"),
    ),
}


def test_the_generator_finds_every_known_fault() -> None:
    missed = dict(FAULTS)

    def all_found(plan: FolderPlan) -> bool:
        with written(plan) as folder:
            if (expected := oracle(folder)) is None or ours(folder) is None:
                return False
            for name in list(missed):
                found = ours(folder, missed[name])
                if found is not None and found != expected:
                    del missed[name]
        return not missed

    search = settings(
        max_examples=3000, deadline=None, database=None, phases=[Phase.generate], derandomize=True
    )
    try:
        find(folder_plans(), all_found, settings=search)
    except NoSuchExample:
        pytest.fail(f"not found: {list(missed)}")
