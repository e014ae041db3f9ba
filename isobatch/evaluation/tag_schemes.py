"""Spans of tag sequences: B-, I-, E-, S-, L- and U- tags of words, as seqeval reads them.

Without a scheme, by the rules of conlleval, which find a span in every sequence; with one, only the
spans that are complete in it, as seqeval's strict mode. L is read as E, and U as S: seqeval's
default mode does not know either, and joins consecutive spans.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from isobatch.errors import InputError

Scheme = Literal["iob2", "iobes", "bilou"]
SCHEMES: tuple[Scheme, ...] = ("iob2", "iobes", "bilou")

OUTSIDE = "O"
NO_TYPE = "_"
"""The type of a tag that is a prefix only."""

_LETTERS: Mapping[Scheme, str] = {"iob2": "OBI", "iobes": "OBIES", "bilou": "OBILU"}
_ALIASES = {"L": "E", "U": "S"}


@dataclass(frozen=True, slots=True, order=True)
class TagSpan:
    """A span of words, or of characters, from `start` to `end`, which is not included."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class TypedTag:
    """A tag: its letter, one of O, B, I, E, S, and its type."""

    letter: str
    type: str

    def continues(self, before: "TypedTag") -> bool:
        """Return whether it is in the span that `before` is in, by conlleval's rules."""
        if self.letter == OUTSIDE or before.letter in (OUTSIDE, "E", "S"):
            return False
        return self.letter in ("I", "E") and self.type == before.type


def read_tag(tag: str, scheme: Scheme | None = None) -> TypedTag:
    """Read a tag; InputError for one without a known prefix, or one that `scheme` does not have."""
    letters = _LETTERS[scheme] if scheme else "OBIESLU"
    prefix, hyphen, name = tag.partition("-")
    if prefix not in tuple(letters) or (hyphen and (prefix == OUTSIDE or not name)):
        known = ", ".join(letters[1:])
        of_scheme = f" of the scheme {scheme}" if scheme else ""
        raise InputError(
            f"the tag {tag!r} is unknown. Expected O, or one of the prefixes {known}{of_scheme} "
            "and a type, such as B-PER"
        )
    return TypedTag(_ALIASES.get(prefix, prefix), name or NO_TYPE)


def spans_of(tags: Sequence[str], scheme: Scheme | None = None) -> set[TagSpan]:
    """Return the spans of words that `tags` mark; InputError for an unknown tag."""
    read = [read_tag(tag, scheme) for tag in tags]
    spans: set[TagSpan] = set()
    start = 0
    for index, tag in enumerate(read):
        if index and tag.continues(read[index - 1]):
            continue
        spans |= _closed(read, start, index, scheme)
        start = index
    return spans | _closed(read, start, len(read), scheme)


def _closed(tags: Sequence[TypedTag], start: int, end: int, scheme: Scheme | None) -> set[TagSpan]:
    """Return the span of tags that continue one another; none if `scheme` has no such span."""
    run = tags[start:end]
    if not run or run[0].letter == OUTSIDE:
        return set()
    if scheme == "iob2" and run[0].letter != "B":
        return set()
    if scheme in ("iobes", "bilou"):
        first, last = run[0].letter, run[-1].letter
        if not (first == last == "S" or (first == "B" and last == "E")):
            return set()
    return {TagSpan(start, end, run[0].type)}
