"""Text to padded batches, for the engines that pad: tokenise, order, cut, pad; and back again.

It knows the `tokenizers` library and no engine. Invariant: whatever the order of the batches, the
rows go back in the caller's order.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from benchmarks.engines import Logits, Setup

Int64 = npt.NDArray[np.int64]
Forward = Callable[[Int64, Int64], Logits]  # ids and mask, both [rows, longest], to logits


def read_config(checkpoint: Path) -> dict[str, int]:
    """Return config.json: the entries used here are whole numbers."""
    config: dict[str, int] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return config


def batch_rows(lengths: Sequence[int], batch_size: int, by_length: bool) -> list[list[int]]:
    """Cut the rows into batches, in arrival order or the longest first."""
    rows = list(range(len(lengths)))
    if by_length:
        rows.sort(key=lambda row: -lengths[row])
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


class PaddedBatches:
    """Runs a padded forward over texts, tokenising with the fast library itself."""

    def __init__(self, setup: Setup) -> None:
        self._tokenizer = Tokenizer.from_file(str(setup.checkpoint / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(read_config(setup.checkpoint)["max_position_embeddings"])
        self._setup = setup

    def run(self, texts: Sequence[str], forward: Forward) -> Logits:
        """Return `forward`'s rows for the texts, in order."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        lengths = [len(row) for row in ids]
        batches = batch_rows(lengths, self._setup.batch_size, self._setup.by_length)
        outputs = [forward(*pad([ids[row] for row in rows])) for rows in batches]
        return in_order(batches, outputs)


def pad(rows: Sequence[Sequence[int]]) -> tuple[Int64, Int64]:
    """Return ids and mask, both [rows, longest]; the pad's id is 0, as in every BERT vocabulary."""
    shape = (len(rows), max(len(row) for row in rows))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def in_order(batches: Sequence[Sequence[int]], outputs: Sequence[Logits]) -> Logits:
    """Put the batches' rows back in the caller's order."""
    stacked = np.concatenate(outputs)
    logits = np.empty_like(stacked)
    logits[np.concatenate([np.asarray(rows) for rows in batches])] = stacked
    return logits
