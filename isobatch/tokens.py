"""Text to Encoding, by Hugging Face's `tokenizers` library.

It knows nothing of models: what is longer than `max_tokens` is cut and marked, or refused.
Invariant: never a pad, never a silent cut, and an encoding depends on its own text alone.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, cast

import tokenizers
from tokenizers import AddedToken
from tokenizers.implementations import (  # type: ignore[attr-defined]
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
)
from tokenizers.processors import RobertaProcessing

from isobatch.core import Encoding, TextInput
from isobatch.errors import CheckpointError, InputError, OptionError, TooLongError
from isobatch.files import read_json

Truncation = Literal["cut", "error"]
TRUNCATIONS: tuple[Truncation, ...] = ("cut", "error")

NO_LIMIT = 1_000_000_000
"""transformers writes 1e30 into model_max_length where a tokenizer knows no limit."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextEncoder:
    """Encodes texts and pairs for one model. Thread-safe: nothing in it changes after birth."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")

    @classmethod
    def from_folder(cls, folder: Path, max_tokens: int) -> "TextEncoder":
        """Read the tokenizer in `folder`; the shorter of its own limit and `max_tokens` holds."""
        return cls(read_tokenizer(folder), min(max_tokens, model_max_length(folder)))

    def encode(
        self, texts: Sequence[TextInput], truncation: Truncation = "cut", first_index: int = 0
    ) -> list[Encoding]:
        """One Encoding a text, in order. InputError names the index, counted from `first_index`."""
        encodings = []
        for result in self.attempt(texts, truncation, first_index):
            if isinstance(result, InputError):
                raise result
            encodings.append(result)
        return encodings

    def attempt(
        self, texts: Sequence[object], truncation: Truncation = "cut", first_index: int = 0
    ) -> list[Encoding | InputError]:
        """For each text, in order, its Encoding, or the error that says why it has none."""
        check_truncation(truncation)
        faults = {
            index: fault
            for index, text in enumerate(texts)
            if (fault := find_fault(text, first_index + index))
        }
        if faults:
            sound = [text for index, text in enumerate(texts) if index not in faults]
            encoded = iter(self._encode(cast("list[TextInput]", sound)))
        else:
            encoded = iter(self._encode(cast("Sequence[TextInput]", texts)))
        return [
            faults.get(index) or self._checked(next(encoded), first_index + index, truncation)
            for index in range(len(texts))
        ]

    def _encode(self, texts: Sequence[TextInput]) -> list[tokenizers.Encoding]:
        """A batch is tokenized by threads; one text without, which would disturb torch's own."""
        if len(texts) != 1:
            return self._tokenizer.encode_batch_fast(list(texts))
        parts = (texts[0],) if isinstance(texts[0], str) else texts[0]
        return [self._tokenizer.encode(*parts)]

    def _checked(
        self, encoded: tokenizers.Encoding, index: int, truncation: Truncation
    ) -> Encoding | InputError:
        if not len(encoded):
            # Only a tokenizer without special tokens makes nothing of an empty text.
            return InputError(
                "has no tokens, and this tokenizer adds none (no [CLS] or <s>); "
                "is its post-processor missing from tokenizer.json?",
                index,
            )
        truncated = bool(encoded.overflowing)
        if truncated and truncation == "error":
            return TooLongError(
                f"has more than {self.max_tokens} tokens, the most that this "
                'model takes; shorten it, or allow truncation="cut"',
                index,
            )
        return Encoding(encoded.ids, encoded.type_ids, truncated)


def check_truncation(truncation: str) -> None:
    """OptionError unless `truncation` is one of TRUNCATIONS."""
    if truncation not in TRUNCATIONS:
        raise OptionError(f"truncation must be 'cut' or 'error', got {truncation!r}")


def check_texts(texts: Iterable[object]) -> None:
    """InputError for the first that is no text, by its index."""
    for index, text in enumerate(texts):
        if fault := find_fault(text, index):
            raise fault


def find_fault(text: object, index: int) -> InputError | None:
    """Why `text` is no text; None for Unicode text and for a tuple of two of them."""
    parts, expected = (text, 2) if isinstance(text, tuple) else ((text,), 1)
    if len(parts) != expected or not all(isinstance(part, str) for part in parts):
        return InputError(
            "expected a string or a (text, text_pair) tuple of two strings, "
            f"got {type(text).__name__}: {str(text)[:40]!r}",
            index,
        )
    for part in parts:
        # isascii is a flag of the string: most texts are done with it, at no cost.
        if not part.isascii() and (found := _SURROGATE.search(part)):
            return InputError(
                f"character {found.start()} is a lone surrogate (U+{ord(found[0]):04X}), which is "
                'not Unicode text; decode the source with errors="replace", or replace it',
                index,
            )
    return None


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Read tokenizer.json, or build the tokenizer from vocab.txt, or vocab.json and merges.txt.

    A length or padding that is switched on in the file is switched off. CheckpointError if there is
    no tokenizer or it cannot be read.
    """
    try:
        tokenizer = _read_tokenizer(folder)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception for a file that it cannot read
        raise CheckpointError(f"{folder}: its tokenizer cannot be read: {error}") from error
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
        f"{folder}: holds neither tokenizer.json, nor vocab.txt, nor vocab.json with merges.txt; "
        "save it once with transformers: AutoTokenizer.from_pretrained(folder)"
        ".save_pretrained(folder)"
    )


def _word_piece(folder: Path) -> tokenizers.Tokenizer:
    """BERT's tokenizer, with the options that BERT-like tokenizer_config.json files have."""
    options = tokenizer_config(folder)
    built = BertWordPieceTokenizer(
        str(folder / "vocab.txt"),
        handle_chinese_chars=bool(options.get("tokenize_chinese_chars", True)),
        strip_accents=cast("bool | None", options.get("strip_accents")),
        lowercase=bool(options.get("do_lower_case", True)),
    )
    return built._tokenizer


def _byte_level_bpe(folder: Path) -> tokenizers.Tokenizer:
    """RoBERTa's tokenizer: <s> text </s>, and <s> a </s></s> b </s> for a pair."""
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
    """tokenizer_config.json of `folder`; empty where there is none, as in old checkpoints."""
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def model_max_length(folder: Path) -> int:
    """The tokenizer's own limit in tokens; a number beyond all models where it states none.

    `max_len` is what files of 2019 call it.
    """
    options = tokenizer_config(folder)
    limit = options.get("model_max_length", options.get("max_len"))
    return int(limit) if isinstance(limit, int | float) and 0 < limit < NO_LIMIT else NO_LIMIT
