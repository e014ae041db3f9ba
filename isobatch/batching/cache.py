"""OutputCache: an LRU cache of model outputs, so that equal encodings are computed once.

Invariant: cached outputs are bit-identical to recomputed ones, because results are batch-invariant;
and the memory of a cache is bounded, also where each output is a vector of a thousand numbers.
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
"""The output of a model for one encoding: logits [num_labels], a vector [size], or the logits of
each token [tokens, num_labels]."""

MAX_CACHED_BYTES = 128 * 1024**2
"""Default bound of the numbers in a cache: CACHED_ENCODINGS outputs of 256 numbers. A classifier
never reaches it; of vectors of 768 numbers 43,690 fit, and without it they would need 403 MB."""

ResultT = TypeVar("ResultT", Output, Output | InputError)


class OutputCache:
    """Outputs of the most recently used encodings, keyed by a digest of their ids.

    max_encodings: how many at most. max_bytes: the bound of their numbers; to keys and objects, 300
    bytes each, only the first bound applies.
    Two encodings share a digest of 32 bytes by chance once in 10^60 pairs: texts that differ but
    have equal ids (case, spaces) share an entry, all others do not. `hits` counts the texts of
    which nothing was computed. Not thread-safe.
    """

    def __init__(
        self, max_encodings: int = CACHED_ENCODINGS, max_bytes: int = MAX_CACHED_BYTES
    ) -> None:
        if max_encodings < 0 or max_bytes < 0:
            raise OptionError(
                "max_encodings and max_bytes must be at least 0, "
                f"got {max_encodings} and {max_bytes}"
            )
        self.max_encodings = max_encodings
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.hits = 0
        self._entries: OrderedDict[bytes, Output] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get_or_compute(
        self,
        encodings: Sequence[Encoding],
        compute: Callable[[list[Encoding]], Iterable[ResultT]],
        texts: Sequence[int] | None = None,
    ) -> list[Output | ResultT]:
        """Return the output of each encoding, in order; `compute` gets each missing one once.

        texts: the number of the text that each encoding is a part of; None for a text each. Errors
        are returned, but not stored. Evicts the least recently used entries.
        """
        texts = range(len(encodings)) if texts is None else texts
        keys = [encoding_key(encoding) for encoding in encodings]
        known: dict[bytes, Output | ResultT] = {
            key: self._entries[key] for key in keys if key in self._entries
        }
        missing: dict[bytes, Encoding] = {}
        computing = set()
        for key, encoding, text in zip(keys, encodings, texts, strict=True):
            if key not in known and key not in missing:
                missing[key] = encoding
                computing.add(text)
        computed = compute(list(missing.values())) if missing else ()
        for key, row in zip(missing, computed, strict=True):
            # Copies: a view would keep the whole array of its batch in memory.
            known[key] = row if isinstance(row, InputError) else _own(row)
        self.hits += len(set(texts)) - len(computing)
        self._store(known)
        return [known[key] for key in keys]

    def _store(self, used: Mapping[bytes, Output | InputError]) -> None:
        for key, output in used.items():
            if isinstance(output, InputError):
                continue
            if key not in self._entries:
                self._entries[key] = output
                self.num_bytes += output.nbytes
            self._entries.move_to_end(key)
        while len(self._entries) > self.max_encodings or self.num_bytes > self.max_bytes:
            _, evicted = self._entries.popitem(last=False)
            self.num_bytes -= evicted.nbytes


def encoding_key(encoding: Encoding) -> bytes:
    """Digest what the model reads of a text: input_ids and token_type_ids."""
    ids = array("q", encoding.input_ids)
    ids.extend(encoding.token_type_ids)
    return blake2b(ids.tobytes(), digest_size=32).digest()


def _own(row: Output) -> Output:
    """Copy an output, read-only: callers get the array that later calls are answered from."""
    copied = row.copy()
    copied.flags.writeable = False
    return copied
