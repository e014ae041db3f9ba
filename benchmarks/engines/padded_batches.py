"""Padded batches, for the engines that pad: tokenize, sort, split, pad, restore the order.

Invariant: in any order of the batches, rows are returned in the caller's order.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from benchmarks.engines import EngineSetup, Logits

Int64 = npt.NDArray[np.int64]


def read_config(checkpoint: Path) -> dict[str, int]:
    """Read config.json: the entries used here are integers."""
    config: dict[str, int] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return config


def batch_rows(lengths: Sequence[int], batch_size: int, by_length: bool) -> list[list[int]]:
    """Split the rows into batches, in arrival order or longest first."""
    rows = list(range(len(lengths)))
    if by_length:
        rows.sort(key=lambda row: -lengths[row])
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


class PaddedEngine(ABC):
    """Runs a padded forward pass over texts, tokenizing with `tokenizers` directly."""

    def __init__(self, setup: EngineSetup) -> None:
        self._tokenizer = Tokenizer.from_file(str(setup.checkpoint / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(read_config(setup.checkpoint)["max_position_embeddings"])
        self.batch_size = setup.batch_size
        self._by_length = setup.by_length

    @abstractmethod
    def forward(self, ids: Int64, mask: Int64) -> Logits:
        """Classify one batch: ids and mask, both [rows, longest], to logits."""

    def logits(self, texts: Sequence[str]) -> Logits:
        """Classify in padded batches of `batch_size`; rows are in the order of the texts."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        lengths = [len(row) for row in ids]
        batches = batch_rows(lengths, self.batch_size, self._by_length)
        outputs = [self.forward(*pad([ids[row] for row in rows])) for rows in batches]
        return restore_order(batches, outputs)


def pad(rows: Sequence[Sequence[int]], pad_token_id: int = 0) -> tuple[Int64, Int64]:
    """Return ids and mask, both [rows, longest]; BERT vocabularies have 0 as the padding id."""
    shape = (len(rows), max(len(row) for row in rows))
    ids, mask = np.full(shape, pad_token_id, np.int64), np.zeros(shape, np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def restore_order(batches: Sequence[Sequence[int]], outputs: Sequence[Logits]) -> Logits:
    """Concatenate the batches' rows in the caller's order."""
    stacked = np.concatenate(outputs)
    logits = np.empty_like(stacked)
    logits[np.concatenate([np.asarray(rows) for rows in batches])] = stacked
    return logits
