"""A bounded memory of logits: equal encodings are computed once.

It knows encodings and logits, no texts and no model. Invariant: what it returns are the very bits
that were put in; since no answer depends on its batch, they are the bits of computing anew.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

from isobatch.core import Encoding
from isobatch.errors import OptionError

CACHED_ENCODINGS = 131_072
"""Some 40 MB for two labels; a cache of this size holds the duplicates of most files."""

Logits = tuple[float, ...]


class LogitsCache:
    """Logits of the encodings that were used last, by a digest of their ids.

    Two encodings share a digest of 32 bytes by chance once in 10^60 pairs: texts that differ but
    are read alike by the model (case, spaces) share an entry, all others do not. `hits` counts the
    encodings that were not computed. Not for several threads at once.
    """

    def __init__(self, max_encodings: int = CACHED_ENCODINGS) -> None:
        if max_encodings < 0:
            raise OptionError(f"max_encodings must be at least 0, got {max_encodings}")
        self.max_encodings = max_encodings
        self.hits = 0
        self._kept: OrderedDict[bytes, Logits] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def recall(
        self,
        encodings: Sequence[Encoding],
        compute: Callable[[list[Encoding]], Sequence[Sequence[float]]],
    ) -> list[Logits]:
        """Logits of each encoding, in order; `compute` is asked for those unknown, once for each.

        The entries that were used least lately make room.
        """
        keys = [encoding_key(encoding) for encoding in encodings]
        known = {key: self._kept[key] for key in keys if key in self._kept}
        unknown = {k: each for k, each in zip(keys, encodings, strict=True) if k not in known}
        rows = compute(list(unknown.values())) if unknown else []
        known.update((k, tuple(row)) for k, row in zip(unknown, rows, strict=True))
        self.hits += len(keys) - len(unknown)
        self._keep(known)
        return [known[key] for key in keys]

    def _keep(self, used: dict[bytes, Logits]) -> None:
        for key, logits in used.items():
            self._kept[key] = logits
            self._kept.move_to_end(key)
        while len(self._kept) > self.max_encodings:
            self._kept.popitem(last=False)


def encoding_key(encoding: Encoding) -> bytes:
    """A digest of what the model reads of a text: input_ids and token_type_ids."""
    ids = array("q", encoding.input_ids)
    ids.extend(encoding.token_type_ids)
    return blake2b(ids.tobytes(), digest_size=32).digest()
