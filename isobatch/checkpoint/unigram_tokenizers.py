"""Tokenizers of the Unigram model, as classes of transformers build them from tokenizer.json."""

import base64
from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from isobatch.checkpoint.stored_tokenizer import SpecialTokenMap, StoredTokenizer
from isobatch.checkpoint.tokenizer_settings import TokenizerSettings
from isobatch.errors import CheckpointError

_METASPACE = "▁"


def build_unigram(
    settings: TokenizerSettings,
    stored: StoredTokenizer | None,
    special: SpecialTokenMap,
    *,
    unk_id: int | None = None,
) -> tokenizers.Tokenizer:
    """Build a Unigram tokenizer; without unk_id it is found, as CamemBERT does."""
    if stored is None:  # the caller checks the files
        raise CheckpointError(f"{settings.folder}: contains no tokenizer.json")
    vocab = _vocab(stored)
    if unk_id is None:
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


def _vocab(stored: StoredTokenizer) -> list[tuple[str, float]]:
    return [tuple(item) for item in stored.model["vocab"]]


def build_deberta(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    """Build DeBERTa-v2's, which does not use the normalization of SentencePiece."""
    if stored is None:  # the caller checks the files
        raise CheckpointError(f"{settings.folder}: contains no tokenizer.json")
    vocab = _vocab(stored)
    unk_item = (str(special["unk_token"]), 0.0)
    unk_id = vocab.index(unk_item) if unk_item in vocab else int(settings.options.get("unk_id", 1))
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=unk_id, byte_fallback=False))
    lower = [normalizers.Lowercase()] if settings.flag("do_lower_case", False) else []
    tokenizer.normalizer = normalizers.Sequence(
        [
            *lower,
            normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
            normalizers.NFC(),
            normalizers.Strip(left=False, right=True),
        ]
    )
    by_punct = settings.flag("split_by_punct", False)
    splits = [pre_tokenizers.Punctuation(behavior="isolated")] if by_punct else []
    scheme: Any = "always" if settings.flag("add_prefix_space", True) else "first"
    metaspace = pre_tokenizers.Metaspace(replacement=_METASPACE, prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, metaspace])
    tokenizer.decoder = decoders.Metaspace(replacement=_METASPACE, prepend_scheme=scheme)
    return tokenizer


def build_albert(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    """Build ALBERT's, which also changes quotes, accents and case.

    Its template is that of tokenizer.json, or, without one, the class's own.
    """
    tokenizer = build_unigram(settings, stored, special, unk_id=1)
    parts: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.flag("keep_accents", False):
        parts += [normalizers.NFKD(), normalizers.StripAccents()]
    parts += [normalizers.Lowercase()] if settings.flag("do_lower_case", True) else []
    own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = normalizers.Sequence([*parts, *own])
    # Built also where the file's replaces it: it raises for a token that the vocabulary lacks.
    tokenizer.post_processor = _albert_template(settings, tokenizer, special)
    if stored and stored.components.post_processor is not None:
        tokenizer.post_processor = stored.components.post_processor
    return tokenizer


def _albert_template(
    settings: TokenizerSettings, tokenizer: tokenizers.Tokenizer, special: SpecialTokenMap
) -> Any:
    """Return the template, which has [CLS] and [SEP] by name and the ids of the class's tokens."""
    ids = []
    for name in ("cls_token", "sep_token"):
        ids.append(tokenizer.token_to_id(str(special[name])))
        if ids[-1] is None:
            raise settings.error(name, f"is {special[name]!r}, which is not in the vocabulary")
    return processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[*zip(("[CLS]", "[SEP]"), ids, strict=True)],
    )


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
