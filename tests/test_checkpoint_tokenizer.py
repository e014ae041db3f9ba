"""Tokenizers of checkpoints as people have them: the same answers as transformers in every API.

Each case is a folder that once gave other ids than transformers, silently. Rejected folders say
what to change, and the change is made here.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import write_bpe_folder, write_llama_folder, write_wordpiece_folder

from isobatch import Classifier
from isobatch.audit.targets.isobatch_target import open_isobatch
from isobatch.checkpoint import checkpoint_digest
from isobatch.checkpoint.checkpoint_tokenizer import read_tokenizer
from isobatch.checkpoint.source import _WANTED
from isobatch.compat import AutoModelForSequenceClassification, AutoTokenizer
from isobatch.errors import CheckpointError

TEXTS = [
    "Today is a NICE day, see [URL] <new> 今日は",
    "Café naïve: TODAY [SEP] nice [MASK]",
    " ".join(["today is a nice day but what about tomorrow"] * 9),
    "",
]
PAIR = ("today is a nice day", "but what about tomorrow")

Edit = Callable[[Path], object]


def edit_json(name: str, **changes: Any) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text("utf-8")) if path.exists() else {}
        path.write_text(json.dumps(content | changes), "utf-8")

    return edit


def state(**options: Any) -> Edit:
    return edit_json("tokenizer_config.json", **options)


def cut_at_the_start(folder: Path) -> None:
    section = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    edit_json("tokenizer.json", truncation=section)(folder)


def write_tokenizer_json(**options: bool) -> Edit:
    return lambda folder: write_wordpiece_folder(folder, **options)


def all_of(*edits: Edit) -> Edit:
    return lambda folder: [edit(folder) for edit in edits]


def remove(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


NEW_TOKEN = {"content": "[URL]", "lstrip": False, "normalized": False, "rstrip": False}
DECODER = {"253": NEW_TOKEN | {"single_word": False, "special": True}}
PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast"}

CASES: dict[str, Edit] = {
    "truncation_side left": state(truncation_side="left"),
    "direction Left in tokenizer.json": cut_at_the_start,
    "model_input_names without types": state(model_input_names=["input_ids", "attention_mask"]),
    "a class without token types": state(**PLAIN),
    "added_tokens.json": edit_json("added_tokens.json", **{"[URL]": 253, "<new>": 254}),
    "added_tokens.json beside vocab.txt": all_of(
        remove("tokenizer.json"), edit_json("added_tokens.json", **{"[URL]": 253})
    ),
    "added_tokens_decoder": state(added_tokens_decoder=DECODER),
    "additional_special_tokens": state(additional_special_tokens=["[URL]", "nice"]),
    "extra tokens in special_tokens_map.json": edit_json(
        "special_tokens_map.json", additional_special_tokens=["[URL]"]
    ),
    "uncased file, cased options": state(do_lower_case=False),
    "cased file, uncased options": all_of(
        write_tokenizer_json(lowercase=False), state(do_lower_case=True)
    ),
    "cased file without options": all_of(
        write_tokenizer_json(lowercase=False), remove("tokenizer_config.json")
    ),
    "cased file, PreTrainedTokenizerFast": all_of(
        write_tokenizer_json(lowercase=False), state(do_lower_case=True, **PLAIN)
    ),
    "strip_accents": state(strip_accents=False),
    "tokenize_chinese_chars": state(tokenize_chinese_chars=False),
    "no post-processor": edit_json("tokenizer.json", post_processor=None),
    "another cls_token": state(cls_token="today", sep_token="nice"),
    "split_special_tokens": state(split_special_tokens=True),
    "a limit of the tokenizer": state(model_max_length=7),
    "no limit": state(model_max_length=None),
}


def expected_logits(folder: Path, texts: list[Any]) -> np.ndarray:
    """transformers, one text or pair at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    with torch.no_grad():
        for text in texts:
            parts = text if isinstance(text, tuple) else (text,)
            encoded = tokenizer(*parts, truncation=True, return_tensors="pt")
            rows.append(model(**encoded).logits[0].numpy())
    return np.stack(rows)


@pytest.fixture
def folder(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A BERT whose tokenizer.json, vocab.txt and tokenizer_config.json agree."""
    shutil.copytree(tiny_folder(Tiny("bert")), tmp_path, dirs_exist_ok=True)
    return write_wordpiece_folder(tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_every_api_gives_the_logits_of_transformers(folder: Path, case: str) -> None:
    CASES[case](folder)
    classifier = Classifier.from_pretrained(folder)
    texts = [*TEXTS, PAIR]
    logits = classifier.logits(texts)
    np.testing.assert_allclose(logits, expected_logits(folder, texts), atol=2e-5)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for text, row in zip(texts, logits, strict=True):
        parts = text if isinstance(text, tuple) else (text,)
        encoded = tokenizer(*parts, truncation=True, max_length=classifier.max_tokens)
        columns = {name: torch.tensor([encoded[name]]) for name in encoded}
        assert model(**columns).logits[0].tolist() == list(row)
    subject = open_isobatch(str(folder))
    assert subject.predict(TEXTS).tolist() == logits[: len(TEXTS)].tolist()


def test_each_case_differs_from_the_folder_that_it_changes(folder: Path) -> None:
    """Negative control: a reader that ignored the change would fail the test above.

    Two changes are ignored by transformers, and would be seen in a reader that follows the file.
    """
    texts = [*TEXTS, PAIR]
    plain = expected_logits(folder, texts)
    for name, edit in CASES.items():
        changed = folder.parent / f"changed {len(name)} {name.replace('/', ' ')}"
        shutil.copytree(folder, changed)
        edit(changed)
        same = np.array_equal(expected_logits(changed, texts), plain)
        assert same is (name in ("cased file, uncased options", "no post-processor")), name


def test_the_ids_of_an_added_token(folder: Path) -> None:
    edit_json("added_tokens.json", **{"[URL]": 253})(folder)
    (encoding,) = Classifier.from_pretrained(folder).tokenize(["see [URL] nice"])
    tokenizer = read_tokenizer(folder)
    assert encoding.input_ids[0] == 2
    assert 253 in encoding.input_ids
    assert tokenizer.backend.token_to_id("[URL]") == 253


def test_every_file_of_the_tokenizer_is_downloaded_and_in_the_digest(folder: Path) -> None:
    digest = checkpoint_digest(folder)
    for name in ("added_tokens.json", "special_tokens_map.json", "merges.txt", "vocab.json"):
        assert name in _WANTED
        (folder / name).write_text("{}", "utf-8")
        assert checkpoint_digest(folder) != digest
        digest = checkpoint_digest(folder)


def run_advice(message: str, place: Path) -> None:
    """Run the command at the end of a message."""
    command = message[message.index("once: ") + len("once: ") :]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, cwd=place, env={**os.environ, "PATH": path})


def test_a_class_that_is_not_supported_can_be_converted(folder: Path, tmp_path: Path) -> None:
    state(tokenizer_class="ConvBertTokenizer", do_lower_case=False)(folder)
    expected = expected_logits(folder, TEXTS)
    with pytest.raises(CheckpointError, match="'ConvBertTokenizer' is not supported") as caught:
        Classifier.from_pretrained(folder)
    run_advice(str(caught.value), tmp_path)
    np.testing.assert_allclose(
        Classifier.from_pretrained(folder).logits(TEXTS), expected, atol=2e-5
    )


@pytest.mark.parametrize("stated", [{}, {"pad_token": None}, {"pad_token": "</s>"}])
def test_a_stored_pad_token_is_taken_unless_the_settings_say_another_or_none(
    tmp_path: Path, stated: dict[str, Any]
) -> None:
    folder = write_llama_folder(tmp_path / "llama", options=stated)
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.enable_padding()
    library.save(str(folder / "tokenizer.json"))
    ours = AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert (ours.pad_token, len(ours)) == (theirs.pad_token, len(theirs))
    assert ours("a [PAD] b")["input_ids"] == theirs("a [PAD] b")["input_ids"]


def test_the_snapshot_of_a_hub_model_is_copied_before_it_is_converted(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("hub")
    snapshot = place / "models--someone--a-model" / "snapshots" / "0123abc"
    state(tokenizer_class="ConvBertTokenizer")(folder)
    shutil.copytree(folder, snapshot)
    before = {path.name: path.read_bytes() for path in snapshot.iterdir()}
    with pytest.raises(CheckpointError, match="'ConvBertTokenizer' is not supported") as caught:
        Classifier.from_pretrained(snapshot)
    run_advice(str(caught.value), place)
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == before
    assert Classifier.from_pretrained(place / "a-model").logits(TEXTS).shape == (len(TEXTS), 2)


def test_a_class_that_does_not_fit_the_files_is_named_with_one_that_does(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    state(**PLAIN)(folder)
    with pytest.raises(CheckpointError, match=r"contains no tokenizer\.json, which") as caught:
        Classifier.from_pretrained(folder)
    assert 'set "tokenizer_class": "BertTokenizer" in tokenizer_config.json' in str(caught.value)
    state(tokenizer_class="BertTokenizer")(folder)
    assert Classifier.from_pretrained(folder).logits(TEXTS).shape == (len(TEXTS), 2)


@pytest.mark.parametrize("name", ["spiece.model", "tiktoken.model", "bpe.codes"])
def test_a_vocabulary_in_another_format_is_named(folder: Path, name: str) -> None:
    for other in ("tokenizer.json", "vocab.txt"):
        (folder / other).unlink()
    (folder / name).write_text("a b", "utf-8")
    with pytest.raises(CheckpointError, match=f"; {name} is") as caught:
        Classifier.from_pretrained(folder)
    # transformers would make up a tokenizer of five tokens from the others, silently.
    fixes = {
        "spiece.model": "isobatch convert",
        "tiktoken.model": "python -c",
        "bpe.codes": "Copy tokenizer.json",
    }
    assert fixes[name] in str(caught.value)


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ({"do_lower_case": "yes"}, '"do_lower_case" must be true or false'),
        ({"strip_accents": 1}, '"strip_accents" must be true, false or null'),
        ({"truncation_side": "middle"}, "\"truncation_side\" must be 'right' or 'left'"),
        ({"model_max_length": "512"}, '"model_max_length" must be a positive number'),
        ({"model_input_names": "input_ids"}, '"model_input_names" must be a list'),
        ({"cls_token": 7}, '"cls_token" must be a token'),
        ({"additional_special_tokens": [7]}, '"extra_special_tokens" must be a list of tokens'),
        ({"added_tokens_decoder": {"5": "a"}}, '"added_tokens_decoder" must map ids'),
        ({"auto_map": {"AutoTokenizer": ["a.B", None]}}, '"auto_map" names .*Remove it'),
        ({"add_special_tokens": True}, '"add_special_tokens" has the name .*Remove it'),
        ({"vocab": {"a": 0}}, '"vocab" is not supported'),
    ],
)
def test_an_option_that_is_not_supported_is_rejected_by_name(
    folder: Path, option: dict[str, object], problem: str
) -> None:
    before = (folder / "tokenizer_config.json").read_text("utf-8")
    state(**option)(folder)
    with pytest.raises(CheckpointError, match=problem) as caught:
        read_tokenizer(folder)
    assert str(folder / "tokenizer_config.json") in str(caught.value)
    (folder / "tokenizer_config.json").write_text(before, "utf-8")
    read_tokenizer(folder)


def test_prefix_space_and_template_of_roberta_follow_the_options(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder(Tiny("roberta")), tmp_path, dirs_exist_ok=True)
    texts = ["nice day", "today", PAIR]
    write_bpe_folder(tmp_path)
    plain = expected_logits(tmp_path, texts)
    state(add_prefix_space=True, cls_token="nice")(tmp_path)
    expected = expected_logits(tmp_path, texts)
    assert not np.allclose(plain, expected, atol=1e-3)
    found = Classifier.from_pretrained(tmp_path).logits(texts)
    np.testing.assert_allclose(found, expected, atol=2e-5)
