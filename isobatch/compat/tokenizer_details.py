"""The rest of a transformers tokenizer: counts, added tokens, and methods that are not supported.

Invariant: a method of transformers that would change the tokenizer raises OptionError, which says
what to do; none silently does nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import tokenizers

from isobatch.errors import OptionError

CHANGE_IT = (
    "Change it in transformers, save_pretrained, resize the model's embeddings there, and load "
    "that folder"
)
_CALL_IT = "Call tokenizer(text, text_pair, ...)"
_UNSUPPORTED: Mapping[str, str] = {
    "add_tokens": CHANGE_IT,
    "add_special_tokens": CHANGE_IT,
    "train_new_from_iterator": CHANGE_IT,
    "set_truncation_and_padding": "Pass padding and truncation to each call",
    "apply_chat_template": "A classifier takes texts: tokenizer(text)",
    "push_to_hub": "tokenizer.save_pretrained(folder), then `hf upload NAME folder`",
    "save_vocabulary": "tokenizer.save_pretrained(folder) writes tokenizer.json, which has it",
    "encode_plus": _CALL_IT,
    "batch_encode_plus": _CALL_IT,
    "build_inputs_with_special_tokens": _CALL_IT,
    "create_token_type_ids_from_sequences": _CALL_IT,
    "prepare_for_model": _CALL_IT,
    "truncate_sequences": "tokenizer(text, truncation=True, max_length=N)",
}


_FIXED = frozenset(
    {"add_bos_token", "add_eos_token", "add_prefix_space", "do_lower_case", "strip_accents"}
    | {"split_special_tokens", "tokenize_chinese_chars", "trim_offsets"}
    | {"additional_special_tokens", "extra_special_tokens"}
)
"""Attributes that decide the ids of a text in transformers, some of them also when they are set."""


class TokenizerDetails:
    """The facts about one tokenizer that need no text."""

    _tokenizer: tokenizers.Tokenizer
    model_max_length: int
    pad_token_type_id = 0

    def __getattr__(self, name: str) -> Any:
        if name in _UNSUPPORTED:
            return _Unsupported(name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED:
            raise OptionError(
                f"tokenizer.{name} cannot be set: it would change the ids of texts. Set it in "
                "tokenizer_config.json, and load the tokenizer again"
            )
        super().__setattr__(name, value)

    @property
    def vocab(self) -> dict[str, int]:
        """Every token, added ones included, with its id."""
        return dict(self._tokenizer.get_vocab(with_added_tokens=True))

    @property
    def added_tokens_decoder(self) -> dict[int, tokenizers.AddedToken]:
        """The tokens that are matched before the text is split, by id."""
        return dict(self._tokenizer.get_added_tokens_decoder())

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The same tokens, as strings, with their ids."""
        return {token.content: index for index, token in sorted(self.added_tokens_decoder.items())}

    def get_added_vocab(self) -> dict[str, int]:
        """Return `added_tokens_encoder`."""
        return self.added_tokens_encoder

    @property
    def max_len_single_sentence(self) -> int:
        """The most tokens of a text, without the special ones."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """The most tokens of a pair, without the special ones."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Count the special tokens of a text or a pair."""
        return int(self._tokenizer.num_special_tokens_to_add(pair))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens to a text."""
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(tokens))

    def get_special_tokens_mask(
        self,
        token_ids_0: Iterable[int],
        token_ids_1: Iterable[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Mark the special tokens of a row by 1."""
        if token_ids_1 is not None or not already_has_special_tokens:
            raise OptionError(
                "get_special_tokens_mask needs already_has_special_tokens=True; or use "
                "tokenizer(text, return_special_tokens_mask=True)"
            )
        special = set(self.all_special_ids)
        return [int(int(token_id) in special) for token_id in token_ids_0]


class _Unsupported:
    """A method that only raises."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_: object, **__: object) -> Any:
        raise OptionError(f"tokenizer.{self._name} is not supported. {_UNSUPPORTED[self._name]}")
