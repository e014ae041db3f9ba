"""PairLayout: where a tokenizer puts special tokens around two texts, and their token types.

With it a text that is in many pairs is tokenized once. Invariant: a joined pair has the ids and
types that the tokenizer gives to the two texts, as its special tokens depend on no text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers

from isobatch.errors import CheckpointError
from isobatch.types import Encoding

_EXAMPLE = ("a", "b")


@dataclass(frozen=True, slots=True)
class PairLayout:
    """The special tokens before, between and after two texts, each as ids with their types."""

    before: Encoding
    between: Encoding
    after: Encoding
    first_type: int
    second_type: int

    @property
    def num_special_tokens(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def join(
        self, first: Sequence[int], second: Sequence[int], *, truncated: bool = False
    ) -> Encoding:
        """Return the encoding of a pair, from the ids of its texts without special tokens."""
        ids = [
            *self.before.input_ids,
            *first,
            *self.between.input_ids,
            *second,
            *self.after.input_ids,
        ]
        types = [
            *self.before.token_type_ids,
            *[self.first_type] * len(first),
            *self.between.token_type_ids,
            *[self.second_type] * len(second),
            *self.after.token_type_ids,
        ]
        return Encoding(ids, types, truncated)


def read_pair_layout(tokenizer: tokenizers.Tokenizer, *, has_types: bool) -> PairLayout:
    """Read the layout from an example; without `has_types` all types are 0.

    Raises CheckpointError if special tokens are within a text, or the second text is first.
    """
    encoded = tokenizer.encode(*_EXAMPLE)
    places = encoded.sequence_ids
    types = encoded.type_ids if has_types else [0] * len(encoded.ids)
    if 0 not in places or 1 not in places:
        raise _unknown_layout(places)
    first, second = places.index(0), places.index(1)
    between, after = first + places.count(0), second + places.count(1)
    expected = [
        *[None] * first,
        *[0] * (between - first),
        *[None] * (second - between),
        *[1] * (after - second),
        *[None] * (len(places) - after),
    ]
    if places != expected:
        raise _unknown_layout(places)

    def part(start: int, stop: int) -> Encoding:
        return Encoding(encoded.ids[start:stop], types[start:stop])

    return PairLayout(
        part(0, first),
        part(between, second),
        part(after, len(places)),
        types[first],
        types[second],
    )


def _unknown_layout(places: Sequence[int | None]) -> CheckpointError:
    return CheckpointError(
        "tokenizer.json: its post_processor does not put two texts one after the other, with "
        f"special tokens around them (it gives {list(places)}, where 0 and 1 are the texts). Use "
        "the tokenizer that the model was trained with"
    )
