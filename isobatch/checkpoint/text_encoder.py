"""Tokenization: text to Encoding, with Hugging Face's `tokenizers` library.

Texts longer than `max_tokens` are truncated and marked, or rejected. Invariant: no padding, no
silent truncation, and an encoding depends on its own text alone.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import tokenizers
from tokenizers import AddedToken
from tokenizers.implementations import (  # type: ignore[attr-defined]
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
)
from tokenizers.processors import RobertaProcessing

from isobatch.checkpoint.json_files import read_json
from isobatch.errors import CheckpointError, InputError, OptionError, TooLongError
from isobatch.types import TRUNCATIONS, Encoding, TextInput, Truncation

NO_LIMIT = 1_000_000_000
"""transformers writes 1e30 into model_max_length where a tokenizer has no limit."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextEncoder:
    """Encodes texts and pairs for one model. Thread-safe: it is immutable after construction."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")

    @classmethod
    def from_folder(cls, folder: Path, max_tokens: int) -> "TextEncoder":
        """Read the tokenizer in `folder`; the shorter of its own limit and `max_tokens` applies."""
        return cls(read_tokenizer(folder), min(max_tokens, model_max_length(folder)))

    def encode(
        self, texts: Sequence[TextInput], truncation: Truncation = "cut", first_index: int = 0
    ) -> list[Encoding]:
        """Encode texts in order. Raises InputError with the index, counted from `first_index`."""
        encodings = []
        for result in self.encode_or_errors(texts, truncation, first_index):
            if isinstance(result, InputError):
                raise result
            encodings.append(result)
        return encodings

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
        return Encoding(encoded.ids, encoded.type_ids, truncated)


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


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Read tokenizer.json, or build the tokenizer from vocab.txt, or vocab.json and merges.txt.

    Truncation and padding that the file enables are disabled. Raises CheckpointError if there is no
    tokenizer or it cannot be read.
    """
    try:
        tokenizer = _read_tokenizer(folder)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception for a file that it cannot read
        raise CheckpointError(f"{folder}: the tokenizer cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    if (folder / "tokenizer.json").is_file():
        return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    if (folder / "vocab.txt").is_file():
        return _word_piece(folder)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _byte_level_bpe(folder)
    raise CheckpointError(
        f"{folder}: contains neither tokenizer.json, nor vocab.txt, nor vocab.json with "
        "merges.txt. Save it once with transformers: AutoTokenizer.from_pretrained(folder)"
        ".save_pretrained(folder)"
    )


def _word_piece(folder: Path) -> tokenizers.Tokenizer:
    """Build BERT's tokenizer, with the options of BERT-like tokenizer_config.json files."""
    options = tokenizer_config(folder)
    built = BertWordPieceTokenizer(
        str(folder / "vocab.txt"),
        handle_chinese_chars=bool(options.get("tokenize_chinese_chars", True)),
        strip_accents=cast("bool | None", options.get("strip_accents")),
        lowercase=bool(options.get("do_lower_case", True)),
    )
    return built._tokenizer


def _byte_level_bpe(folder: Path) -> tokenizers.Tokenizer:
    """Build RoBERTa's tokenizer: <s> text </s>, and <s> a </s></s> b </s> for a pair."""
    add_prefix_space = bool(tokenizer_config(folder).get("add_prefix_space", False))
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    built = ByteLevelBPETokenizer(*files, add_prefix_space=add_prefix_space, trim_offsets=True)
    tokenizer: tokenizers.Tokenizer = built._tokenizer
    tokenizer.model.unk_token = "<unk>"
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    sep, cls = ((token, cast("int", tokenizer.token_to_id(token))) for token in ("</s>", "<s>"))
    tokenizer.post_processor = RobertaProcessing(sep, cls, add_prefix_space=add_prefix_space)
    return tokenizer


def tokenizer_config(folder: Path) -> dict[str, object]:
    """Read tokenizer_config.json of `folder`; empty without the file, as in old checkpoints."""
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def model_max_length(folder: Path) -> int:
    """Return the tokenizer's own limit in tokens, NO_LIMIT where it has none.

    Files of 2019 call it `max_len`.
    """
    options = tokenizer_config(folder)
    limit = options.get("model_max_length", options.get("max_len"))
    return int(limit) if isinstance(limit, int | float) and 0 < limit < NO_LIMIT else NO_LIMIT
