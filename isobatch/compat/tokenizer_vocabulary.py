"""Conversion between tokens, ids and text, and the special tokens by name.

The half of a transformers tokenizer that needs no padding, truncation or tensors. Invariant:
only the pad token can be set, and nothing here changes the ids of a text.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, overload

from tokenizers.models import BPE

from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer
from isobatch.compat.tokenizer_calls import reject_call_options
from isobatch.compat.tokenizer_details import CHANGE_IT, TokenizerDetails
from isobatch.errors import InputError, OptionError

TokenList = list[str] | tuple[str, ...]

_DECODED = ("skip_special_tokens", "clean_up_tokenization_spaces")
_ID_LIMIT = 2**32  # ids are 32 bits wide in the tokenizers library
_TIDY = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def _special(name: str) -> tuple[property, property]:
    """Make two attributes: a special token and its id, or None. Only the pad token can be set."""

    def set_token(self: "TokenizerVocabulary", token: object) -> None:
        self._set_special(name, token)

    def set_id(self: "TokenizerVocabulary", token_id: object) -> None:
        if isinstance(token_id, int) and 0 <= token_id < len(self):
            token_id = self._tokenizer.id_to_token(token_id)
        self._set_special(name, token_id)

    return (
        property(lambda self: self.special_tokens_map.get(name), set_token),
        property(lambda self: self._id_of_special(name), set_id),
    )


class TokenizerVocabulary(TokenizerDetails):
    """The tokens of one checkpoint."""

    bos_token, bos_token_id = _special("bos_token")
    eos_token, eos_token_id = _special("eos_token")
    unk_token, unk_token_id = _special("unk_token")
    sep_token, sep_token_id = _special("sep_token")
    pad_token, pad_token_id = _special("pad_token")
    cls_token, cls_token_id = _special("cls_token")
    mask_token, mask_token_id = _special("mask_token")
    is_fast = True

    def __init__(self, checkpoint: CheckpointTokenizer) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = checkpoint.backend
        self.clean_up_tokenization_spaces = checkpoint.clean_up_tokenization_spaces

    def __len__(self) -> int:
        """Number of tokens including added ones: the rows that an embedding needs."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def __bool__(self) -> bool:
        return True

    @property
    def vocab_size(self) -> int:
        """Number of tokens without added ones."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=False))

    def get_vocab(self) -> dict[str, int]:
        """Map every token, added ones included, to its id."""
        return dict(self._tokenizer.get_vocab(with_added_tokens=True))

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens by name: {"pad_token": "[PAD]", ...}."""
        return dict(self._checkpoint.special_tokens)

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once, unnamed ones last."""
        special = self._checkpoint
        named, extra = special.special_tokens.values(), special.extra_special_tokens
        return list(dict.fromkeys([*named, *extra]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        ids = map(self._tokenizer.token_to_id, self.all_special_tokens)
        return [token_id for token_id in ids if token_id is not None]

    def _set_special(self, name: str, token: object) -> None:
        """Set the pad token, which changes no id of a text; the others do, and are refused."""
        if name != "pad_token":
            raise OptionError(
                f"tokenizer.{name} cannot be set: it would change the ids of texts. Load the "
                f"tokenizer with it: AutoTokenizer.from_pretrained(path, {name}=...)"
            )
        text = None if token is None else str(token)
        if text is not None and self._tokenizer.token_to_id(text) is None:
            raise OptionError(
                f"tokenizer.pad_token: {token!r} is not in the vocabulary, so that the model has "
                f"no embedding for it. {CHANGE_IT}"
            )
        others = {key: each for key, each in self.special_tokens_map.items() if key != name}
        special = others if text is None else {**others, name: text}
        self._checkpoint = replace(self._checkpoint, special_tokens=special)

    def _id_of_special(self, name: str) -> int | None:
        token = self.special_tokens_map.get(name)
        return None if token is None else self._tokenizer.token_to_id(token)

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int | None: ...
    @overload
    def convert_tokens_to_ids(self, tokens: TokenList) -> list[int | None]: ...
    def convert_tokens_to_ids(self, tokens: str | TokenList) -> int | list[int | None] | None:
        """Return the id of a token, or of each; unknown tokens get the unknown token's id."""
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        known = self._tokenizer.token_to_id(tokens)
        return self._id_of_special("unk_token") if known is None else known

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = ...) -> str | None: ...
    @overload
    def convert_ids_to_tokens(
        self, ids: Iterable[Any], skip_special_tokens: bool = ...
    ) -> list[str | None]: ...
    def convert_ids_to_tokens(
        self, ids: int | Iterable[Any], skip_special_tokens: bool = False
    ) -> str | list[str | None] | None:
        """Return the token of an id, or of each in a list, array or tensor; None if unknown."""
        if isinstance(ids, int):
            return self._tokenizer.id_to_token(_flat_ids(ids)[0])
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._tokenizer.id_to_token(i) for i in _flat_ids(ids) if i not in skipped]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        *positional: object,
        **options: Any,
    ) -> str | list[str]:
        """Decode ids in a list, array or tensor to a text, or a batch of them to a list of texts.

        Spaces are never cleaned up for byte-level BPE, where they are part of the text.
        """
        reject_call_options("tokenizer.decode", options, positional, _DECODED)
        tidy = clean_up_tokenization_spaces
        tidy = self.clean_up_tokenization_spaces if tidy is None else tidy
        ids = _plain(token_ids)
        if isinstance(ids, list | tuple) and ids and isinstance(_plain(ids[0]), list | tuple):
            return [self._decode_row(row, skip_special_tokens, tidy) for row in ids]
        return self._decode_row(ids, skip_special_tokens, tidy)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        *positional: object,
        **options: Any,
    ) -> list[str]:
        """Decode as `decode` does, always to a list."""
        reject_call_options("tokenizer.batch_decode", options, positional, _DECODED)
        decoded = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [decoded] if isinstance(decoded, str) else decoded

    def _decode_row(self, ids: object, skip_special_tokens: bool, tidy: bool) -> str:
        text = self._tokenizer.decode(_flat_ids(ids), skip_special_tokens=skip_special_tokens)
        if tidy and not isinstance(self._tokenizer.model, BPE):
            for loose, tight in _TIDY:
                text = text.replace(loose, tight)
        return text


def _plain(ids: Any) -> Any:
    """Convert arrays and tensors to lists and ints."""
    return ids.tolist() if hasattr(ids, "tolist") else ids


def _flat_ids(ids: Any) -> list[int]:
    plain = _plain(ids)
    row = [plain] if isinstance(plain, int) else [_plain(item) for item in plain]
    for position, item in enumerate(row):
        if not isinstance(item, int) or not 0 <= item < _ID_LIMIT:
            raise InputError(f"invalid token id at position {position}: {item!r}")
    return row
