"""Tokens of a text for token classification: ids, and the characters and word of each token.

Texts, or lists of words; a text that is longer than the model is read in windows. Invariant: the
characters of a token are a part of the caller's text, or of the words joined by single spaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import tokenizers

from isobatch.checkpoint.text_encoder import TextEncoder, input_error
from isobatch.checkpoint.truncation import windows_of
from isobatch.checkpoint.windows import Window, cut_windows, text_part
from isobatch.errors import InputError
from isobatch.types import Encoding, Truncation

Span = tuple[int, int]
"""Characters of a text, the end excluded."""

_PROBE = ["x", "x"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEncoding(Encoding):
    """An encoding with the origin of its tokens; each sequence has one entry a token.

    text: the caller's, or the words joined by spaces. spans: the characters of each token.
    words: the word of each token, None for special tokens. is_split: the words are the caller's.
    cuts: the windows of a text that is longer than the model; the sequences above are of its whole.
    """

    text: str
    spans: Sequence[Span]
    words: Sequence[int | None]
    is_split: bool = False
    cuts: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class WordList:
    """One text that the caller has split into words; they are not checked yet."""

    words: Sequence[object]


class TokenEncoder:
    """Encodes texts and word lists for one model, as TextEncoder does, with the tokens' origin.

    finds_words: the tokenizer splits a text into words before it looks for tokens.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.finds_words = encoder.finds_words

    @cached_property
    def _joins_words(self) -> bool:
        """Whether words without the space before them are read as parts of one word."""
        separate, _ = self.encoder.encode_aligned(_PROBE, "cut", 0)
        text, _ = self.encoder.encode_aligned(" ".join(_PROBE), "cut", 0)
        return bool(separate.ids != text.ids)

    def encode(
        self, item: object, truncation: Truncation, index: int
    ) -> TokenEncoding | InputError:
        """Encode a text or a WordList; returns the error that it causes, with its index."""
        try:
            words = self._checked_words(item.words) if isinstance(item, WordList) else None
            text = _checked_text(item) if words is None else _checked_text(" ".join(words))
            given = text if words is None else words
            aligned, whole = self.encoder.encode_aligned(given, truncation, index)
            if isinstance(whole, InputError):
                return whole
            spans = _spans_of(aligned, words)
            if 0 in aligned.special_tokens_mask:
                _check_spans(text, spans)
            cuts = self._cut(aligned, whole, truncation)
        except InputError as error:
            return error.at(index)
        parts = [cut.encoding for cut in cuts]
        return TokenEncoding(
            input_ids=[each for part in parts for each in part.input_ids],
            token_type_ids=[each for part in parts for each in part.token_type_ids],
            truncated=whole.truncated,
            num_windows=len(parts),
            window_lengths=tuple(map(len, parts)) if len(parts) > 1 else (),
            text=text,
            spans=spans,
            words=self._words(aligned),
            is_split=words is not None,
            cuts=cuts if len(cuts) > 1 else (),
        )

    def _cut(
        self, aligned: tokenizers.Encoding, whole: Encoding, truncation: Truncation
    ) -> tuple[Window, ...]:
        windows = windows_of(truncation)
        stride = windows.stride if windows else None
        return cut_windows(whole, text_part(aligned), self.encoder.max_tokens, stride)

    def _checked_words(self, words: Sequence[object]) -> list[str]:
        if not words:
            raise InputError("has no words. Leave it out, or pass the text as a string")
        if self._joins_words:
            raise InputError(
                "this tokenizer marks the space before a word, and words without their spaces "
                "would be read as one: 'xx' for \"x x\". Pass the text as a string, or set "
                '"add_prefix_space": true in tokenizer_config.json, if the model was trained that '
                "way"
            )
        checked = [each for each in words if isinstance(each, str)]
        if len(checked) < len(words):
            place = next(place for place, each in enumerate(words) if not isinstance(each, str))
            raise InputError(f"word {place} is {type(words[place]).__name__}, expected a string")
        return checked

    def _words(self, aligned: tokenizers.Encoding) -> list[int | None]:
        """Return the word of each token; of a tokenizer that finds none, each token is one."""
        special = aligned.special_tokens_mask
        ids = aligned.word_ids if self.finds_words else range(len(special))
        return [None if mask else word for mask, word in zip(special, ids, strict=True)]


def _checked_text(item: object) -> str:
    if isinstance(item, tuple):
        raise InputError(
            "is a pair, but entities are found in single texts. Pass each text on its own"
        )
    if not isinstance(item, str):
        advice = ". For words, pass is_split_into_words=True" if isinstance(item, list) else ""
        raise InputError(f"expected a string, got {type(item).__name__}{advice}")
    if error := input_error(item, 0):
        raise error
    return item


def _spans_of(aligned: tokenizers.Encoding, words: Sequence[str] | None) -> list[Span]:
    """Return the characters of each token, in the joined words if there are any."""
    if words is None:
        return aligned.offsets
    # The library counts the characters of each word from 0 on.
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    return [
        (0, 0) if word is None else (starts[word] + start, starts[word] + end)
        for word, (start, end) in zip(aligned.word_ids, aligned.offsets, strict=True)
    ]


def _check_spans(text: str, spans: Sequence[Span]) -> None:
    if text and not text.isspace() and not any(end for _, end in spans):
        raise InputError(
            "the tokenizer returns no offsets, so the characters of an entity are unknown. Save "
            "tokenizer.json again with AutoTokenizer of transformers"
        )
