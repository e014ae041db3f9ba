"""Tokenization: text to Encoding, with Hugging Face's `tokenizers` library.

Texts longer than `max_tokens` are truncated and marked, rejected, or read in windows. Invariant: no
padding, no silent truncation, and an encoding depends on its own text alone.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import tokenizers

from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer, read_tokenizer
from isobatch.checkpoint.pair_layout import PairLayout, read_pair_layout
from isobatch.checkpoint.truncation import check_truncation, windows_of
from isobatch.checkpoint.windows import join_windows, text_part, window_spans
from isobatch.errors import InputError, OptionError, TooLongError
from isobatch.types import Encoding, TextInput, TextWindows, Truncation

_SURROGATE = re.compile("[\ud800-\udfff]")


_LONG_CHARACTERS = 4096


class TextEncoder:
    """Encodes texts and pairs for one model. Thread-safe: no call changes a setting of another."""

    def __init__(self, tokenizer: CheckpointTokenizer, max_tokens: int) -> None:
        self.max_tokens = min(max_tokens, tokenizer.model_max_length)
        self.truncation_side = tokenizer.truncation_side
        self._passes_token_types = tokenizer.passes_token_types
        self._tokenizer = tokenizer.backend
        self._untruncated: tokenizers.Tokenizer | None = None
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
        self,
        texts: Sequence[object],
        truncation: Truncation = "cut",
        first_index: int = 0,
        *,
        prompt: str = "",
    ) -> list[Encoding | InputError]:
        """Return for each text, in order, its encoding, or the error that it causes.

        prompt: the beginning of each text, which all of its windows have.
        """
        self.check(truncation)
        errors = {
            index: error
            for index, text in enumerate(texts)
            if (error := input_error(text, first_index + index))
        }
        valid = texts
        if errors:
            valid = [text for index, text in enumerate(texts) if index not in errors]
        encoded = iter(self._encode(cast("Sequence[TextInput]", valid)))
        results = [
            errors.get(index) or self._checked(next(encoded), first_index + index, truncation)
            for index in range(len(texts))
        ]
        if windows := windows_of(truncation):
            for index, result in enumerate(results):
                if isinstance(result, Encoding) and result.truncated:
                    text = cast("TextInput", texts[index])
                    results[index] = self._in_windows(text, windows, prompt, first_index + index)
        return results

    def check(self, truncation: Truncation) -> None:
        """Raise OptionError for another value, or a stride that no window has room for."""
        check_truncation(truncation)
        windows = windows_of(truncation)
        if windows is None or windows.stride is None:
            return
        room = self.max_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if windows.stride >= room:
            raise OptionError(
                f"stride must be less than {room}, the number of text tokens that fit into a "
                f"window of this model, got {windows.stride}"
            )

    def encode_aligned(
        self, text: str | list[str], truncation: Truncation, index: int
    ) -> tuple[tokenizers.Encoding, Encoding | InputError]:
        """Encode one valid text or list of words; also returns where its tokens come from.

        For a truncation in windows the encoding is that of the whole text.
        """
        aligned = _encode_one(self._tokenizer, text)
        result = self._checked(aligned, index, truncation)
        if windows_of(truncation) and isinstance(result, Encoding) and result.truncated:
            aligned = self.encode_whole(text)
            result = self.as_encoding(aligned)
        return aligned, result

    def encode_filled(
        self, text: str, part: tuple[int, int], truncation: Truncation, index: int
    ) -> Encoding | InputError:
        """Encode a text to which no special token is added, and of which only a part may be cut.

        part: where its characters begin and stop; its last tokens are cut.
        """
        encoded = self._whole.encode(text, add_special_tokens=False)
        ids, excess = encoded.ids, len(encoded) - self.max_tokens
        if excess <= 0:
            return self.as_encoding(encoded)
        if truncation == "error":
            return _too_long(self.max_tokens, index)
        start = sum(stop <= part[0] for _, stop in encoded.offsets)
        stop = sum(first < part[1] for first, _ in encoded.offsets)
        if stop - start <= excess:
            return InputError(
                f"the template and the query alone have {len(ids) - (stop - start)} tokens, of the "
                f"{self.max_tokens} that the model reads. Shorten the query",
                index,
            )
        kept = ids[: stop - excess] + ids[stop:]
        return Encoding(kept, [0] * len(kept), truncated=True)

    def encode_whole(self, text: TextInput | list[str]) -> tokenizers.Encoding:
        """Return all tokens of a text, a pair or a list of words, with their offsets and words.

        It may be longer than the model. The text must be valid, see `input_error`.
        """
        return _encode_one(self._whole, text)

    @property
    def _whole(self) -> tokenizers.Tokenizer:
        """The tokenizer that cuts nothing."""
        if self._untruncated is None:
            self._untruncated = without_truncation(self._tokenizer)
        return self._untruncated

    def as_encoding(self, encoded: tokenizers.Encoding, *, truncated: bool = False) -> Encoding:
        """Take what the model reads of the library's encoding."""
        ids = encoded.ids
        types = encoded.type_ids if self._passes_token_types else [0] * len(ids)
        return Encoding(ids, types, truncated)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text without special tokens; those of a long one may be cut.

        At least the `max_tokens` are there that any truncation keeps.
        """
        if len(texts) == 1:  # see _encode
            return [self._tokenizer.encode(texts[0], add_special_tokens=False).ids]
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [each.ids for each in encoded]

    def pair_layout(self) -> PairLayout:
        """Return how the ids of two texts become those of a pair."""
        return read_pair_layout(self._tokenizer, has_types=self._passes_token_types)

    @property
    def finds_words(self) -> bool:
        """Whether the tokenizer splits a text into words before it looks for tokens."""
        return self._tokenizer.pre_tokenizer is not None

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
        return {**self.__dict__, "_untruncated": None, "encode_special_tokens": whole}

    def __setstate__(self, state: dict[str, object]) -> None:
        whole = bool(state.pop("encode_special_tokens"))
        self.__dict__.update(state)
        self._tokenizer.encode_special_tokens = whole

    def _encode(self, texts: Sequence[TextInput]) -> list[tokenizers.Encoding]:
        """Tokenize a batch with threads, one text without: they would disturb torch's own."""
        if len(texts) != 1:
            return self._tokenizer.encode_batch_fast(list(texts))
        return [_encode_one(self._tokenizer, texts[0])]

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
            return _too_long(self.max_tokens, index)
        return self.as_encoding(encoded, truncated=truncated)

    def _in_windows(
        self, text: TextInput, windows: TextWindows, prompt: str, index: int
    ) -> Encoding | InputError:
        """Encode a text that is longer than the model."""
        encoded = self.encode_whole(text)
        whole, part = self.as_encoding(encoded), text_part(encoded, len(prompt))
        limits = len(whole), part, self.max_tokens, windows.stride
        try:
            spans = window_spans(*limits, side=self.truncation_side)
        except InputError as error:
            return error.at(index)
        return join_windows(whole, part, spans, windows.pooling, side=self.truncation_side)


def _too_long(max_tokens: int, index: int) -> TooLongError:
    return TooLongError(
        f"has more than {max_tokens} tokens, the maximum of this "
        'model. Shorten it, or allow truncation="cut" or "window"',
        index,
    )


def _encode_one(
    tokenizer: tokenizers.Tokenizer, text: TextInput | list[str]
) -> tokenizers.Encoding:
    """Tokenize one text; while a long one is tokenized, other threads of Python can run.

    `encode` keeps the interpreter's lock: 3 s for 2 MB, in which a server did not respond.
    """
    words = isinstance(text, list)
    if (len(text) if isinstance(text, str) else sum(map(len, text))) > _LONG_CHARACTERS:
        return tokenizer.encode_batch([text], is_pretokenized=words)[0]
    if isinstance(text, list):
        return tokenizer.encode(text, is_pretokenized=True)
    return tokenizer.encode(*((text,) if isinstance(text, str) else text))


def without_truncation(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Copy a tokenizer, whose truncation is a setting that all threads share."""
    copied = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.encode_special_tokens = tokenizer.encode_special_tokens
    return copied


def raise_first_error(results: Iterable[Encoding | InputError]) -> list[Encoding]:
    """Return the encodings; raises the first error in their place."""
    encodings = []
    for result in results:
        if isinstance(result, InputError):
            raise result
        encodings.append(result)
    return encodings


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
                'not Unicode text. Decode the source with errors="replace", or replace the '
                "character",
                index,
            )
    return None
