"""Thread-safe tokenization of texts and pairs by the `tokenizers` library.

Invariant: truncation is an argument of one call, never a setting that another thread could see.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import tokenizers

from isobatch.checkpoint.checkpoint_tokenizer import TokenizerSide
from isobatch.checkpoint.text_encoder import check_texts
from isobatch.compat.tokenizer_options import TruncationSettings
from isobatch.errors import InputError, OptionError
from isobatch.kernels import fork_safe_lock
from isobatch.types import TextInput

TextBatch = Sequence[str] | Sequence[Sequence[str]]


def check_rows(
    text: str | TextBatch | None, text_pair: str | Sequence[str] | None
) -> list[TextInput]:
    """Return one text or pair per row; InputError names the first row that is neither.

    As in transformers, a list of two-item tuples or lists is a batch of pairs, and an empty
    text_pair of a single text counts as None.
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


def check_words(text: object, text_pair: object) -> tuple[bool, list[list[str]]]:
    """Return whether there is one list of words, and all lists; InputError names the first other.

    As in transformers, a list of strings is one text, and a list of lists several.
    """
    if text_pair is not None:
        raise InputError("text_pair: pairs of word lists are not supported. Pass strings")
    if not isinstance(text, list | tuple) or not text:
        raise InputError(
            "text must be a list of words, or a list of such lists, with is_split_into_words=True; "
            f"got {text!r}"
        )
    alone = isinstance(text[0], str)
    rows = [text] if alone else text
    for index, row in enumerate(rows):
        if not isinstance(row, list | tuple) or not all(isinstance(word, str) for word in row):
            raise InputError(f"expected a list of words, got {str(row)[:40]}", index)
    check_texts(" ".join(row) for row in rows)
    return alone, [list(row) for row in rows]


class SharedTokenizer:
    """A tokenizer shared by threads; a lock isolates the truncation of each call."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = fork_safe_lock()

    def __getstate__(self) -> tuple[tokenizers.Tokenizer, bool]:
        """Pickle without the lock, and with the setting that the library leaves out."""
        return self._tokenizer, self._tokenizer.encode_special_tokens

    def __setstate__(self, state: tuple[tokenizers.Tokenizer, bool]) -> None:
        self._tokenizer, whole = state
        self._tokenizer.encode_special_tokens = whole
        self._lock = fork_safe_lock()

    def encode(
        self,
        texts: Sequence[TextInput | list[str]],
        cut: TruncationSettings | None,
        side: TokenizerSide,
        *,
        special_tokens: bool = True,
    ) -> list[tokenizers.Encoding]:
        """Encode texts, or lists of words; InputError names the index of one that cannot be."""
        split = any(isinstance(text, list) for text in texts)
        self._check_max_length(texts, cut, special_tokens)
        with self._lock:
            self._set_truncation(cut, side)
            try:
                # Not encode_batch_fast, which omits offsets and token strings.
                encoded = self._tokenizer.encode_batch(
                    texts, is_pretokenized=split, add_special_tokens=special_tokens
                )
                return list(encoded)
            except Exception:  # the library raises bare Exception where truncation is impossible
                if not split:
                    check_texts(texts)
                self._raise_untruncatable(texts, cut, special_tokens)
                raise

    def save(self, path: Path) -> None:
        """Write tokenizer.json, without any truncation."""
        with self._lock:
            self._set_truncation(None, "right")
            self._tokenizer.save(str(path))

    def _set_truncation(self, cut: TruncationSettings | None, side: TokenizerSide) -> None:
        if cut is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(cut.max_length, strategy=cut.strategy, direction=side)

    def _check_max_length(
        self,
        texts: Sequence[TextInput | list[str]],
        cut: TruncationSettings | None,
        special_tokens: bool,
    ) -> None:
        """The library truncates nothing where the special tokens alone exceed max_length."""
        if cut is None or not special_tokens:
            return
        pairs = any(isinstance(text, tuple) for text in texts)
        needed = self._tokenizer.num_special_tokens_to_add(pairs)
        if cut.max_length < needed:
            raise OptionError(
                f"max_length={cut.max_length} leaves no room for the {needed} special tokens of "
                f"a {'pair' if pairs else 'text'}; increase max_length"
            )

    def _raise_untruncatable(
        self,
        texts: Sequence[TextInput | list[str]],
        cut: TruncationSettings | None,
        special_tokens: bool,
    ) -> None:
        if cut is None:
            return
        for index, text in enumerate(texts):
            try:
                self._tokenizer.encode_batch_fast(
                    [text],
                    is_pretokenized=isinstance(text, list),
                    add_special_tokens=special_tokens,
                )
            except Exception as error:
                raise InputError(
                    f"text {index}: cannot be truncated to {cut.max_length} tokens by "
                    f"{cut.strategy!r}: {error}; use truncation=True"
                ) from error
