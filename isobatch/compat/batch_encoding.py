"""BatchEncoding, the tokenizer's output: columns collected from encodings, padded, made tensors.

Invariant: padding never changes its input, and a column becomes a rectangular array of numbers or
raises an error that says why it cannot.
"""

from collections import UserDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import tokenizers
import torch

from isobatch.compat.token_alignment import TokenAlignment
from isobatch.compat.tokenizer_options import PaddingSettings
from isobatch.errors import InputError, OptionError

TensorKind = Literal["pt", "np"]
DeviceLike = str | int | torch.device
EncodedInput = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_READERS: dict[str, Callable[[tokenizers.Encoding], Any]] = {
    "input_ids": attrgetter("ids"),
    "token_type_ids": attrgetter("type_ids"),
    "attention_mask": attrgetter("attention_mask"),
    "special_tokens_mask": attrgetter("special_tokens_mask"),
    "offset_mapping": attrgetter("offsets"),
    "length": len,
}
"""The columns, in the order of transformers."""

_FILLERS = {"input_ids": 0, "token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1}
"""Value of padding in each column of tokens; input_ids get the pad token's id."""


class BatchEncoding(TokenAlignment, UserDict[str, Any]):
    """Columns of one text or of a batch: a dict whose keys are also attributes."""

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encodings: Sequence[tokenizers.Encoding] = (),
    ) -> None:
        super().__init__(data)
        self._encodings = encodings

    def __getattr__(self, name: str) -> Any:
        if name == "data" or name.startswith("__"):  # looked up before __init__, by copy()
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            known = ", ".join(self.data) or "none"
            raise AttributeError(f"no {name!r} in this BatchEncoding; its keys: {known}") from None

    def to(self, device: DeviceLike, *, non_blocking: bool = False) -> "BatchEncoding":
        """Move every tensor to `device`, in place, and return the same object."""
        if not isinstance(device, DeviceLike):
            raise OptionError(f"to() takes a device, got {device!r}; token ids keep their dtype")
        self.data = {
            key: value.to(device, non_blocking=non_blocking) if torch.is_tensor(value) else value
            for key, value in self.data.items()
        }
        return self

    def __getitem__(self, key: Any) -> Any:
        """Return a column by its name, or the `tokenizers.Encoding` of a row by its number."""
        if isinstance(key, str):
            return self.data[key]
        if self._encodings:
            return self._encodings[key]
        if isinstance(key, slice):
            return {name: values[key] for name, values in self.data.items()}
        raise KeyError(f"{key!r}: without the tokenizer's encodings a key is a name or a slice")

    def convert_to_tensors(
        self, tensor_type: TensorKind | None = None, prepend_batch_axis: bool = False
    ) -> "BatchEncoding":
        """Convert every column to a tensor or an array, in place, and return the same object."""
        columns = {key: [row] for key, row in self.items()} if prepend_batch_axis else self.data
        self.data = to_tensors(columns, tensor_type)
        return self


def collect_columns(
    encodings: Sequence[tokenizers.Encoding], wanted: Mapping[str, bool], alone: bool
) -> dict[str, list[Any]]:
    """Collect input_ids and the wanted columns; `alone` returns the only row unwrapped."""
    columns = {
        name: [read(encoding) for encoding in encodings]
        for name, read in _READERS.items()
        if wanted.get(name, True)
    }
    if not alone:
        return columns
    return {name: rows[0] if isinstance(rows[0], list) else rows for name, rows in columns.items()}


def to_tensors(columns: Mapping[str, Any], kind: TensorKind | None) -> dict[str, Any]:
    """Convert every column to a torch tensor ("pt") or a NumPy array ("np"), or not (None)."""
    if kind is None:
        return dict(columns)
    if kind not in ("pt", "np"):
        raise OptionError(f"return_tensors must be 'pt', 'np' or None, got {kind!r}")
    return {key: _to_tensor(key, values, kind) for key, values in columns.items()}


def _to_tensor(key: str, values: Any, kind: TensorKind) -> Any:
    if isinstance(values, list) and all(row == [] for row in values):
        empty = np.empty((len(values), 0), dtype=np.int64)  # the default would be float
        return torch.from_numpy(empty) if kind == "pt" else empty
    if isinstance(values, torch.Tensor if kind == "pt" else np.ndarray):
        return values
    try:
        array = torch.tensor(values) if kind == "pt" else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise OptionError(_tensor_error(key, values)) from error
    if array.dtype == np.object_:
        raise OptionError(_tensor_error(key, values))
    return array


def _tensor_error(key: str, values: Any) -> str:
    lengths = sorted({len(row) for row in values if isinstance(row, list)})
    if len(lengths) > 1:
        return (
            f"{key}: rows of {lengths[0]} to {lengths[-1]} tokens do not form a tensor; "
            "use padding=True (and truncation=True for texts longer than the model allows)"
        )
    return f"{key}: cannot be converted to a tensor; remove it, or use return_tensors=None"


def read_columns(encoded: EncodedInput) -> tuple[dict[str, list[Any]], bool, TensorKind | None]:
    """Read one encoding, a batch, or a list of encodings as columns of lists.

    Also returns whether it was one encoding, and the type of its values. Raises InputError for
    inconsistent encodings.
    """
    columns = dict(encoded) if isinstance(encoded, Mapping) else _transpose(encoded)
    if "input_ids" not in columns:
        raise InputError(f"pad() needs input_ids (got {', '.join(columns) or 'nothing'})")
    kind = _tensor_kind(columns["input_ids"])
    as_lists = {name: _to_lists(values) for name, values in columns.items()}
    ids = as_lists["input_ids"]
    alone = bool(ids) and not isinstance(ids[0], list | tuple)
    rows = {name: [values] for name, values in as_lists.items()} if alone else as_lists
    _check_lengths(rows)
    return rows, alone, kind


def pad_columns(
    columns: Mapping[str, list[Any]], settings: PaddingSettings, pad_token_id: int
) -> dict[str, list[Any]]:
    """Pad every column of tokens; other columns, such as labels, are left unchanged."""
    width = settings.width(len(ids) for ids in columns["input_ids"])
    fillers = _FILLERS | {"input_ids": pad_token_id}

    def padded(row: Sequence[int], filler: int) -> list[int]:
        pads = [filler] * (width - len(row))
        return [*row, *pads] if settings.side == "right" else [*pads, *row]

    return {
        name: [padded(row, fillers[name]) for row in rows] if name in fillers else rows
        for name, rows in columns.items()
    }


def _transpose(encodings: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    listed = list(encodings)
    names = list(listed[0]) if listed else ["input_ids"]
    for index, encoding in enumerate(listed):
        if missing := [name for name in names if name not in encoding]:
            raise InputError(f"encoding {index}: has no {', '.join(missing)}, but encoding 0 has")
    return {name: [encoding[name] for encoding in listed] for name in names}


def _tensor_kind(ids: Any) -> TensorKind | None:
    """Whether the ids, or rows of them, are tensors, arrays or neither."""
    sample = ids[0] if isinstance(ids, list | tuple) and ids else ids
    if torch.is_tensor(sample):
        return "pt"
    return "np" if isinstance(sample, np.ndarray) else None


def _to_lists(values: Any) -> Any:
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
