"""AutoTokenizer and Tokenizer: transformers' tokenizer API over the `tokenizers` library.

Invariant: a call's options apply to that call alone, also when threads share the tokenizer.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from isobatch.checkpoint import locate_checkpoint
from isobatch.checkpoint.checkpoint_tokenizer import (
    NO_LIMIT,
    CheckpointTokenizer,
    TokenizerSide,
    read_tokenizer,
)
from isobatch.checkpoint.text_encoder import without_truncation
from isobatch.checkpoint.tokenizer_settings import NAMED_TOKENS
from isobatch.compat.arguments import reject_positional, reject_unsupported
from isobatch.compat.batch_encoding import (
    BatchEncoding,
    EncodedInput,
    TensorKind,
    collect_columns,
    pad_columns,
    read_columns,
    to_tensors,
)
from isobatch.compat.model_config import HUB_ADVICE, NEUTRAL_ARGUMENTS
from isobatch.compat.shared_tokenizer import SharedTokenizer, TextBatch, check_rows, check_words
from isobatch.compat.tokenizer_calls import reject_call_options
from isobatch.compat.tokenizer_options import (
    PaddingOption,
    PaddingSettings,
    TruncationOption,
    check_side,
    resolve_options,
)
from isobatch.compat.tokenizer_vocabulary import TokenizerVocabulary
from isobatch.errors import InputError, IsobatchWarning, OptionError
from isobatch.types import TextInput

_UNLIMITED = int(1e30)
"""transformers' model_max_length where tokenizer_config.json has none."""

_SETTINGS = (
    "add_prefix_space",
    "additional_special_tokens",
    "clean_up_tokenization_spaces",
    "do_lower_case",
    "extra_special_tokens",
    "model_input_names",
    "model_max_length",
    "padding_side",
    "split_special_tokens",
    "strip_accents",
    "tokenize_chinese_chars",
    "trim_offsets",
    "truncation_side",
    *NAMED_TOKENS,
)
"""Keyword arguments of from_pretrained that replace settings of tokenizer_config.json."""

_PADDED = (
    "encoded_inputs",
    "padding",
    "max_length",
    "pad_to_multiple_of",
    "padding_side",
    "return_attention_mask",
    "return_tensors",
)
_TOKENIZED = ("text", "pair", "add_special_tokens")
_NEUTRAL_SAVING: Mapping[str, tuple[object, ...]] = {
    "legacy_format": (None, False),
    "filename_prefix": (None,),
    "push_to_hub": (False,),
    "token": (None,),
}

_PATH_KEYS = ("name_or_path", "special_tokens_map_file", "tokenizer_file")
"""Keys of tokenizer_config.json with paths of the original tokenizer; they are not saved."""


class AutoTokenizer:
    """transformers' entry point; `from_pretrained` returns a Tokenizer."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None = None,
        *positional: object,
        revision: str | None = None,
        **settings: Any,
    ) -> "Tokenizer":
        """Load the tokenizer of a folder, a hub id, or the bundled model (None).

        settings: replace those of tokenizer_config.json, such as truncation_side="left". Raises
        OptionError for an argument that is not supported.
        """
        others = {name: settings.pop(name) for name in [*settings] if name not in _SETTINGS}
        supported = ("pretrained_model_name_or_path", "revision", *_SETTINGS)
        reject_positional("AutoTokenizer.from_pretrained", positional, supported)
        neutral = {**NEUTRAL_ARGUMENTS, "use_fast": (True,)}
        reject_unsupported("AutoTokenizer.from_pretrained", others, supported, neutral, HUB_ADVICE)
        for name in ("padding_side", "truncation_side"):
            if name in settings:
                check_side(name, settings[name])
        path = pretrained_model_name_or_path
        folder = locate_checkpoint(path, revision)
        tokenizer = Tokenizer(folder, settings)
        tokenizer.name_or_path = str(folder if path is None else path)
        return tokenizer


class Tokenizer(TokenizerVocabulary):
    """The tokenizer in a checkpoint folder.

    `padding_side`, `truncation_side` and `model_max_length` are the defaults of every call, and can
    be set.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None) -> None:
        checkpoint = read_tokenizer(folder, settings)
        super().__init__(checkpoint)
        limit = checkpoint.model_max_length
        self.name_or_path = str(folder)
        self.model_input_names = list(checkpoint.model_input_names)
        self.model_max_length = _UNLIMITED if limit >= NO_LIMIT else limit
        self.padding_side: TokenizerSide = checkpoint.padding_side
        self.truncation_side: TokenizerSide = checkpoint.truncation_side
        self._shared = SharedTokenizer(checkpoint.backend)

    def __repr__(self) -> str:
        return (
            f"Tokenizer(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"model_max_length={self.model_max_length}, padding_side={self.padding_side!r}, "
            f"truncation_side={self.truncation_side!r}, special_tokens={self.special_tokens_map})"
        )

    def __call__(
        self,
        text: str | TextBatch | None = None,
        text_pair: str | Sequence[str] | None = None,
        *positional: object,
        is_split_into_words: bool = False,
        add_special_tokens: bool = True,
        padding: PaddingOption = False,
        truncation: TruncationOption = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: TokenizerSide | None = None,
        return_tensors: TensorKind | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Tokenize a text or pair, or a list of them; a pair is two arguments or a tuple.

        is_split_into_words: a text is a list of words, whose numbers are those of `word_ids()`.
        Options as in transformers: padding "longest" (True) or "max_length"; truncation
        "longest_first" (True), "only_first" or "only_second"; return_tensors "pt" or "np". Raises
        OptionError for an argument that is not supported.
        """
        reject_call_options("tokenizer(...)", kwargs, positional)
        pad, cut = resolve_options(
            padding,
            truncation,
            max_length,
            pad_to_multiple_of,
            padding_side or self.padding_side,
            self.model_max_length,
        )
        rows: Sequence[TextInput | list[str]]
        if is_split_into_words:
            alone, rows = check_words(text, text_pair)
        else:
            alone, rows = isinstance(text, str), check_rows(text, text_pair)
        encodings = self._shared.encode(
            rows,
            cut,
            check_side("truncation_side", self.truncation_side),
            special_tokens=add_special_tokens,
        )
        self._warn_too_long(encodings)
        self._pad_all(encodings, pad)
        wanted = {
            "token_type_ids": self._wants("token_type_ids", return_token_type_ids),
            "attention_mask": self._wants("attention_mask", return_attention_mask),
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }
        columns = collect_columns(encodings, wanted, alone and return_tensors is None)
        return BatchEncoding(to_tensors(columns, return_tensors), encodings)

    def encode(
        self,
        text: str | TextBatch,
        text_pair: str | Sequence[str] | None = None,
        *positional: object,
        **options: Any,
    ) -> Any:
        """Return only the input_ids; `options` as in a call."""
        return self(text, text_pair, *positional, **options).input_ids

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        *positional: object,
        **options: Any,
    ) -> list[str]:
        """Split one text or pair into tokens, as strings."""
        reject_call_options("tokenizer.tokenize", options, positional, _TOKENIZED)
        if not isinstance(text, str):
            raise InputError(f"tokenize() takes one text, got {type(text).__name__}")
        texts, side = check_rows(text, pair), self.truncation_side
        (encoding,) = self._shared.encode(texts, None, side, special_tokens=add_special_tokens)
        return list(encoding.tokens)

    def pad(
        self,
        encoded_inputs: EncodedInput,
        padding: PaddingOption = True,
        *positional: object,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: TokenizerSide | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: TensorKind | None = None,
        **options: Any,
    ) -> BatchEncoding:
        """Pad the output of this tokenizer: a list of encodings, or a dict of columns.

        Columns other than tokens, such as labels, are left unchanged; tensors stay tensors.
        """
        reject_call_options("tokenizer.pad", options, positional, _PADDED)
        settings, _ = resolve_options(
            padding,
            False,
            max_length,
            pad_to_multiple_of,
            padding_side or self.padding_side,
            self.model_max_length,
        )
        columns, alone, kind = read_columns(encoded_inputs)
        if self._wants("attention_mask", return_attention_mask):
            columns.setdefault("attention_mask", [[1] * len(ids) for ids in columns["input_ids"]])
        else:
            columns.pop("attention_mask", None)
        if settings is not None:
            columns = pad_columns(columns, settings, self._checked_pad_token()[0])
        values = {name: rows[0] for name, rows in columns.items()} if alone else columns
        return BatchEncoding(to_tensors(values, return_tensors or kind))

    def save_pretrained(
        self, save_directory: str | Path, *positional: object, **options: Any
    ) -> tuple[str, str]:
        """Write tokenizer_config.json and tokenizer.json, for this package and for transformers."""
        place = "tokenizer.save_pretrained"
        reject_positional(place, positional, ["save_directory"])
        reject_unsupported(place, options, ["save_directory"], _NEUTRAL_SAVING)
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config, tokenizer = folder / "tokenizer_config.json", folder / "tokenizer.json"
        written = json.dumps(
            self._options(), indent=2, sort_keys=True, ensure_ascii=False, default=str
        )
        config.write_text(written + "\n", encoding="utf-8")
        self._shared.save(tokenizer)
        return str(config), str(tokenizer)

    def checkpoint_tokenizer(self) -> CheckpointTokenizer:
        """Return its settings as they are now, with a copy of the library's tokenizer."""
        return replace(
            self._checkpoint,
            backend=without_truncation(self._tokenizer),
            model_max_length=min(self.model_max_length, NO_LIMIT),
            truncation_side=self.truncation_side,
        )

    def _options(self) -> dict[str, Any]:
        """The contents of tokenizer_config.json, completed with everything resolved without it."""
        settings = self._checkpoint.settings
        stated = {key: value for key, value in settings.options.items() if key not in _PATH_KEYS}
        stated.pop("additional_special_tokens", None)
        added = self._tokenizer.get_added_tokens_decoder()
        return {
            **stated,
            **{name: None for name in NAMED_TOKENS if name in stated},
            **self.special_tokens_map,
            "extra_special_tokens": list(self._checkpoint.extra_special_tokens),
            "added_tokens_decoder": {
                str(index): _token_object(token) for index, token in sorted(added.items())
            },
            "tokenizer_class": settings.class_name,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "model_input_names": self.model_input_names,
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
        }

    def _wants(self, name: str, requested: bool | None) -> bool:
        return name in self.model_input_names if requested is None else requested

    def _checked_pad_token(self) -> tuple[int, str]:
        """Id and name of the pad token; OptionError if there is none."""
        if self.pad_token is None:
            raise OptionError(
                f"{self.name_or_path}: cannot pad, as the tokenizer has no pad token. Set one, "
                'such as tokenizer.pad_token = tokenizer.eos_token, or "pad_token" in its '
                "tokenizer_config.json"
            )
        return self.pad_token_id, self.pad_token

    def _pad_all(
        self, encodings: Sequence[tokenizers.Encoding], settings: PaddingSettings | None
    ) -> None:
        if settings is None:
            return
        pad_token_id, pad_token = self._checked_pad_token()
        width = settings.width(map(len, encodings))
        for encoding in encodings:
            encoding.pad(width, direction=settings.side, pad_id=pad_token_id, pad_token=pad_token)

    def _warn_too_long(self, encodings: Sequence[tokenizers.Encoding]) -> None:
        lengths = [len(encoding) for encoding in encodings]
        longest = max(lengths, default=0)
        if longest > self.model_max_length:
            warnings.warn(
                f"text {lengths.index(longest)}: has {longest} tokens, but the model accepts "
                f"{self.model_max_length}; use truncation=True",
                IsobatchWarning,
                stacklevel=3,
            )


def _token_object(token: AddedToken) -> dict[str, object]:
    """The JSON of an added token in tokenizer_config.json."""
    names = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {name: getattr(token, name) for name in names}
