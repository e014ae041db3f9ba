"""Tiny vocabularies in the formats that tokenizers take, generated from one list of words.

Invariant: special tokens come first, in the order given, except those passed as `last`; any text of
printable ASCII can be tokenized.
"""

import string
from typing import NamedTuple

_SENTENCE = """
    the a of and to is in it that this as but for with on not was are be by his her its you
    one an at from like all more has about have so or who than film movie story good bad great
    plot cast funny dull love best worst never well much what time life day new work people
    really would there just will only out up some most no very characters comedy drama
    performance
"""
WORDS = tuple(_SENTENCE.split())

SYMBOLS = (*string.ascii_letters, *string.digits, *string.punctuation)

SPACE = "▁"
"""SentencePiece's character for a space, U+2581."""


class BytePairs(NamedTuple):
    """A byte-pair encoding: its vocabulary, and its merges in the order of application."""

    vocab: dict[str, int]
    merges: list[tuple[str, str]]


def word_pieces(first: tuple[str, ...], last: tuple[str, ...] = ()) -> dict[str, int]:
    """Build a WordPiece vocabulary: symbols, symbols as continuations, and the words."""
    pieces = [*SYMBOLS, *(f"##{symbol}" for symbol in SYMBOLS), *WORDS]
    return _numbered([*first, *pieces, *last])


def unigrams(first: tuple[str, ...], last: tuple[str, ...] = ()) -> list[tuple[str, float]]:
    """Build a Unigram vocabulary: words, and symbols at a cost that makes words preferred."""
    specials, closing = ([(token, 0.0) for token in tokens] for tokens in (first, last))
    words = [(SPACE + word, -4.0 - 0.05 * rank) for rank, word in enumerate(WORDS)]
    symbols = [(symbol, -9.0) for symbol in (SPACE, *SYMBOLS)]
    return [*specials, *words, *symbols, *closing]


def byte_pairs(first: tuple[str, ...], last: tuple[str, ...] = ()) -> BytePairs:
    """Build GPT-2's byte-level BPE: all 256 bytes as printable characters, and the words."""
    return _pairs([*first, *_printable_bytes()], last, space="Ġ")


def sentence_pairs(first: tuple[str, ...]) -> BytePairs:
    """Build Llama 2's SentencePiece BPE: symbols, the words, and bytes such as <0x41>."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    return _pairs([*first, *fallback, SPACE, *SYMBOLS], (), space=SPACE)


def _pairs(first: list[str], last: tuple[str, ...], space: str) -> BytePairs:
    """Merge each word from its space on, letter by letter."""
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        for end in range(len(word)):
            merges[space + word[:end], word[end]] = None
    grown = [left + right for left, right in merges]
    return BytePairs(_numbered([*first, *grown, *last]), list(merges))


def _printable_bytes() -> list[str]:
    """List GPT-2's characters for the bytes; non-printable ones are mapped to U+0100 and up."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    beyond = {byte: chr(0x100 + rank) for rank, byte in enumerate(hidden)}
    return [beyond.get(byte, chr(byte)) for byte in range(256)]


def _numbered(tokens: list[str]) -> dict[str, int]:
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}
