"""Tiny vocabularies in the formats that tokenizers take, made in code from one list of words.

They know symbols and ids, and no tokenizer's class. Invariant: special tokens come first, in the
order given, unless a function says otherwise; any text of printable ASCII can be written.
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
"""SentencePiece's sign for a space, U+2581."""


class Pairs(NamedTuple):
    """A vocabulary of byte-pair encoding and its merges, the first applied first."""

    vocab: dict[str, int]
    merges: list[tuple[str, str]]


def word_pieces(first: tuple[str, ...], last: tuple[str, ...] = ()) -> dict[str, int]:
    """WordPiece: symbols, the same as continuations, and the words; `last` has the last ids."""
    pieces = [*SYMBOLS, *(f"##{symbol}" for symbol in SYMBOLS), *WORDS]
    return _numbered([*first, *pieces, *last])


def unigrams(first: tuple[str, ...], last: tuple[str, ...] = ()) -> list[tuple[str, float]]:
    """Unigram: words with their space, and symbols, which are so dear that words are preferred."""
    specials, closing = ([(token, 0.0) for token in tokens] for tokens in (first, last))
    words = [(SPACE + word, -4.0 - 0.05 * rank) for rank, word in enumerate(WORDS)]
    symbols = [(symbol, -9.0) for symbol in (SPACE, *SYMBOLS)]
    return [*specials, *words, *symbols, *closing]


def byte_pairs(first: tuple[str, ...], last: tuple[str, ...] = ()) -> Pairs:
    """Byte-level BPE, as GPT-2 has it: all 256 bytes in their printable disguise, and the words."""
    return _pairs([*first, *_disguised_bytes()], last, space="Ġ")


def sentence_pairs(first: tuple[str, ...]) -> Pairs:
    """SentencePiece's BPE, as Llama 2 has it: bytes as <0x41> for what is no symbol, and words."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    return _pairs([*first, *fallback, SPACE, *SYMBOLS], (), space=SPACE)


def _pairs(first: list[str], last: tuple[str, ...], space: str) -> Pairs:
    """Each word grows from its space, letter by letter."""
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        for end in range(len(word)):
            merges[space + word[:end], word[end]] = None
    grown = [left + right for left, right in merges]
    return Pairs(_numbered([*first, *grown, *last]), list(merges))


def _disguised_bytes() -> list[str]:
    """GPT-2's letters for bytes, in the order of the bytes: those that do not print go beyond."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    beyond = {byte: chr(0x100 + rank) for rank, byte in enumerate(hidden)}
    return [beyond.get(byte, chr(byte)) for byte in range(256)]


def _numbered(tokens: list[str]) -> dict[str, int]:
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}
