"""The tokenizer classes of transformers, as construction of a `tokenizers.Tokenizer`.

Except for PLAIN_CLASS, transformers 5 takes only vocabulary, merges and added tokens from
tokenizer.json: normalizer, pre-tokenizer and special-token template follow the class and the
settings, whose missing keys count as the class's defaults (`models/*/tokenization_*.py`).
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from isobatch.checkpoint.tokenizer_settings import PLAIN_CLASS, TokenizerSettings, TokenValue
from isobatch.errors import CheckpointError

SpecialTokenMap = Mapping[str, TokenValue | None]

_METASPACE = "▁"


@dataclass(frozen=True, slots=True)
class StoredTokenizer:
    """tokenizer.json: `content` as JSON; `components` has all of it but vocabulary and tokens."""

    content: Mapping[str, Any]
    components: tokenizers.Tokenizer

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> "StoredTokenizer":
        """Parse the file without building its vocabulary, which takes 30 ms at 30,000 tokens."""
        model = content.get("model") or {}
        if model.get("type") in (None, "Unigram"):  # neither can be built without a vocabulary
            return cls(content, tokenizers.Tokenizer.from_str(json.dumps(content)))
        merges: dict[str, object] = {"merges": []} if model["type"] == "BPE" else {}
        reduced = {**content, "added_tokens": [], "model": {**model, "vocab": {}, **merges}}
        return cls(content, tokenizers.Tokenizer.from_str(json.dumps(reduced)))

    @property
    def model(self) -> Mapping[str, Any]:
        """The section with vocabulary and merges."""
        model: Mapping[str, Any] = self.content["model"]
        return model

    def vocab_to_ids(self) -> dict[str, int]:
        """Return token → id; a list, as Unigram has, is numbered."""
        vocab = self.model["vocab"]
        if isinstance(vocab, dict):
            return vocab
        tokens = (token[0] if isinstance(token, list) else token for token in vocab)
        return {token: index for index, token in enumerate(tokens)}


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

    @property
    def from_sentencepiece(self) -> bool:
        """Whether transformers can make its tokenizer.json from sentencepiece.bpe.model."""
        return self.template in (_unigram_template, _xlm_roberta_template)


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
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    ids = {"cls_token": 2, "sep_token": 3}  # transformers' ids for a class without such a token
    for name in ids:
        if special[name] is not None:
            ids[name] = _token_id(tokenizer, special[name], special)
    cls, sep = str(special["cls_token"]), str(special["sep_token"])
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, ids["cls_token"]), (sep, ids["sep_token"])],
    )


def _byte_level_bpe(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    options: dict[str, Any] = {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
    if stored:
        merges = stored.model.get("merges") or []
        pairs = [tuple(each.split(" ") if isinstance(each, str) else each) for each in merges]
        model = models.BPE(stored.vocab_to_ids(), pairs, fuse_unk=False, **options)
    else:
        files = (str(settings.folder / name) for name in ("vocab.json", "merges.txt"))
        model = models.BPE.from_file(*files, fuse_unk=False, **options)
    tokenizer = tokenizers.Tokenizer(model)
    add_prefix_space = settings.flag("add_prefix_space", False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _roberta_template(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    sep, cls = (
        (_stated(settings, name, "</s>" if name == "sep_token" else "<s>"), special[name])
        for name in ("sep_token", "cls_token")
    )
    return processors.RobertaProcessing(
        (sep[0], _token_id(tokenizer, sep[1], special)),
        (cls[0], _token_id(tokenizer, cls[1], special)),
        settings.flag("trim_offsets", True),
        settings.flag("add_prefix_space", False),
    )


def _unigram(
    settings: TokenizerSettings,
    stored: StoredTokenizer | None,
    special: SpecialTokenMap,
    *,
    finds_unknown: bool,
) -> tokenizers.Tokenizer:
    """Build a Unigram tokenizer; CamemBERT finds the id of its unknown token, XLM-R's is 3."""
    if stored is None:  # the caller checks the files
        raise CheckpointError(f"{settings.folder}: contains no tokenizer.json")
    vocab = [tuple(item) for item in stored.model["vocab"]]
    unk_id = 3
    if finds_unknown:
        unk_token = str(special["unk_token"])
        unk_id = next((i for i, (token, _) in enumerate(vocab) if token == unk_token), 0)
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=unk_id, byte_fallback=False))
    if (charsmap := _charsmap(stored.content)) is not None:
        tokenizer.normalizer = normalizers.Precompiled(charsmap)
    scheme: Any = "always" if settings.flag("add_prefix_space", True) else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=_METASPACE, prepend_scheme=scheme),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_METASPACE, prepend_scheme=scheme)
    return tokenizer


def _charsmap(content: Mapping[str, Any]) -> bytes | None:
    """Return the compiled normalization of sentencepiece, the one part of a normalizer in use."""
    normalizer = content.get("normalizer") or []
    if isinstance(normalizer, dict):
        sequence = normalizer.get("type") == "Sequence"
        normalizer = normalizer["normalizers"] if sequence else [normalizer]
    for part in normalizer:
        if part.get("type") == "Precompiled" and "precompiled_charsmap" in part:
            return base64.b64decode(part["precompiled_charsmap"])
    return None


def _unigram_template(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    bos, eos = str(special["bos_token"]), str(special["eos_token"])
    return processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[
            (bos, _token_id(tokenizer, special["bos_token"], special)),
            (eos, _token_id(tokenizer, special["eos_token"], special)),
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
            (bos, _token_id(tokenizer, special["bos_token"], special)),
            (eos, _token_id(tokenizer, special["eos_token"], special)),
        ],
    )


def _stated(settings: TokenizerSettings, name: str, default: str) -> str:
    """Return the token that the class is given, which a model-specific one may have replaced."""
    return str(settings.options.get(name, default))


def _token_id(
    tokenizer: tokenizers.Tokenizer, token: TokenValue | None, special: SpecialTokenMap
) -> Any:
    """Return the id of a special token, or that of the unknown token, as transformers does."""
    if token is None:
        return None
    known = tokenizer.token_to_id(str(token))
    return known if known is not None else tokenizer.token_to_id(str(special["unk_token"]))


def _from_file(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(settings.folder / "tokenizer.json"))


def _template_of_file(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    if tokenizer.post_processor is not None:
        return tokenizer.post_processor
    return processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])


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
_BPE_FILES = ("vocab.json", "merges.txt")

CLASSES: Mapping[str, TokenizerClass] = {
    "BertTokenizer": TokenizerClass(
        _BERT_TOKENS, _TYPED, ("vocab.txt",), _word_piece, _bert_template
    ),
    "DistilBertTokenizer": TokenizerClass(
        _BERT_TOKENS, _UNTYPED, ("vocab.txt",), _word_piece, _bert_template
    ),
    "RobertaTokenizer": TokenizerClass(
        _ROBERTA_TOKENS, _UNTYPED, _BPE_FILES, _byte_level_bpe, _roberta_template
    ),
    "XLMRobertaTokenizer": TokenizerClass(
        _ROBERTA_TOKENS,
        _UNTYPED,
        (),
        partial(_unigram, finds_unknown=False),
        _xlm_roberta_template,
    ),
    "CamembertTokenizer": TokenizerClass(
        _ROBERTA_TOKENS | {"mask_token": AddedToken("<mask>", lstrip=True, special=True)},
        _UNTYPED,
        (),
        partial(_unigram, finds_unknown=True),
        _unigram_template,
        extra_special_tokens=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    PLAIN_CLASS: TokenizerClass({}, _UNTYPED, (), _from_file, _template_of_file),
}
"""By the name that TokenizerSettings.class_name has."""
