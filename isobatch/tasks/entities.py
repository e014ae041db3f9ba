"""Entities from the logits of tokens: tags are read, words get one tag, and parts are joined.

The aggregations have the names of transformers' pipeline, and its results wherever those are right;
docs/entities.md lists the differences. Invariant: an entity is a function of its own text's logits
alone; the label of a token is that of its highest logit, never of a rounded score.
"""

import math
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from isobatch.ambient import default_float_environment, has_default_floats
from isobatch.batching.cache import Output
from isobatch.checkpoint.token_encoder import TokenEncoding
from isobatch.errors import OptionError
from isobatch.tasks.scores import exponentials

Aggregation = Literal["none", "simple", "first", "average", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
"""How tokens become entities: "none" gives each token with its label; "simple" joins tokens by
their tags; the others give each word one tag before that: of its first token, of the mean of its
tokens' scores, or of its token with the highest score."""

OUTSIDE = ("O",)
"""The labels that are left out unless the caller says otherwise."""

_BEGINS, _ENDS, _INSIDE = ("B-", "S-", "U-"), ("E-", "L-", "S-", "U-"), ("I-", "M-")
_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
"""First words of the Unicode names of characters whose scripts do not separate words by spaces."""

Scores = Mapping[int, Sequence[float]]
"""The score of every label, for the tokens that need any."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A part of a text with its label: text == source[start:end], in characters.

    label: the type, such as "PER"; the whole tag under aggregation "none". score: the mean of its
    parts' scores. index: of its token, special ones counted, under "none". start_word and end_word:
    its words, the last excluded, where the caller has split the text into words.
    """

    label: str
    score: float
    start: int
    end: int
    text: str
    index: int | None = field(default=None, repr=False)
    start_word: int | None = field(default=None, repr=False)
    end_word: int | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, object]:
        """Return the entity as plain values, for JSON; indices only where there are any."""
        values: dict[str, object] = {
            "label": self.label,
            "score": self.score,
            "start": self.start,
            "end": self.end,
            "text": self.text,
        }
        indices = {
            "index": self.index,
            "start_word": self.start_word,
            "end_word": self.end_word,
        }
        return values | {name: value for name, value in indices.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Tag:
    """A label as its scheme reads it: BIO, BIOES, BILOU, or a plain name."""

    label: str
    entity: str
    begins: bool = False
    ends: bool = False


@dataclass(frozen=True, slots=True)
class _Unit:
    """Tokens with one label. inside_word: they continue the word of the unit before."""

    tokens: range
    label: int
    score: float
    inside_word: bool


def read_tags(labels: Sequence[str]) -> tuple[Tag, ...]:
    """Read the tag of each label.

    B- and I- are tags, as in transformers. S-, E-, L-, U- and M- are tags of an entity that some
    label begins or continues by B- or I-: "E-MAIL" among other plain names is a name.
    """
    entities = {label[2:] for label in labels if label[:2] in ("B-", "I-")}

    def tag(label: str) -> Tag:
        prefix, entity = label[:2], label[2:]
        if entity in entities and prefix in (*_BEGINS, *_ENDS, *_INSIDE):
            return Tag(label, entity, prefix in _BEGINS, prefix in _ENDS)
        return Tag(label, label)

    return tuple(tag(label) for label in labels)


def check_aggregation(aggregation: str, *, finds_words: bool) -> None:
    """Raise OptionError for an unknown name, and for words where the tokenizer finds none."""
    if aggregation not in AGGREGATIONS:
        known = ", ".join(map(repr, AGGREGATIONS))
        raise OptionError(f"aggregation must be one of {known}, got {aggregation!r}")
    if not finds_words and aggregation not in ("none", "simple"):
        raise OptionError(
            f"aggregation {aggregation!r} needs words, and this tokenizer does not split texts "
            'into words (tokenizer.json has no pre_tokenizer). Use "simple"'
        )


def check_ignored(ignored: Collection[str], tags: Sequence[Tag], aggregation: Aggregation) -> None:
    """Raise OptionError for names that no entity can have; "O" is always allowed."""
    if isinstance(ignored, str) or not isinstance(ignored, Collection):
        raise OptionError(f"ignore_labels must be a list of labels, got {ignored!r}")
    known = [each.label if aggregation == "none" else each.entity for each in tags]
    if unknown := [name for name in ignored if name not in (*known, *OUTSIDE)]:
        raise OptionError(
            f"ignore_labels: no entity has the label {unknown[0]!r} under aggregation "
            f"{aggregation!r}. The labels are {', '.join(dict.fromkeys(known))}"
        )


def find_entities(
    logits: Output,
    encoding: TokenEncoding,
    tags: Sequence[Tag],
    aggregation: Aggregation = "simple",
    ignored: Collection[str] = OUTSIDE,
) -> list[Entity]:
    """Find the entities of one text by the logits of its tokens, [tokens, labels], in order.

    Under every aggregation but "none", those without a character other than space are left out.
    """
    if not has_default_floats():
        with default_float_environment():
            return find_entities(logits, encoding, tags, aggregation, ignored)
    names = [tag.label if aggregation == "none" else tag.entity for tag in tags]
    kept = [name not in ignored for name in names]
    best: list[int] = logits.argmax(axis=1).tolist()
    words = _words(encoding, by_token=aggregation in ("none", "simple"))
    mixed = aggregation in ("average", "max")
    needed = [
        token
        for word, _ in words
        for token in word
        if kept[best[token]] or (mixed and len(word) > 1)
    ]
    scores = dict(zip(needed, token_scores(logits[needed]), strict=True))
    units = [
        _Unit(word, *_word_label(word, best, scores, aggregation), inside) for word, inside in words
    ]
    groups = [[unit] for unit in units] if aggregation == "none" else _groups(units, tags)
    found = [
        _entity(group, encoding, names[group[0].label], by_token=aggregation == "none")
        for group in groups
        if kept[group[0].label]
    ]
    return [entity for entity in found if entity.text or aggregation == "none"]


def token_scores(logits: Output) -> list[list[float]]:
    """Return the softmax of each row, with the bits of `score_logits`."""
    if not len(logits):
        return []
    numbers = logits.astype(np.float64)
    powers = exponentials((numbers - numbers.max(axis=1, keepdims=True)).ravel().tolist())
    width = logits.shape[1]
    rows = [powers[first : first + width] for first in range(0, len(powers), width)]
    totals = map(math.fsum, rows)
    return [[power / total for power in row] for row, total in zip(rows, totals, strict=True)]


def _words(encoding: TokenEncoding, *, by_token: bool) -> list[tuple[range, bool]]:
    """List the tokens of each word, or each token, and whether it continues the one before."""
    words: list[tuple[range, bool]] = []
    for token, word in enumerate(encoding.words):
        if word is None:
            continue
        inside = token > 0 and _inside_word(encoding, token)
        if inside and not by_token:
            words[-1] = range(words[-1][0].start, token + 1), False
        else:
            words.append((range(token, token + 1), inside))
    return words


def _inside_word(encoding: TokenEncoding, token: int) -> bool:
    """Whether a token is of the same word as the one before.

    A word of the tokenizer ends within a script that has no spaces: it would be a whole sentence.
    """
    if encoding.words[token - 1] != encoding.words[token]:
        return False
    start, end_before = encoding.spans[token][0], encoding.spans[token - 1][1]
    if encoding.is_split or start < end_before:
        return True
    around = encoding.text[max(end_before - 1, 0) : end_before] + encoding.text[start : start + 1]
    return not any(map(_is_unspaced, around))


@lru_cache(maxsize=4096)
def _is_unspaced(character: str) -> bool:
    return not character.isascii() and unicodedata.name(character, "").startswith(_WITHOUT_SPACES)


def _word_label(
    word: range, best: Sequence[int], scores: Scores, aggregation: Aggregation
) -> tuple[int, float]:
    """Return the label of a word and its score, which is 0 for a label that is left out."""
    token = word[0]
    if len(word) > 1 and aggregation == "average":
        columns = zip(*(scores[each] for each in word), strict=True)
        means = [math.fsum(column) / len(word) for column in columns]
        label = max(range(len(means)), key=means.__getitem__)
        return label, means[label]
    if len(word) > 1 and aggregation == "max":
        token = max(word, key=lambda each: scores[each][best[each]])
    label = best[token]
    return label, scores[token][label] if token in scores else 0.0


def _groups(units: Sequence[_Unit], tags: Sequence[Tag]) -> list[list[_Unit]]:
    """Join adjacent units of one entity. A tag within a word neither begins nor ends one."""
    groups: list[list[_Unit]] = []
    for unit in units:
        tag, before = tags[unit.label], tags[groups[-1][-1].label] if groups else None
        if (
            before is not None
            and tag.entity == before.entity
            and (unit.inside_word or not (tag.begins or before.ends))
        ):
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return groups


def _entity(
    group: Sequence[_Unit], encoding: TokenEncoding, label: str, *, by_token: bool
) -> Entity:
    first, last = group[0].tokens[0], group[-1].tokens[-1]
    spans = encoding.spans[first : last + 1]
    shown = [span for span in spans if span[0] < span[1]] or [spans[0]]
    start, end = min(each for each, _ in shown), max(each for _, each in shown)
    covered = encoding.text[start:end]
    start += len(covered) - len(covered.lstrip())
    text = covered.strip()
    start_word, last_word = encoding.words[first], encoding.words[last]
    assert start_word is not None  # special tokens are in no group
    assert last_word is not None
    return Entity(
        label=label,
        score=math.fsum(unit.score for unit in group) / len(group),
        start=start,
        end=start + len(text),
        text=text,
        index=first if by_token else None,
        start_word=start_word if encoding.is_split else None,
        end_word=last_word + 1 if encoding.is_split else None,
    )
