"""BatchEncoding: what a tokenizer returns; a dict that prints as in transformers.

It holds columns (`input_ids`, `attention_mask`, ...) and knows no tokenizer and no model.
Invariant: a column becomes a rectangular array of numbers, or the error says why it cannot.
"""

from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import tokenizers
import torch

from isobatch.errors import OptionError

TensorKind = Literal["pt", "np"]
Device = str | int | torch.device

_READERS: dict[str, Callable[[tokenizers.Encoding], Any]] = {
    "input_ids": attrgetter("ids"),
    "token_type_ids": attrgetter("type_ids"),
    "attention_mask": attrgetter("attention_mask"),
    "special_tokens_mask": attrgetter("special_tokens_mask"),
    "offset_mapping": attrgetter("offsets"),
    "length": len,
}
"""The columns, in the order in which transformers gives and prints them."""


class BatchEncoding(UserDict[str, Any]):
    """The columns of one text or of a batch: a dict, and its keys are attributes too."""

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encodings: Sequence[tokenizers.Encoding] = (),
    ) -> None:
        super().__init__(data)
        self._encodings = encodings

    def __getattr__(self, name: str) -> Any:
        if name == "data" or name.startswith("__"):  # asked for before __init__ ran, as copies do
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            known = ", ".join(self.data) or "none"
            raise AttributeError(f"no {name!r} in this BatchEncoding; its keys: {known}") from None

    def to(self, device: Device, *, non_blocking: bool = False) -> "BatchEncoding":
        """Move every tensor to `device`, in place, and return the same object."""
        if not isinstance(device, Device):
            raise OptionError(f"to() takes a device, got {device!r}; token ids keep their dtype")
        self.data = {
            key: value.to(device, non_blocking=non_blocking) if torch.is_tensor(value) else value
            for key, value in self.data.items()
        }
        return self

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of one row, as strings, special tokens and pads included."""
        if not self._encodings:
            raise OptionError("tokens() needs what tokenizer(...) returned; pad() keeps no tokens")
        return list(self._encodings[batch_index].tokens)


def collect_columns(
    encodings: Sequence[tokenizers.Encoding], wanted: Mapping[str, bool], alone: bool
) -> dict[str, list[Any]]:
    """input_ids and the wanted columns of encodings: one row each, or the only row if `alone`."""
    columns = {
        name: [read(encoding) for encoding in encodings]
        for name, read in _READERS.items()
        if wanted.get(name, True)
    }
    if not alone:
        return columns
    return {name: rows[0] if isinstance(rows[0], list) else rows for name, rows in columns.items()}


def to_tensors(columns: Mapping[str, Any], kind: TensorKind | None) -> dict[str, Any]:
    """Every column as a torch tensor ("pt"), as a numpy array ("np"), or as it is (None)."""
    if kind is None:
        return dict(columns)
    if kind not in ("pt", "np"):
        raise OptionError(f"return_tensors must be 'pt', 'np' or None, got {kind!r}")
    return {key: _to_tensor(key, values, kind) for key, values in columns.items()}


def _to_tensor(key: str, values: Any, kind: TensorKind) -> Any:
    if isinstance(values, list) and all(row == [] for row in values):
        empty = np.empty((len(values), 0), dtype=np.int64)  # left alone, it would be of floats
        return torch.from_numpy(empty) if kind == "pt" else empty
    try:
        array = torch.tensor(values) if kind == "pt" else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise OptionError(_refusal(key, values)) from error
    if array.dtype == np.object_:
        raise OptionError(_refusal(key, values))
    return array


def _refusal(key: str, values: Any) -> str:
    lengths = sorted({len(row) for row in values if isinstance(row, list)})
    if len(lengths) > 1:
        return (
            f"{key}: rows of {lengths[0]} to {lengths[-1]} tokens do not make a tensor; "
            "use padding=True (and truncation=True for texts longer than the model)"
        )
    return f"{key}: does not make a tensor of numbers; leave it out, or use return_tensors=None"
