"""Tokenizer classes of other families: the ids and types of transformers' AutoTokenizer."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from embedding_folders import edit_json
from tokenizer_folders import SENTENCES, write_bpe_folder, write_unigram_folder
from tokenizers import AddedToken, Tokenizer, models, normalizers, processors

from isobatch.checkpoint.checkpoint_tokenizer import read_tokenizer
from isobatch.checkpoint.families import FAMILIES, Family
from isobatch.checkpoint.tokenizer_classes import CLASSES

TEXTS = [
    *SENTENCES,
    "",
    " ",
    "  leading and  double  spaces ",
    "tab\there\nnewline\r\nand more\n",
    "ＡＢＣ ﬁ ½ e\u0301 a\u0308\u0323 Å",
    "😀😀 emoji 👩\u200d👩\u200d👧",
    "今日は ``quoted'' 'text' a,b;c 12,345",
    "[CLS] x [SEP] [MASK] y <s> z </s> <mask> <pad> <|endoftext|> a<mask>b",
]


def write_pieces(folder: Path, name: str, special: list[str], **options: Any) -> Path:
    """Write a Unigram tokenizer for a class, with ordinary pieces after the special ones."""
    write_unigram_folder(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    vocab = content["model"]["vocab"]
    pieces = [(token, 0.0) for token in special] + [(item[0], item[1]) for item in vocab[4:-1]]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC()])
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    stated = {"tokenizer_class": name, "model_max_length": 300, **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    return folder


def write_mpnet(folder: Path, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    words = ["<s>", "<pad>", "</s>", "<unk>", *map(chr, range(33, 127)), "film", "##s", "##a"]
    (folder / "vocab.txt").write_text("\n".join([*words, "[UNK]", "<mask>"]) + "\n")
    (folder / "config.json").write_text('{"model_type": "mpnet"}')
    stated = {"tokenizer_class": "MPNetTokenizer", **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    return folder


def write_qwen(folder: Path, *, ends: bool) -> Path:
    write_bpe_folder(folder)
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    content = json.loads(tokenizer.to_str())
    end = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    token = {"id": "<|endoftext|>", "ids": [tokenizer.token_to_id("<|endoftext|>")]}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [text, end],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 0}}, end],
        "special_tokens": {"<|endoftext|>": {**token, "tokens": ["<|endoftext|>"]}},
    }
    if not ends:
        content["post_processor"] = None
    path.write_text(json.dumps(content))
    edit_json(folder / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer")
    return folder


def write_albert_without_end(folder: Path) -> Path:
    """Write ALBERT's with a template of its own, which the class keeps."""
    write_pieces(folder, "AlbertTokenizer", ALBERT)
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B", special_tokens=[("[CLS]", 2)]
    )
    tokenizer.save(str(path))
    return folder


DEBERTA = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
ALBERT = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
FOLDERS = {
    "deberta": lambda path: write_pieces(path, "DebertaV2Tokenizer", DEBERTA),
    "deberta-fast": lambda path: write_pieces(
        path, "DebertaV2TokenizerFast", DEBERTA, do_lower_case=True, split_by_punct=True
    ),
    "albert": lambda path: write_pieces(path, "AlbertTokenizer", ALBERT),
    "albert-cased": lambda path: write_pieces(
        path, "AlbertTokenizer", ALBERT, do_lower_case=False, keep_accents=True
    ),
    "albert-own-template": write_albert_without_end,
    "mpnet": write_mpnet,
    "mpnet-cased": lambda path: write_mpnet(path, do_lower_case=False),
    "mpnet-without-cls": lambda path: write_mpnet(path, cls_token=None),
    "qwen2": lambda path: write_qwen(path, ends=False),
    "qwen2-embedding": lambda path: write_qwen(path, ends=True),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_and_types_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    folder = FOLDERS[name](tmp_path)
    ours = read_tokenizer(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(theirs).__name__ != "TokenizersBackend"  # else the class is not the one named
    assert set(ours.model_input_names) == set(theirs.model_input_names)
    for text in TEXTS:
        for pair in ((text,), (text, "a nice film")):
            encoded, expected = ours.backend.encode(*pair), theirs(*pair)
            assert encoded.ids == expected["input_ids"], (pair, encoded.tokens)
            if ours.passes_token_types:
                assert encoded.type_ids == expected["token_type_ids"]
    named = {key: token for key, token in theirs.special_tokens_map.items() if token}
    assert {key: ours.special_tokens[key] for key in named if key.endswith("_token")} == {
        key: str(token) for key, token in named.items() if key.endswith("_token")
    }


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_default_class_of_a_family_is_built(family: Family) -> None:
    assert family.tokenizer_class in CLASSES
