"""Tokenization: text to Encoding, with Hugging Face's `tokenizers` library.

Texts longer than `max_tokens` are truncated and marked, or rejected. Invariant: no padding, no
silent truncation, and an encoding depends on its own text alone.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import tokenizers

from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer, read_tokenizer
from isobatch.errors import InputError, OptionError, TooLongError
from isobatch.types import TRUNCATIONS, Encoding, TextInput, Truncation

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextEncoder:
    """Encodes texts and pairs for one model. Thread-safe: it is immutable after construction."""

    def __init__(self, tokenizer: CheckpointTokenizer, max_tokens: int) -> None:
        self.max_tokens = min(max_tokens, tokenizer.model_max_length)
        self.truncation_side = tokenizer.truncation_side
        self._passes_token_types = tokenizer.passes_token_types
        self._tokenizer = tokenizer.backend
        self._tokenizer.enable_truncation(
            self.max_tokens, strategy="longest_first", direction=tokenizer.truncation_side
        )

    @classmethod
    def from_folder(cls, folder: Path, max_tokens: int) -> "TextEncoder":
        """Read the tokenizer in `folder`; the shorter of its own limit and `max_tokens` applies."""
        return cls(read_tokenizer(folder), max_tokens)

    def encode(
        self, texts: Sequence[TextInput], truncation: Truncation = "cut", first_index: int = 0
    ) -> list[Encoding]:
        """Encode texts in order. Raises InputError with the index, counted from `first_index`."""
        return raise_first_error(self.encode_or_errors(texts, truncation, first_index))

    def encode_or_errors(
        self, texts: Sequence[object], truncation: Truncation = "cut", first_index: int = 0
    ) -> list[Encoding | InputError]:
        """Return for each text, in order, its encoding, or the error that it causes."""
        check_truncation(truncation)
        errors = {
            index: error
            for index, text in enumerate(texts)
            if (error := input_error(text, first_index + index))
        }
        valid = texts
        if errors:
            valid = [text for index, text in enumerate(texts) if index not in errors]
        encoded = iter(self._encode(cast("Sequence[TextInput]", valid)))
        return [
            errors.get(index) or self._checked(next(encoded), first_index + index, truncation)
            for index in range(len(texts))
        ]

    @property
    def num_tokens(self) -> int:
        """Number of tokens, added ones included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def token(self, token_id: int) -> str | None:
        """Return the token with this id, None if there is none; added ones unnormalized."""
        added = self._tokenizer.get_added_tokens_decoder().get(token_id)
        return added.content if added else self._tokenizer.id_to_token(token_id)

    def __getstate__(self) -> dict[str, object]:
        """Pickle also the one setting that the library leaves out of a pickled tokenizer."""
        whole = self._tokenizer.encode_special_tokens
        return {**self.__dict__, "encode_special_tokens": whole}

    def __setstate__(self, state: dict[str, object]) -> None:
        whole = bool(state.pop("encode_special_tokens"))
        self.__dict__.update(state)
        self._tokenizer.encode_special_tokens = whole

    def _encode(self, texts: Sequence[TextInput]) -> list[tokenizers.Encoding]:
        """Tokenize a batch with threads, one text without: they would disturb torch's own."""
        if len(texts) != 1:
            return self._tokenizer.encode_batch_fast(list(texts))
        parts = (texts[0],) if isinstance(texts[0], str) else texts[0]
        return [self._tokenizer.encode(*parts)]

    def _checked(
        self, encoded: tokenizers.Encoding, index: int, truncation: Truncation
    ) -> Encoding | InputError:
        if not len(encoded):
            # Only a tokenizer without special tokens returns nothing for an empty text.
            return InputError(
                "has no tokens, and this tokenizer adds none (no [CLS] or <s>). "
                "Check whether tokenizer.json lacks its post-processor",
                index,
            )
        truncated = bool(encoded.overflowing)
        if truncated and truncation == "error":
            return TooLongError(
                f"has more than {self.max_tokens} tokens, the maximum of this "
                'model. Shorten it, or allow truncation="cut"',
                index,
            )
        ids = encoded.ids
        return Encoding(
            ids, encoded.type_ids if self._passes_token_types else [0] * len(ids), truncated
        )


def raise_first_error(results: Iterable[Encoding | InputError]) -> list[Encoding]:
    """Return the encodings; raises the first error in their place."""
    encodings = []
    for result in results:
        if isinstance(result, InputError):
            raise result
        encodings.append(result)
    return encodings


def check_truncation(truncation: str) -> None:
    """Raise OptionError unless `truncation` is one of TRUNCATIONS."""
    if truncation not in TRUNCATIONS:
        raise OptionError(f"truncation must be 'cut' or 'error', got {truncation!r}")


def check_texts(texts: Iterable[object]) -> None:
    """Raise InputError, with its index, for the first item that is not a text or a pair."""
    for index, text in enumerate(texts):
        if error := input_error(text, index):
            raise error


def input_error(text: object, index: int) -> InputError | None:
    """Return why `text` cannot be encoded; None for Unicode text and for a tuple of two."""
    parts, expected = (text, 2) if isinstance(text, tuple) else ((text,), 1)
    if len(parts) != expected or not all(isinstance(part, str) for part in parts):
        return InputError(
            "expected a string or a (text, text_pair) tuple of two strings, "
            f"got {type(text).__name__}: {str(text)[:40]!r}",
            index,
        )
    for part in parts:
        # isascii is a flag of the string: most texts need no more than that.
        if not part.isascii() and (found := _SURROGATE.search(part)):
            return InputError(
                f"character {found.start()} is a lone surrogate (U+{ord(found[0]):04X}), which is "
                'not Unicode text. Decode the source with errors="replace", or replace it',
                index,
            )
    return None
