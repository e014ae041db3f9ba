"""tokenizer.json from models of SentencePiece: the pieces that SentencePiece itself gives."""

import io
import json
import random
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from embedding_folders import edit_json
from foreign_checkpoints import write_foreign
from message_fixes import run_convert_fix
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizers import Tokenizer

from isobatch import Classifier
from isobatch.checkpoint.checkpoint_tokenizer import read_tokenizer
from isobatch.convert import convert_checkpoint, sentencepiece_model
from isobatch.convert.sentencepiece_model import build_tokenizer, read_model
from isobatch.convert.tokenizer_conversion import convert_tokenizer
from isobatch.errors import CheckpointError, OptionError, UnsupportedModelError

WORDS = (
    "the plot of this film is thin but its last hour was worth a second look today nice day "
    "tomorrow café naïve l'été 今日 は good 😀 never again 3.14 % of 2,718"
)
TEXTS = [
    "",
    " ",
    "\n",
    "the plot of this film",
    "  leading and  double  spaces ",
    "tab\there\nnewline\n",
    "ＡＢＣ ﬁ ½ ① ㌔ ﷺ Å",
    "😀😀 emoji 👩\u200d👩\u200d👧 🇩🇪 👍🏽",
    "今日は良い日 한국어 ไทย עברית العربية",
    "unknown Ж ω ÿ",
    "e\u0301 combining \u200bzero\u00a0width a\u00adb \x01",
    "\ufeffbom x\u2028y",
    "don't 3.14% of 2,718",
    "A" * 60,
    *("".join(map(chr, range(first, first + 64))) for first in range(0x20, 0x3100, 64)),
]
OTHERWISE = ["a\u0308\u0323", "\u1100\u1161\u11a8", "ﾊﾟ", "a" + "\u0301" * 5]
"""Texts that the library `tokenizers` normalizes otherwise than SentencePiece, with all pieces."""

LITERALS = ["<s> literal </s>", "x [MASK] y", "[CLS][SEP]", "<pad><unk>", "a<mask>b"]

MODELS: Mapping[str, Mapping[str, Any]] = {
    "unigram": {},
    "unigram-bytes": {"byte_fallback": True},
    "unigram-spaces": {"remove_extra_whitespaces": False},
    "unigram-identity": {"normalization_rule_name": "identity"},
    "unigram-lower": {"normalization_rule_name": "nmt_nfkc_cf"},
    "unigram-no-prefix": {"add_dummy_prefix": False},
    "unigram-symbols": {"user_defined_symbols": ["@@"], "control_symbols": ["[CLS]", "[SEP]"]},
    "bpe": {"model_type": "bpe"},
    "bpe-bytes": {"model_type": "bpe", "byte_fallback": True},
    "bpe-whole-lines": {
        "model_type": "bpe",
        "byte_fallback": True,
        "split_by_whitespace": False,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
    },
}


@cache
def trained(name: str) -> bytes:
    """A small model, from the same sentences in every run."""
    options = dict(MODELS[name])
    draw = random.Random(0)
    lines = [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 12))) for _ in range(300)]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        vocab_size=150 + 256 * bool(options.get("byte_fallback")),
        hard_vocab_limit=False,
        minloglevel=5,
        **options,
    )
    return written.getvalue()


def write_model(folder: Path, name: str, file: str = "spm.model") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(trained(name))
    return folder / file


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [str(tokenizer.id_to_token(each)) for each in ids]


def expected_pieces(name: str, text: str) -> list[str]:
    model = sentencepiece.SentencePieceProcessor(model_proto=trained(name))
    return [model.id_to_piece(each) for each in model.encode(text)]


@pytest.mark.parametrize("name", MODELS)
def test_pieces_are_those_of_sentencepiece(name: str, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(read_model(write_model(tmp_path, name)))
    for text in TEXTS:
        assert pieces(tokenizer, text) == expected_pieces(name, text), repr(text)


def test_some_texts_are_normalized_otherwise_by_the_library(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(read_model(write_model(tmp_path, "unigram-bytes")))
    other = [
        text
        for text in OTHERWISE
        if pieces(tokenizer, text) != expected_pieces("unigram-bytes", text)
    ]
    assert other == OTHERWISE  # if one is equal now, docs/transformers-engine.md can say so


def test_a_tokenizer_with_other_pieces_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_model(write_model(tmp_path, "unigram"))
    monkeypatch.setattr(sentencepiece_model, "_normalizers", lambda spec: [])
    with pytest.raises(CheckpointError, match="cannot be converted exactly"):
        build_tokenizer(model)


CLASSES = {
    "XLMRobertaTokenizer": ("xlm-roberta", "sentencepiece.bpe.model"),
    "CamembertTokenizer": ("camembert", "sentencepiece.bpe.model"),
    "DebertaV2Tokenizer": ("deberta-v2", "spm.model"),
    "AlbertTokenizer": ("albert", "spiece.model"),
    "FNetTokenizer": ("fnet", "spiece.model"),
    "BigBirdTokenizer": ("big_bird", "spiece.model"),
    "LlamaTokenizer": ("llama", "tokenizer.model"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_converted_folder_is_read_alike_here_and_by_transformers(
    name: str, tmp_path: Path
) -> None:
    model_type, file = CLASSES[name]
    kind = "bpe-bytes" if name == "LlamaTokenizer" else "unigram"
    write_model(tmp_path, kind, file)
    options = {"do_lower_case": False, "keep_accents": True}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 40, **options}))
    assert convert_tokenizer(tmp_path) == file
    ours = read_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    plain = [text for text in TEXTS if "``" not in text and "''" not in text]
    for text in [*plain, *LITERALS]:
        for pair in ((text,), (text, "the plot")):
            encoded, expected = ours.backend.encode(*pair), theirs(*pair)
            assert encoded.ids == expected["input_ids"], (pair, encoded.tokens)
            if "token_type_ids" in ours.model_input_names:
                assert encoded.type_ids == expected["token_type_ids"]
    for text in plain:
        assert pieces(ours.backend, text) == expected_pieces(kind, text), repr(text)
    ends = ours.backend.encode("the plot").tokens
    assert (ends[0], ends[-1] != "▁plot") == (
        ours.special_tokens["cls_token" if name != "LlamaTokenizer" else "bos_token"],
        name != "LlamaTokenizer",
    )
    assert ours.model_max_length == 40
    assert convert_tokenizer(tmp_path) is None  # there is a tokenizer.json now


def test_added_tokens_keep_their_ids(tmp_path: Path) -> None:
    write_model(tmp_path, "unigram")
    size = sentencepiece.SentencePieceProcessor(model_proto=trained("unigram")).get_piece_size()
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    listed = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "[MASK]": 4, "[E]": 5}
    names = {f"{name[1:-1].lower()}_token": name for name in listed if name != "[E]"}
    tokens = {
        str(size + place): {"content": token, "special": True, "lstrip": False, "rstrip": False}
        for token, place in listed.items()
    }
    stated = {**names, "additional_special_tokens": ["[E]"], "added_tokens_decoder": tokens}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(stated))
    shutil.copytree(tmp_path, tmp_path / "moved")
    convert_tokenizer(tmp_path)
    backend = read_tokenizer(tmp_path).backend
    assert {token: backend.token_to_id(token) - size for token in listed} == listed
    assert backend.encode("the [E] plot").tokens[2] == "[E]"
    assert read_tokenizer(tmp_path).extra_special_tokens == ("[E]",)
    moved = tmp_path / "moved" / "tokenizer_config.json"
    stated["added_tokens_decoder"] = {str(size + 9): tokens[str(size)]}
    moved.write_text(json.dumps(stated))
    with pytest.raises(UnsupportedModelError, match=r"'\[PAD\]' has the id"):
        convert_tokenizer(tmp_path / "moved")


# ---------------------------------------------------------------------------------------- folders


def test_the_message_names_the_command_that_converts_the_folder(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", Tiny("xlm-roberta"))
    write_model(folder, "unigram", "sentencepiece.bpe.model")
    with pytest.raises(CheckpointError, match=r"isobatch\[sentencepiece\]") as raised:
        Classifier.from_pretrained(folder)
    run_convert_fix(str(raised.value), folder)
    texts = TEXTS[3:8]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.inference_mode():
        inputs = [tokenizer(text, return_tensors="pt", truncation=True) for text in texts]
        expected = torch.cat([model(**each).logits for each in inputs]).numpy()
    assert np.allclose(Classifier.from_pretrained(folder).logits(texts), expected, atol=1e-5)


def test_a_folder_of_another_architecture_is_converted_with_its_names(tmp_path: Path) -> None:
    folder = write_foreign(tmp_path / "model", "fnet")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink()
    write_model(folder, "unigram", "spiece.model")
    with pytest.raises(CheckpointError, match=r"spiece\.model is a SentencePiece model"):
        Classifier.from_pretrained(folder, engine="transformers")
    report = convert_checkpoint(folder, tmp_path / "out")
    assert report.tokenizer == "spiece.model"
    assert "transformers" in report.written.reasons[0]
    classifier = Classifier.from_pretrained(tmp_path / "out", engine="transformers")
    assert classifier(TEXTS[3:6]) == [classifier([text])[0] for text in TEXTS[3:6]]


def test_other_classes_settings_and_files_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path, "unigram")
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    edit_json(tmp_path / "tokenizer_config.json", split_by_punct=True)
    with pytest.raises(UnsupportedModelError, match='"split_by_punct" of DebertaV2Tokenizer'):
        convert_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class="XLNetTokenizer")
    with pytest.raises(UnsupportedModelError, match="for XLNetTokenizer; supported"):
        convert_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class="AlbertTokenizer")
    edit_json(tmp_path / "tokenizer_config.json", split_by_punct=False)
    path.write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match="is not a SentencePiece model"):
        convert_tokenizer(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(OptionError, match=r"isobatch\[sentencepiece\]"):
        convert_tokenizer(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
