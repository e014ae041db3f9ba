"""Cells with the entities that are expected: tags of words, or spans of characters.

Tags: a list, a JSON array or tags between spaces, one for each word of the text, which is a list, a
JSON array or words between spaces. Spans: a list or a JSON array of objects with `label`, `start`
and `end`, of characters of the text. Invariant: a cell is read whole, or is an error with its
reason.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from isobatch.errors import InputError
from isobatch.evaluation.labels import is_missing
from isobatch.evaluation.tag_schemes import OUTSIDE, Scheme, TagSpan, read_tag, spans_of
from isobatch.tables import MISSING, Unreadable

LABEL_KEYS = ("label", "entity_group", "entity", "type")
"""Keys of the type of a span, as several tools write it."""

SHOWN = 60


@dataclass(frozen=True, slots=True)
class ExpectedEntities:
    """A text with its expected spans: of words where it has words, else of characters."""

    text: str
    words: tuple[str, ...] | None
    spans: frozenset[TagSpan]

    def shown(self, span: TagSpan) -> str:
        """Return the text of a span."""
        if self.words is None:
            return self.text[span.start : span.end]
        return " ".join(self.words[span.start : span.end])


def read_entities(
    text: object, cell: object, names: Mapping[str, str], scheme: Scheme | None = None
) -> ExpectedEntities | None:
    """Read the cells of a text and of its entities; None where there is no entity cell.

    names: other names of tags or types. InputError, without a place, for what cannot be read.
    """
    if isinstance(cell, Unreadable):
        raise InputError(f"cannot be read: {cell.reason}")
    value = None if cell is MISSING else cell
    if not isinstance(value, list | tuple) and is_missing(value):
        return None
    found = _listed(value)
    if (
        all(isinstance(each, Mapping) for each in found)
        and isinstance(text, str)
        and not (not found and _json_list(text) is not None)
    ):
        objects = cast("Sequence[Mapping[str, object]]", found)
        return ExpectedEntities(text, None, _spans(objects, text, names))
    return _tagged(found, _words(text), names, scheme)


def _tagged(
    tags: Sequence[object], words: tuple[str, ...], names: Mapping[str, str], scheme: Scheme | None
) -> ExpectedEntities:
    wrong = next((each for each in tags if not isinstance(each, str)), None)
    if wrong is not None:
        raise InputError(
            f"expected names of tags, such as B-PER, got {str(wrong)[:SHOWN]!r}. Numbers have no "
            "meaning without the tag names of the data set: write the names"
        )
    if len(tags) != len(words):
        raise InputError(f"{len(tags)} tags, but {len(words)} words. Write one tag for each word")
    renamed = [_renamed(str(tag), names) for tag in tags]
    return ExpectedEntities(" ".join(words), words, frozenset(spans_of(renamed, scheme)))


def _renamed(tag: str, names: Mapping[str, str]) -> str:
    if tag in names:
        return names[tag]
    prefix, hyphen, name = tag.partition("-")
    if not hyphen or name not in names:
        return tag
    return OUTSIDE if names[name] == OUTSIDE else f"{prefix}-{names[name]}"


def _spans(
    objects: Sequence[Mapping[str, object]], text: str, names: Mapping[str, str]
) -> frozenset[TagSpan]:
    spans = set()
    for each in objects:
        label = next((each[key] for key in LABEL_KEYS if isinstance(each.get(key), str)), None)
        start, end = each.get("start"), each.get("end")
        if label is None or not _is_index(start) or not _is_index(end):
            raise InputError(
                f"expected spans with label, start and end, got {json.dumps(each)[:SHOWN]}"
            )
        first, last = cast("int", start), cast("int", end)
        if not 0 <= first < last <= len(text):
            raise InputError(
                f"the span {first} to {last} is not in the text, which has {len(text)} characters. "
                "Count characters; the end is the place after the last one"
            )
        name = names.get(str(label), str(label))
        if name != OUTSIDE:
            spans.add(TagSpan(first, last, name))
    return frozenset(spans)


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str):
        found = _json_list(value)
        return value.split() if found is None else found
    raise InputError(
        f"expected tags or spans, as a list or as a text, got {type(value).__name__}: "
        f"{str(value)[:SHOWN]}"
    )


def _words(text: object) -> tuple[str, ...]:
    found: Sequence[object] | None = None
    if isinstance(text, list | tuple):
        found = text
    elif isinstance(text, str):
        found = _json_list(text)
        if found is None:
            found = text.split()
    if found is None or not all(isinstance(each, str) for each in found):
        shown = "nothing" if text is None or text is MISSING else repr(text)[:SHOWN]
        raise InputError(f"expected the words of the text, as a list or as a text, got {shown}")
    return tuple(map(str, found))


def _json_list(text: str) -> list[object] | None:
    """Return the list that a JSON array has; None for other texts."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def types_of(labels: Sequence[str]) -> frozenset[str]:
    """Return the types of a checkpoint's labels, O left out."""
    tags = (read_tag(as_tag(label)) for label in labels)
    return frozenset(tag.type for tag in tags if tag.letter != OUTSIDE)


def as_tag(label: str) -> str:
    """Return a label as a tag; one without a known prefix is the I tag of that type."""
    try:
        read_tag(label)
    except InputError:
        return f"I-{label}"
    return label
