"""Tokenizers of the BPE model, as classes of transformers build them: RoBERTa, Qwen, Llama.

Qwen's and Llama's add tokens at the start or the end by the post-processor of tokenizer.json.
"""

from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from isobatch.checkpoint.stored_tokenizer import SpecialTokenMap, StoredTokenizer
from isobatch.checkpoint.tokenizer_settings import TokenizerSettings
from isobatch.errors import CheckpointError

BPE_FILES = ("vocab.json", "merges.txt")
"""The files of a byte-level tokenizer without tokenizer.json."""

_METASPACE = "▁"

_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""A word: as in GPT-4's tokenizer, but with each digit on its own."""


def build_byte_level(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    """Build RoBERTa's, from tokenizer.json or from BPE_FILES."""
    tokenizer = tokenizers.Tokenizer(_byte_level_model(settings, stored))
    add_prefix_space = settings.flag("add_prefix_space", False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def build_qwen(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    """Build Qwen's, from tokenizer.json or from BPE_FILES."""
    tokenizer = tokenizers.Tokenizer(_byte_level_model(settings, stored))
    tokenizer.normalizer = normalizers.NFC()
    prefix = bool(settings.options.get("add_prefix_space"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_WORDS), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    if stored:
        tokenizer.post_processor = stored.components.post_processor
    return tokenizer


def build_llama(
    settings: TokenizerSettings, stored: StoredTokenizer | None, special: SpecialTokenMap
) -> tokenizers.Tokenizer:
    """Build that of Llama 1 and 2, which has a character for the space, and bytes for unknown."""
    if stored is None:  # the caller checks the files
        raise CheckpointError(f"{settings.folder}: contains no tokenizer.json")
    merges = stored.merges()
    model = models.BPE(stored.vocab_to_ids(), merges, fuse_unk=True, byte_fallback=True)
    tokenizer = tokenizers.Tokenizer(model)
    prefix = settings.options.get("add_prefix_space", True)
    scheme: Any = "never"
    if prefix is None or prefix:
        scheme = "always" if settings.options.get("legacy", False) else "first"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        _METASPACE, prepend_scheme=scheme, split=False
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_METASPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([] if scheme == "never" else [decoders.Strip(content=" ", left=1)]),
        ]
    )
    tokenizer.post_processor = stored.components.post_processor
    return tokenizer


def _byte_level_model(settings: TokenizerSettings, stored: StoredTokenizer | None) -> models.BPE:
    options: dict[str, Any] = {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
    if stored:
        return models.BPE(stored.vocab_to_ids(), stored.merges(), fuse_unk=False, **options)
    files = (str(settings.folder / name) for name in BPE_FILES)
    return models.BPE.from_file(*files, fuse_unk=False, **options)
