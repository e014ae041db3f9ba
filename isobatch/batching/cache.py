"""OutputCache: an LRU cache of model outputs, so that equal encodings are computed once.

Invariant: cached outputs are bit-identical to recomputed ones, because results are batch-invariant.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from isobatch.batching.plan import CACHED_ENCODINGS
from isobatch.errors import InputError, OptionError
from isobatch.types import Encoding

Output = NDArray[np.float32]
"""The output of a model for one encoding: the logits [num_labels] of a classifier."""

ResultT = TypeVar("ResultT", Output, Output | InputError)


class OutputCache:
    """Outputs of the most recently used encodings, keyed by a digest of their ids.

    Two encodings share a digest of 32 bytes by chance once in 10^60 pairs: texts that differ but
    have equal ids (case, spaces) share an entry, all others do not. `hits` counts the encodings
    that were not computed. Not thread-safe.
    """

    def __init__(self, max_encodings: int = CACHED_ENCODINGS) -> None:
        if max_encodings < 0:
            raise OptionError(f"max_encodings must be at least 0, got {max_encodings}")
        self.max_encodings = max_encodings
        self.hits = 0
        self._entries: OrderedDict[bytes, Output] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get_or_compute(
        self,
        encodings: Sequence[Encoding],
        compute: Callable[[list[Encoding]], Iterable[ResultT]],
    ) -> list[Output | ResultT]:
        """Return the output of each encoding, in order; `compute` gets each missing one once.

        Errors are returned, but not stored. Evicts the least recently used entries.
        """
        keys = [encoding_key(encoding) for encoding in encodings]
        known: dict[bytes, Output | ResultT] = {
            key: self._entries[key] for key in keys if key in self._entries
        }
        missing = {k: each for k, each in zip(keys, encodings, strict=True) if k not in known}
        computed = compute(list(missing.values())) if missing else ()
        for key, row in zip(missing, computed, strict=True):
            # Copies: a view would keep the whole array of its batch in memory.
            known[key] = row if isinstance(row, InputError) else row.copy()
        self.hits += len(keys) - len(missing)
        self._store(known)
        return [known[key] for key in keys]

    def _store(self, used: Mapping[bytes, Output | InputError]) -> None:
        for key, output in used.items():
            if isinstance(output, InputError):
                continue
            self._entries[key] = output
            self._entries.move_to_end(key)
        while len(self._entries) > self.max_encodings:
            self._entries.popitem(last=False)


def encoding_key(encoding: Encoding) -> bytes:
    """Digest what the model reads of a text: input_ids and token_type_ids."""
    ids = array("q", encoding.input_ids)
    ids.extend(encoding.token_type_ids)
    return blake2b(ids.tobytes(), digest_size=32).digest()
