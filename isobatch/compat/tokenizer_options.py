"""Padding and truncation options of a tokenizer call, resolved as in transformers.

Invariant: every option is applied, rejected, or reported in a warning; none is silently ignored.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from isobatch.checkpoint.checkpoint_tokenizer import NO_LIMIT, TokenizerSide
from isobatch.errors import IsobatchWarning, OptionError

TruncationStrategy = Literal["longest_first", "only_first", "only_second"]
PaddingOption = bool | Literal["longest", "max_length", "do_not_pad"]
TruncationOption = bool | TruncationStrategy | Literal["do_not_truncate"] | None

_CALLER = 4
"""Stack level of the calling script: _warn ← resolve_options ← the tokenizer's method ← script."""

_PADDINGS: dict[object, Literal["longest", "max_length"] | None] = {
    False: None,
    "do_not_pad": None,
    True: "longest",
    "longest": "longest",
    "max_length": "max_length",
}
_TRUNCATIONS: dict[object, TruncationStrategy | None] = {
    None: None,
    False: None,
    "do_not_truncate": None,
    True: "longest_first",
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
}
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class PaddingSettings:
    """Pad rows to `length`, or to the longest of them (None), rounded up to `multiple_of`."""

    length: int | None
    multiple_of: int | None
    side: TokenizerSide

    def width(self, lengths: Iterable[int]) -> int:
        """Length to which rows of these lengths are padded; longer rows are left unchanged."""
        width = max(lengths, default=0) if self.length is None else self.length
        multiple_of = self.multiple_of or 1
        return -(-width // multiple_of) * multiple_of


@dataclass(frozen=True, slots=True)
class TruncationSettings:
    """Truncate rows to `max_length` tokens, special tokens included."""

    max_length: int
    strategy: TruncationStrategy


def resolve_options(
    padding: PaddingOption,
    truncation: TruncationOption,
    max_length: int | None,
    pad_to_multiple_of: int | None,
    padding_side: TokenizerSide,
    model_max_length: int,
) -> tuple[PaddingSettings | None, TruncationSettings | None]:
    """Resolve the options of a call; OptionError for invalid values."""
    if max_length is not None and padding is False and truncation is None:
        truncation = True
    kind = _choose("padding", padding, _PADDINGS)
    strategy = _choose("truncation", truncation, _TRUNCATIONS)
    _check_counts(max_length, pad_to_multiple_of)
    if max_length is not None and kind != "max_length" and strategy is None:
        _warn("max_length is ignored without truncation=True or padding='max_length'")
    if kind is None and pad_to_multiple_of is not None:
        _warn("pad_to_multiple_of is ignored without padding; add padding=True")
    limit = model_max_length if max_length is None else max_length
    if limit >= NO_LIMIT and (kind == "max_length" or strategy is not None):
        _warn(
            "truncation and max_length padding are ignored: "
            "the tokenizer has no model_max_length; pass max_length"
        )
        kind, strategy = None if kind == "max_length" else kind, None
    side = check_side("padding_side", padding_side)
    cut = None if strategy is None else TruncationSettings(limit, strategy)
    if kind is None:
        return None, cut
    if cut is not None and pad_to_multiple_of is not None and limit % pad_to_multiple_of:
        raise OptionError(
            f"max_length {limit} is not a multiple of pad_to_multiple_of {pad_to_multiple_of}, "
            f"so truncated rows cannot be padded to a multiple of {pad_to_multiple_of}"
        )
    return PaddingSettings(limit if kind == "max_length" else None, pad_to_multiple_of, side), cut


def check_side(name: str, side: TokenizerSide) -> TokenizerSide:
    """Return `side`; OptionError unless it is "right" or "left"."""
    if side not in ("right", "left"):
        raise OptionError(f"{name} must be 'right' or 'left', got {side!r}")
    return side


def _choose(name: str, value: object, choices: Mapping[object, _Value]) -> _Value:
    if isinstance(value, str | bool | None) and value in choices:
        return choices[value]
    raise OptionError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def _check_counts(max_length: int | None, pad_to_multiple_of: int | None) -> None:
    counts = {"max_length": max_length, "pad_to_multiple_of": pad_to_multiple_of}
    for name, count in counts.items():
        whole = isinstance(count, int) and not isinstance(count, bool)
        if count is not None and not (whole and count > 0):
            raise OptionError(f"{name} must be a positive integer or None, got {count!r}")


def _warn(message: str) -> None:
    warnings.warn(message, IsobatchWarning, stacklevel=_CALLER)
