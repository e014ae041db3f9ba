"""Where a token comes from: words and characters of the text, in transformers' terms."""

from collections.abc import Sequence
from typing import NamedTuple

import tokenizers

from isobatch.errors import InputError, OptionError


class CharSpan(NamedTuple):
    """Characters of the text, `end` excluded."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens of a row, `end` excluded."""

    start: int
    end: int


class TokenAlignment:
    """The half of BatchEncoding that needs the `tokenizers` library's encodings.

    The first argument of two is the row; of one, row 0 is meant. Raises OptionError where `pad()`
    or a script made the columns, and InputError for a row or place that does not exist.
    """

    _encodings: Sequence[tokenizers.Encoding]

    @property
    def encodings(self) -> Sequence[tokenizers.Encoding] | None:
        return self._encodings or None

    @property
    def is_fast(self) -> bool:
        """Whether tokens can be aligned with the text."""
        return bool(self._encodings)

    @property
    def n_sequences(self) -> int | None:
        """1 for a text, 2 for a pair."""
        return self._encodings[0].n_sequences if self._encodings else None

    def tokens(self, batch_index: int = 0) -> list[str]:
        """List the tokens of one row as strings, special tokens and padding included."""
        return list(self._row("tokens", batch_index).tokens)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """List the word of each token, None for special tokens."""
        return list(self._row("word_ids", batch_index).word_ids)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """List for each token whether it is of the first or second text, None if of neither."""
        return list(self._row("sequence_ids", batch_index).sequence_ids)

    def token_to_sequence(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """Return whether a token is of the first or second text."""
        encoding, token = self._place("token_to_sequence", batch_or_token_index, token_index)
        return encoding.token_to_sequence(self._token(encoding, token))

    def token_to_word(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """Return the word of a token."""
        encoding, token = self._place("token_to_word", batch_or_token_index, token_index)
        found = encoding.token_to_word(self._token(encoding, token))
        return found[1] if isinstance(found, tuple) else found

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> CharSpan | None:
        """Return the characters of a token."""
        encoding, token = self._place("token_to_chars", batch_or_token_index, token_index)
        span = encoding.token_to_chars(self._token(encoding, token))
        return None if span is None else CharSpan(*span)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the token of a character, None for a space."""
        encoding, char = self._place("char_to_token", batch_or_char_index, char_index)
        token: int | None = encoding.char_to_token(char, sequence_index)
        return token

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the word of a character, None for a space."""
        encoding, char = self._place("char_to_word", batch_or_char_index, char_index)
        word: int | None = encoding.char_to_word(char, sequence_index)
        return word

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """Return the tokens of a word."""
        encoding, word = self._place("word_to_tokens", batch_or_word_index, word_index)
        span = encoding.word_to_tokens(word, sequence_index)
        return None if span is None else TokenSpan(*span)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """Return the characters of a word."""
        encoding, word = self._place("word_to_chars", batch_or_word_index, word_index)
        span = encoding.word_to_chars(word, sequence_index)
        return None if span is None else CharSpan(*span)

    def _row(self, method: str, index: int) -> tokenizers.Encoding:
        if not self._encodings:
            raise OptionError(
                f"{method}() needs what tokenizer(...) returned; pad() and scripts keep no tokens"
            )
        if not -len(self._encodings) <= index < len(self._encodings):
            raise InputError(f"{method}(): there is no row {index} of {len(self._encodings)}")
        return self._encodings[index]

    def _place(
        self, method: str, first: int, second: int | None
    ) -> tuple[tokenizers.Encoding, int]:
        row, place = (0, first) if second is None else (first, second)
        return self._row(method, row), place

    @staticmethod
    def _token(encoding: tokenizers.Encoding, index: int) -> int:
        if not -len(encoding) <= index < len(encoding):
            raise InputError(f"there is no token {index} in a row of {len(encoding)}")
        return index % len(encoding)
