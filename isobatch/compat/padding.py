"""Rows: encodings that a caller brings back to be padded, as dicts of lists or of tensors.

It knows ids and lengths, and no text. Invariant: what comes in is never changed, and a row keeps
its tokens and their order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isobatch.compat.batch_encoding import TensorKind
from isobatch.compat.options import Padding
from isobatch.errors import InputError

EncodedInput = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_FILLERS = {"input_ids": 0, "token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1}


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of encodings, one entry a row; `alone`: it was one encoding, not a batch.

    `kind` is what its values were before they became lists.
    """

    columns: dict[str, list[Any]]
    alone: bool
    kind: TensorKind | None

    def with_attention_mask(self, wanted: bool) -> "Rows":
        """The same with an attention_mask, all ones unless there was one; or without any."""
        columns = dict(self.columns)
        if not wanted:
            columns.pop("attention_mask", None)
        elif "attention_mask" not in columns:
            columns["attention_mask"] = [[1] * len(ids) for ids in columns["input_ids"]]
        return Rows(columns, self.alone, self.kind)

    def pad(self, padding: Padding, pad_token_id: int) -> "Rows":
        """The same with every token column padded; other columns, as labels, stay as they are."""
        width = padding.width(len(ids) for ids in self.columns["input_ids"])
        fillers = _FILLERS | {"input_ids": pad_token_id}
        columns = {
            name: [_fill(row, width, fillers[name], padding) for row in rows]
            if name in fillers
            else rows
            for name, rows in self.columns.items()
        }
        return Rows(columns, self.alone, self.kind)


def read_rows(encoded: EncodedInput) -> Rows:
    """Read one encoding, a batch, or a list of encodings. InputError names what is amiss."""
    columns = dict(encoded) if isinstance(encoded, Mapping) else _transpose(encoded)
    if "input_ids" not in columns:
        raise InputError(f"pad() needs input_ids; there is only: {', '.join(columns) or 'nothing'}")
    kind = _kind(columns["input_ids"])
    plain = {name: _plain(values) for name, values in columns.items()}
    ids = plain["input_ids"]
    alone = bool(ids) and not isinstance(ids[0], list | tuple)
    rows = {name: [values] for name, values in plain.items()} if alone else plain
    _check_lengths(rows)
    return Rows(rows, alone, kind)


def _transpose(encodings: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A list of encodings as columns, named by the first one's keys."""
    listed = list(encodings)
    names = list(listed[0]) if listed else ["input_ids"]
    for index, encoding in enumerate(listed):
        if missing := [name for name in names if name not in encoding]:
            raise InputError(f"encoding {index}: has no {', '.join(missing)}, but encoding 0 has")
    return {name: [encoding[name] for encoding in listed] for name in names}


def _kind(ids: Any) -> TensorKind | None:
    """Whether ids, or rows of them, are tensors or arrays."""
    sample = ids[0] if isinstance(ids, list | tuple) and ids else ids
    if torch.is_tensor(sample):
        return "pt"
    return "np" if isinstance(sample, np.ndarray) else None


def _plain(values: Any) -> Any:
    """A tensor or array, or a list of them, as a list."""
    if hasattr(values, "tolist"):
        return values.tolist()
    if not isinstance(values, list | tuple):
        return values
    return [item.tolist() if hasattr(item, "tolist") else item for item in values]


def _check_lengths(columns: Mapping[str, Any]) -> None:
    ids = columns["input_ids"]
    for name, rows in columns.items():
        if not isinstance(rows, list) or len(rows) != len(ids):
            raise InputError(f"{name}: must have one entry for each of the {len(ids)} input_ids")
        for index, row in enumerate(rows if name in _FILLERS else ()):
            if not isinstance(row, list | tuple) or len(row) != len(ids[index]):
                raise InputError(f"{name}: row {index} must be as long as its row of input_ids")


def _fill(row: Sequence[int], width: int, filler: int, padding: Padding) -> list[int]:
    pads = [filler] * (width - len(row))
    return [*row, *pads] if padding.side == "right" else [*pads, *row]
