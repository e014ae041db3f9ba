"""tokenizer.json of a folder whose only vocabulary is a model of SentencePiece.

Special tokens, their places and the order of the pieces are those of the folder's tokenizer class
in transformers. Invariant: the ids of pieces are those that the model was trained with, or no file
is written.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer, normalizers, processors

from isobatch.checkpoint import read_json
from isobatch.checkpoint.source import SENTENCEPIECE_FILES
from isobatch.checkpoint.tokenizer_settings import (
    NAMED_TOKENS,
    PLAIN_CLASS,
    listed_added_tokens,
    read_optional_json,
)
from isobatch.convert.sentencepiece_model import PieceModel, build_tokenizer, read_model
from isobatch.errors import UnsupportedModelError

_KEPT = ("model_max_length", "truncation_side", "padding_side", "clean_up_tokenization_spaces")
_CLS_SEP = ("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
_BOS_EOS = ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
_BERT = {
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "unk_token": "<unk>",
    "sep_token": "[SEP]",
    "pad_token": "<pad>",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_UNTYPED = ("input_ids", "attention_mask")


@dataclass(frozen=True, slots=True)
class PieceLayout:
    """How a class of transformers uses a model of SentencePiece.

    special_tokens: its defaults by name. template: of one text and of a pair. inputs: the columns
    that its model takes. order: "own" is the model's; the others are fairseq's, in which the first
    ids are those of special tokens. cleans: quotes, accents and case are changed first, as the
    options say.
    """

    special_tokens: Mapping[str, str]
    template: tuple[str, str]
    inputs: tuple[str, ...] = _UNTYPED
    order: Literal["own", "xlm-roberta", "camembert"] = "own"
    cleans: bool = False


_LAYOUTS: Mapping[str, PieceLayout] = {
    "XLMRobertaTokenizer": PieceLayout(_ROBERTA, _BOS_EOS, order="xlm-roberta"),
    "CamembertTokenizer": PieceLayout(_ROBERTA, _BOS_EOS, order="camembert"),
    "DebertaV2Tokenizer": PieceLayout(
        _BERT | {"unk_token": "[UNK]", "pad_token": "[PAD]"},
        _CLS_SEP,
        ("input_ids", "token_type_ids", "attention_mask"),
    ),
    "AlbertTokenizer": PieceLayout(_BERT, _CLS_SEP, cleans=True),
    "FNetTokenizer": PieceLayout(_BERT, _CLS_SEP, ("input_ids", "token_type_ids"), cleans=True),
    "BigBirdTokenizer": PieceLayout(_BERT | {"bos_token": "<s>", "eos_token": "</s>"}, _CLS_SEP),
    "LlamaTokenizer": PieceLayout(
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        ("<s>:0 $A:0", "<s>:0 $A:0 <s>:1 $B:1"),
    ),
}
_BY_MODEL_TYPE = {
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "albert": "AlbertTokenizer",
    "fnet": "FNetTokenizer",
    "big_bird": "BigBirdTokenizer",
    "llama": "LlamaTokenizer",
}
_REJECTED = {
    "split_by_punct": (False, None),
    "add_bos_token": (True, None),
    "add_eos_token": (False, None),
    "legacy": (True, None),
    "sp_model_kwargs": ({}, None),
    "add_prefix_space": (True, None),
}
"""Settings that change the tokens, and the values under which they do not."""


def convert_tokenizer(folder: Path) -> str | None:
    """Write tokenizer.json into `folder` where it only has a model; returns the model's name.

    tokenizer_config.json then says all that the files of special tokens said, which are removed.
    Raises UnsupportedModelError for a class or a setting that is not converted, and as `read_model`
    and `build_tokenizer` do.
    """
    if (folder / "tokenizer.json").exists():
        return None
    path = next((folder / name for name in SENTENCEPIECE_FILES if (folder / name).exists()), None)
    if path is None:
        return None
    stated = read_optional_json(folder / "tokenizer_config.json")
    name = _class_of(folder, stated)
    layout = _LAYOUTS[name]
    _check_settings(folder, name, stated)
    model = read_model(path)
    special = _special_tokens(folder, layout, stated)
    tokenizer = _assemble(model, layout, stated, special)
    extra = _extra_tokens(folder, stated)
    _add(folder, tokenizer, [*special.values(), *extra], listed_added_tokens(folder, stated))
    tokenizer.post_processor = _template(tokenizer, layout, special)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens: dict[str, object] = {each: token.content for each, token in special.items()}
    if extra:
        tokens["extra_special_tokens"] = [token.content for token in extra]
    _write_config(folder, layout, stated, tokens)
    return path.name


def _class_of(folder: Path, stated: Mapping[str, Any]) -> str:
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    given = stated.get("tokenizer_class") or config.get("tokenizer_class")
    named = str(given).removesuffix("Fast") if given else None
    name = named or _BY_MODEL_TYPE.get(str(config.get("model_type")))
    if name not in _LAYOUTS:
        raise UnsupportedModelError(
            f"{folder}: has a SentencePiece model for {name or 'no stated tokenizer class'}; "
            f"supported: {', '.join(_LAYOUTS)}. If transformers loads it, save it there with "
            "save_pretrained, which writes tokenizer.json"
        )
    return str(name)


def _check_settings(folder: Path, name: str, stated: Mapping[str, Any]) -> None:
    for key, neutral in _REJECTED.items():
        if key in stated and stated[key] not in neutral:
            raise UnsupportedModelError(
                f'{folder / "tokenizer_config.json"}: "{key}" of {name} is {stated[key]!r}, which '
                "the conversion does not support. Save the tokenizer with transformers instead"
            )


def _special_tokens(
    folder: Path, layout: PieceLayout, stated: Mapping[str, Any]
) -> dict[str, AddedToken]:
    """Return the special tokens by name, as the folder's files have them, or the defaults."""
    mapped = read_optional_json(folder / "special_tokens_map.json")
    found: dict[str, AddedToken] = {}
    for name in NAMED_TOKENS:
        value = mapped.get(name, stated.get(name, layout.special_tokens.get(name)))
        if value is None:
            continue
        content = value["content"] if isinstance(value, dict) else str(value)
        left = bool(value.get("lstrip")) if isinstance(value, dict) else name == "mask_token"
        found[name] = AddedToken(content, lstrip=left, normalized=False, special=True)
    return found


def _extra_tokens(folder: Path, stated: Mapping[str, Any]) -> list[AddedToken]:
    """Return the special tokens without a name."""
    mapped = read_optional_json(folder / "special_tokens_map.json")
    for source in (mapped, stated):
        for key in ("extra_special_tokens", "additional_special_tokens"):
            if isinstance(listed := source.get(key), list):
                contents = (each["content"] if isinstance(each, dict) else each for each in listed)
                return [AddedToken(str(each), normalized=False, special=True) for each in contents]
    return []


def _assemble(
    model: PieceModel,
    layout: PieceLayout,
    stated: Mapping[str, Any],
    special: Mapping[str, AddedToken],
) -> Tokenizer:
    named = {name: token.content for name, token in special.items()}
    pieces = model.pieces
    if layout.order == "own":
        tokenizer = build_tokenizer(model)
    else:
        first = [named[name] for name in ("bos_token", "pad_token", "eos_token", "unk_token")]
        rest = pieces[3:]
        if layout.order == "camembert":
            first = ["<s>NOTUSED", first[1], "</s>NOTUSED", first[3], "<unk>NOTUSED"]
            rest = pieces[1:]
        ordered = [(piece, 0.0) for piece in first] + rest + [(named["mask_token"], 0.0)]
        tokenizer = build_tokenizer(model, ordered, unk_id=3)
    if layout.cleans:
        tokenizer.normalizer = normalizers.Sequence([*_cleaning(stated), tokenizer.normalizer])
    return tokenizer


def _cleaning(stated: Mapping[str, Any]) -> list[Any]:
    """Return what ALBERT's tokenizer does to a text before its model does."""
    parts: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not stated.get("keep_accents", False):
        parts += [normalizers.NFKD(), normalizers.StripAccents()]
    return parts + ([normalizers.Lowercase()] if stated.get("do_lower_case", True) else [])


def _add(
    folder: Path,
    tokenizer: Tokenizer,
    special: Sequence[AddedToken],
    added: Sequence[tuple[int, AddedToken]],
) -> None:
    """Add the tokens that the files list, by id, and the special ones; raise for another id."""
    listed = {token.content for _, token in added}
    tokenizer.add_tokens([token for _, token in sorted(added, key=lambda each: each[0])])
    tokenizer.add_special_tokens([each for each in special if each.content not in listed])
    for index, token in added:
        if (found := tokenizer.token_to_id(token.content)) != index:
            raise UnsupportedModelError(
                f"{folder}: the token {token.content!r} has the id {index} in its files, and "
                f"{found} after the pieces of the model. Save the tokenizer with transformers "
                "instead"
            )


def _template(tokenizer: Tokenizer, layout: PieceLayout, special: Mapping[str, AddedToken]) -> Any:
    """Return the template with the folder's own special tokens in the place of the defaults."""
    names = {default: name for name, default in layout.special_tokens.items()}
    # Of a token with several names, the first of NAMED_TOKENS is the one of the template.
    for name in reversed(NAMED_TOKENS):
        if name in layout.special_tokens:
            names[layout.special_tokens[name]] = name

    def resolved(template: str) -> list[str]:
        parts = []
        for part in template.split(" "):
            default, colon, kind = part.partition(":")
            own = special[names[default]].content if default in names else default
            parts.append(own + colon + kind)
        return parts

    single, pair = map(resolved, layout.template)
    used = {token.content for token in special.values()}
    return processors.TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in sorted(used)],
    )


def _write_config(
    folder: Path, layout: PieceLayout, stated: Mapping[str, Any], tokens: Mapping[str, object]
) -> None:
    """Name the class that reads tokenizer.json unchanged, here and in transformers."""
    kept = {key: stated[key] for key in _KEPT if key in stated}
    inputs = stated.get("model_input_names", list(layout.inputs))
    config = {"tokenizer_class": PLAIN_CLASS, **tokens, "model_input_names": inputs, **kept}
    text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    for old in ("special_tokens_map.json", "added_tokens.json"):
        (folder / old).unlink(missing_ok=True)
