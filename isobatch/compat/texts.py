"""Texts as a script gives them → checked texts and pairs → Encodings of the `tokenizers` library.

It knows no padding and no tensors. Invariant: truncation is an argument of one call and never a
setting that another thread could see.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import tokenizers

from isobatch.checkpoint.tokenizer import check_texts
from isobatch.compat.options import Side, Truncation
from isobatch.errors import InputError, OptionError
from isobatch.types import TextInput

TextBatch = Sequence[str] | Sequence[Sequence[str]]


def read_texts(text: str | TextBatch, text_pair: str | Sequence[str] | None) -> list[TextInput]:
    """One text or pair for each row. InputError names the first that is neither.

    As in transformers, a list of two-item tuples or lists is a batch of pairs, and an empty
    text_pair of a single text is none.
    """
    rows: list[object]
    if isinstance(text, str):
        rows = [text if text_pair is None or text_pair == "" else (text, text_pair)]
    elif not isinstance(text, list | tuple):
        raise InputError(f"text must be a string or a list of strings, got {type(text).__name__}")
    elif text_pair is None:
        rows = [tuple(row) if isinstance(row, list) else row for row in text]
    elif not isinstance(text_pair, list | tuple) or len(text_pair) != len(text):
        raise InputError(f"text_pair must be a list of {len(text)} strings, one for each text")
    else:
        rows = list(zip(text, text_pair, strict=True))
    check_texts(rows)
    return cast("list[TextInput]", rows)


class SharedTokenizer:
    """A tokenizer that threads share. A lock keeps each call's truncation to itself."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()

    def encode(
        self,
        texts: Sequence[TextInput],
        cut: Truncation | None,
        side: Side,
        *,
        special_tokens: bool = True,
    ) -> list[tokenizers.Encoding]:
        """One Encoding for each text. InputError names the index of one that cannot be encoded."""
        self._check_room(texts, cut, special_tokens)
        with self._lock:
            self._switch(cut, side)
            try:
                # Not encode_batch_fast: it leaves out offsets and the tokens' names.
                encoded = self._tokenizer.encode_batch(texts, add_special_tokens=special_tokens)
                return list(encoded)
            except Exception:  # the library raises bare Exception where a text cannot be cut so
                check_texts(texts)
                self._refuse_uncuttable(texts, cut, special_tokens)
                raise

    def save(self, path: Path) -> None:
        """Write tokenizer.json, without any truncation."""
        with self._lock:
            self._switch(None, "right")
            self._tokenizer.save(str(path))

    def _switch(self, cut: Truncation | None, side: Side) -> None:
        if cut is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(cut.max_length, strategy=cut.strategy, direction=side)

    def _check_room(
        self, texts: Sequence[TextInput], cut: Truncation | None, special_tokens: bool
    ) -> None:
        """Where special tokens alone are more than max_length, the library cuts nothing at all."""
        if cut is None or not special_tokens:
            return
        pairs = not all(isinstance(text, str) for text in texts)
        needed = self._tokenizer.num_special_tokens_to_add(pairs)
        if cut.max_length < needed:
            raise OptionError(
                f"max_length={cut.max_length} leaves no room for the {needed} special tokens of "
                f"a {'pair' if pairs else 'text'}; choose a larger one"
            )

    def _refuse_uncuttable(
        self, texts: Sequence[TextInput], cut: Truncation | None, special_tokens: bool
    ) -> None:
        for index, text in enumerate(texts if cut is not None else ()):
            try:
                self._tokenizer.encode_batch_fast([text], add_special_tokens=special_tokens)
            except Exception as error:
                raise InputError(
                    f"text {index}: cannot be cut as asked, to {cut}: {error}; use truncation=True"
                ) from error
