"""The tokenizer classes of transformers, as construction of a `tokenizers.Tokenizer`.

Except for PLAIN_CLASS, transformers 5 takes only vocabulary, merges and added tokens from
tokenizer.json: normalizer, pre-tokenizer and special-token template follow the class and the
settings, whose missing keys count as the class's defaults (`models/*/tokenization_*.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from isobatch.checkpoint.byte_pair_tokenizers import (
    BPE_FILES,
    build_byte_level,
    build_llama,
    build_qwen,
)
from isobatch.checkpoint.stored_tokenizer import SpecialTokenMap, StoredTokenizer, token_id
from isobatch.checkpoint.tokenizer_settings import PLAIN_CLASS, TokenizerSettings, TokenValue
from isobatch.checkpoint.unigram_tokenizers import (
    build_albert,
    build_deberta,
    build_unigram,
)


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """One class: `build` returns its backend without tokens added, `template` its post-processor.

    special_tokens: defaults by name. files: those with the vocabulary where tokenizer.json does
    not exist.
    """

    special_tokens: Mapping[str, TokenValue]
    model_input_names: tuple[str, ...]
    files: tuple[str, ...]
    build: Callable[[TokenizerSettings, StoredTokenizer | None, SpecialTokenMap], Any]
    template: Callable[[TokenizerSettings, tokenizers.Tokenizer, SpecialTokenMap], Any]
    extra_special_tokens: tuple[str, ...] = ()
    padding_side: str = "right"


def _word_piece(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    unk_token = str(special["unk_token"])
    if stored:
        model = models.WordPiece(stored.vocab_to_ids(), unk_token=unk_token)
    else:
        model = models.WordPiece.from_file(str(settings.folder / "vocab.txt"), unk_token=unk_token)
    tokenizer = tokenizers.Tokenizer(model)
    strip_accents = settings.options.get("strip_accents")
    if not isinstance(strip_accents, bool | None):
        raise settings.error("strip_accents", f"must be true, false or null, got {strip_accents!r}")
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.flag("tokenize_chinese_chars", True),
        strip_accents=strip_accents,
        lowercase=settings.flag("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _bert_template(
    settings: TokenizerSettings,
    tokenizer: tokenizers.Tokenizer,
    special: SpecialTokenMap,
    missing: tuple[int, int] = (2, 3),
) -> Any:
    """As "[CLS] text [SEP]"; missing: transformers' ids for a class without such a token."""
    ids = dict(zip(("cls_token", "sep_token"), missing, strict=True))
    for name in ids:
        if special[name] is not None:
            ids[name] = token_id(tokenizer, special[name], special)
    cls, sep = str(special["cls_token"]), str(special["sep_token"])
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, ids["cls_token"]), (sep, ids["sep_token"])],
    )


def _mpnet_template(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    ids = {"cls_token": 0, "sep_token": 2}  # transformers' ids for a class without such a token
    for name in ids:
        if special[name] is not None:
            ids[name] = token_id(tokenizer, special[name], special)
    sep, cls = ((str(special[name]), ids[name]) for name in ("sep_token", "cls_token"))
    return processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)


def _roberta_template(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    sep, cls = (
        (_stated(settings, name, "</s>" if name == "sep_token" else "<s>"), special[name])
        for name in ("sep_token", "cls_token")
    )
    return processors.RobertaProcessing(
        (sep[0], token_id(tokenizer, sep[1], special)),
        (cls[0], token_id(tokenizer, cls[1], special)),
        settings.flag("trim_offsets", True),
        settings.flag("add_prefix_space", False),
    )


def _unigram_template(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    bos, eos = str(special["bos_token"]), str(special["eos_token"])
    return processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[
            (bos, token_id(tokenizer, special["bos_token"], special)),
            (eos, token_id(tokenizer, special["eos_token"], special)),
        ],
    )


def _xlm_roberta_template(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    """As `_unigram_template`, with lists: a token may contain spaces."""
    bos, eos = _stated(settings, "bos_token", "<s>"), _stated(settings, "eos_token", "</s>")
    return processors.TemplateProcessing(
        single=[bos, "$A", eos],
        pair=[bos, "$A", eos, eos, "$B", eos],
        special_tokens=[
            (bos, token_id(tokenizer, special["bos_token"], special)),
            (eos, token_id(tokenizer, special["eos_token"], special)),
        ],
    )


def _stated(settings: TokenizerSettings, name: str, default: str) -> str:
    """Return the token that the class is given, which a model-specific one may have replaced."""
    return str(settings.options.get(name, default))


def _from_file(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(settings.folder / "tokenizer.json"))


def _template_of_file(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    """Return the tokenizer's own post-processor; one that adds no token where it has none."""
    if tokenizer.post_processor is not None:
        return tokenizer.post_processor
    return processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])


def _qwen_template(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    """Return the post-processor; the class adds its special tokens again, without other flags."""
    extra = settings.options.get("extra_special_tokens") or ()
    named = [*(each for each in special.values() if each), *extra]
    tokenizer.add_tokens([AddedToken(str(each), special=True) for each in named])
    return _template_of_file(settings, tokenizer, special)


_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_UNTYPED = ("input_ids", "attention_mask")
_TYPED = ("input_ids", "token_type_ids", "attention_mask")

CLASSES: Mapping[str, TokenizerClass] = {
    "BertTokenizer": TokenizerClass(
        _BERT_TOKENS, _TYPED, ("vocab.txt",), _word_piece, _bert_template
    ),
    "DistilBertTokenizer": TokenizerClass(
        _BERT_TOKENS, _UNTYPED, ("vocab.txt",), _word_piece, _bert_template
    ),
    "MPNetTokenizer": TokenizerClass(
        _ROBERTA_TOKENS
        | {"unk_token": "[UNK]", "mask_token": AddedToken("<mask>", lstrip=True, special=True)},
        _UNTYPED,
        ("vocab.txt",),
        _word_piece,
        _mpnet_template,
    ),
    "RobertaTokenizer": TokenizerClass(
        _ROBERTA_TOKENS, _UNTYPED, BPE_FILES, build_byte_level, _roberta_template
    ),
    "XLMRobertaTokenizer": TokenizerClass(
        _ROBERTA_TOKENS,
        _UNTYPED,
        (),
        partial(build_unigram, unk_id=3),
        _xlm_roberta_template,
    ),
    "CamembertTokenizer": TokenizerClass(
        _ROBERTA_TOKENS | {"mask_token": AddedToken("<mask>", lstrip=True, special=True)},
        _UNTYPED,
        (),
        build_unigram,
        _unigram_template,
        extra_special_tokens=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    "DebertaV2Tokenizer": TokenizerClass(
        _BERT_TOKENS | {"bos_token": "[CLS]", "eos_token": "[SEP]"},
        ("input_ids", "attention_mask", "token_type_ids"),
        (),
        build_deberta,
        partial(_bert_template, missing=(0, 0)),
    ),
    "AlbertTokenizer": TokenizerClass(
        _BERT_TOKENS
        | {"bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "<unk>", "pad_token": "<pad>"},
        _UNTYPED,
        (),
        build_albert,
        _template_of_file,
    ),
    "Qwen2Tokenizer": TokenizerClass(
        dict.fromkeys(("unk_token", "eos_token", "pad_token"), "<|endoftext|>"),
        _UNTYPED,
        BPE_FILES,
        build_qwen,
        _qwen_template,
    ),
    "LlamaTokenizer": TokenizerClass(
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        _UNTYPED,
        (),
        build_llama,
        _template_of_file,
        padding_side="left",
    ),
    PLAIN_CLASS: TokenizerClass({}, _UNTYPED, (), _from_file, _template_of_file),
}
"""By the name that TokenizerSettings.class_name has."""
