"""AutoTokenizer and Tokenizer: transformers' tokenizer API over the `tokenizers` library.

Invariant: a call's options apply to that call alone, also when threads share the tokenizer.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import tokenizers

from isobatch.checkpoint import locate_checkpoint
from isobatch.checkpoint.text_encoder import (
    NO_LIMIT,
    model_max_length,
    read_tokenizer,
    tokenizer_config,
)
from isobatch.compat.batch_encoding import (
    BatchEncoding,
    EncodedInput,
    TensorKind,
    collect_columns,
    pad_columns,
    read_columns,
    to_tensors,
)
from isobatch.compat.shared_tokenizer import SharedTokenizer, TextBatch, check_rows
from isobatch.compat.special_tokens import read_input_names, read_special_tokens
from isobatch.compat.tokenizer_calls import reject_call_options
from isobatch.compat.tokenizer_options import (
    PaddingOption,
    PaddingSettings,
    TokenizerSide,
    TruncationOption,
    check_side,
    resolve_options,
)
from isobatch.compat.tokenizer_vocabulary import TokenizerVocabulary
from isobatch.errors import InputError, IsobatchWarning, OptionError

_UNLIMITED = int(1e30)
"""transformers' model_max_length where tokenizer_config.json has none."""

_PLAIN_CLASS = "PreTrainedTokenizerFast"
"""The class of transformers that reads tokenizer.json unchanged."""

_PATH_KEYS = ("name_or_path", "special_tokens_map_file", "tokenizer_file")
"""Keys of tokenizer_config.json with paths of the original tokenizer; they are not saved."""


class AutoTokenizer:
    """transformers' entry point; `from_pretrained` returns a Tokenizer."""

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        *,
        revision: str | None = None,
        padding_side: TokenizerSide | None = None,
        truncation_side: TokenizerSide | None = None,
        use_fast: bool = True,
    ) -> "Tokenizer":
        """Load the tokenizer of a folder, a hub id, or the bundled model (None)."""
        if not use_fast:
            raise OptionError("use_fast=False is not supported; remove it")
        folder = locate_checkpoint(path, revision)
        tokenizer = Tokenizer(folder, padding_side=padding_side, truncation_side=truncation_side)
        tokenizer.name_or_path = str(folder if path is None else path)
        return tokenizer


class Tokenizer(TokenizerVocabulary):
    """The tokenizer in a checkpoint folder.

    `padding_side`, `truncation_side` and `model_max_length` are the defaults of every call, and can
    be set.
    """

    def __init__(
        self,
        folder: Path,
        *,
        padding_side: TokenizerSide | None = None,
        truncation_side: TokenizerSide | None = None,
    ) -> None:
        tokenizer, options = read_tokenizer(folder), tokenizer_config(folder)
        tidy = bool(options.get("clean_up_tokenization_spaces", False))
        super().__init__(tokenizer, read_special_tokens(folder, tokenizer), tidy)
        limit = model_max_length(folder)
        self.name_or_path = str(folder)
        self.model_input_names = read_input_names(folder)
        self.model_max_length = _UNLIMITED if limit >= NO_LIMIT else limit
        self.padding_side = _side("padding_side", padding_side, options)
        self.truncation_side = _side("truncation_side", truncation_side, options)
        self._stated_options = options
        self._shared = SharedTokenizer(tokenizer)

    def __repr__(self) -> str:
        return (
            f"Tokenizer(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"model_max_length={self.model_max_length}, padding_side={self.padding_side!r}, "
            f"truncation_side={self.truncation_side!r}, special_tokens={self.special_tokens_map})"
        )

    def __call__(
        self,
        text: str | TextBatch,
        text_pair: str | Sequence[str] | None = None,
        *,
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

        Options as in transformers: padding "longest" (True) or "max_length"; truncation
        "longest_first" (True), "only_first" or "only_second"; return_tensors "pt" or "np".
        """
        reject_call_options("tokenizer(...)", kwargs)
        pad, cut = resolve_options(
            padding,
            truncation,
            max_length,
            pad_to_multiple_of,
            padding_side or self.padding_side,
            self.model_max_length,
        )
        encodings = self._shared.encode(
            check_rows(text, text_pair),
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
        alone = isinstance(text, str) and return_tensors is None
        columns = collect_columns(encodings, wanted, alone)
        return BatchEncoding(to_tensors(columns, return_tensors), encodings)

    def encode(
        self, text: str | TextBatch, text_pair: str | Sequence[str] | None = None, **options: Any
    ) -> Any:
        """Return only the input_ids; `options` as in a call."""
        return self(text, text_pair, **options).input_ids

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False
    ) -> list[str]:
        """Split one text or pair into tokens, as strings."""
        if not isinstance(text, str):
            raise InputError(f"tokenize() takes one text, got {type(text).__name__}")
        texts, side = check_rows(text, pair), self.truncation_side
        (encoding,) = self._shared.encode(texts, None, side, special_tokens=add_special_tokens)
        return list(encoding.tokens)

    def pad(
        self,
        encoded_inputs: EncodedInput,
        padding: PaddingOption = True,
        *,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: TokenizerSide | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: TensorKind | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad the output of this tokenizer: a list of encodings, or a dict of columns.

        Columns other than tokens, such as labels, are left unchanged; tensors stay tensors.
        """
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

    def save_pretrained(self, folder: str | Path) -> tuple[str, str]:
        """Write tokenizer_config.json and tokenizer.json, for this package and for transformers."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config, tokenizer = folder / "tokenizer_config.json", folder / "tokenizer.json"
        options = json.dumps(self._options(), indent=2, sort_keys=True, ensure_ascii=False)
        config.write_text(options + "\n", encoding="utf-8")
        self._shared.save(tokenizer)
        return str(config), str(tokenizer)

    def _options(self) -> dict[str, Any]:
        """The contents of tokenizer_config.json, completed with everything resolved without it."""
        stated = {key: v for key, v in self._stated_options.items() if key not in _PATH_KEYS}
        if self._special_tokens.extra and "extra_special_tokens" not in stated:
            stated["additional_special_tokens"] = list(self._special_tokens.extra)
        return {
            **stated,
            **self.special_tokens_map,
            "tokenizer_class": stated.get("tokenizer_class") or _PLAIN_CLASS,
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
                f"{self.name_or_path}: cannot pad, as the tokenizer has no pad token; "
                'set "pad_token" in its tokenizer_config.json'
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


def _side(
    name: str, requested: TokenizerSide | None, options: Mapping[str, object]
) -> TokenizerSide:
    """The requested side, or that of tokenizer_config.json, or right."""
    return check_side(name, cast("TokenizerSide", requested or options.get(name) or "right"))
